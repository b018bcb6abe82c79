//! Measurements beside the peers, in the same run on the same machine. They print and judge nothing.

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::harness::containerd::ctr;
use crate::harness::{Context as _, Failed, Look, Machine, http, space, until};
use crate::scenarios::{Pace, Story, Tell};

/// All of them. What they print is shown, pass or fail.
pub const BENCHES: &[Story] = &[
    Story { name: "bench_ctr_run", pace: Pace::Brisk, tell: Tell::Machine(ctr_run) },
    Story { name: "bench_fsync", pace: Pace::Brisk, tell: Tell::Machine(fsync) },
];

/// How often each thing is measured.
const TIMES: usize = 15;
const TIMES_LONG: usize = 100;
/// How long a container may take to answer.
const UP_WITHIN: Duration = Duration::from_secs(20);

fn times(machine: &Machine) -> usize {
    if machine.long { TIMES_LONG } else { TIMES }
}

/// Prints the median and the spread of durations.
fn report(what: &str, mut took: Vec<Duration>) -> Result<(), Failed> {
    took.sort();
    let at =
        |share: usize| took.get((took.len().saturating_sub(1)) * share / 100).copied().unwrap_or_default();
    writeln!(
        io::stdout(),
        "{what}: median {:.2?}, p10 {:.2?}, p90 {:.2?}, {} times",
        at(50),
        at(10),
        at(90),
        took.len()
    )
    .or_fail("stdout")
}

/// The floor of a deploy: the same container by `ctr run`, of an image that is there, until its program answers.
fn ctr_run(machine: &mut Machine) -> Result<(), Failed> {
    let image = machine.image("hello:v1");
    ctr(&["images", "pull", "--plain-http", &image])?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 20_100));
    let (mut made, mut answered) = (vec![], vec![]);
    for _ in 0..times(machine) {
        let begun = Instant::now();
        ctr(&[
            "run",
            "--detach",
            "--net-host",
            "--env",
            "PORT=20100",
            "--cgroup",
            &format!("{}/bench", space::cgroup_parent()?),
            &image,
            "bench",
        ])?;
        made.push(begun.elapsed());
        until("an answer", UP_WITHIN, || http::get(address, "/health").map(Look::Yes))?;
        answered.push(begun.elapsed());
        ctr(&["tasks", "kill", "--signal", "SIGKILL", "bench"])?;
        until("its end", UP_WITHIN, || ctr(&["tasks", "delete", "bench"]).map(Look::Yes))?;
        ctr(&["containers", "delete", "bench"])?;
    }
    report("ctr run, image cached, until it returns", made)?;
    report("ctr run, image cached, until its program answers", answered)
}

/// The floor of a replicated write: 256 bytes appended and on disk.
fn fsync(machine: &mut Machine) -> Result<(), Failed> {
    let path = machine.folder.join("fsync");
    let mut file = fs::File::create(&path).or_fail("a file")?;
    let mut took = vec![];
    for _ in 0..times(machine) * 20 {
        let begun = Instant::now();
        file.write_all(&[7; 256]).or_fail("a write")?;
        file.sync_data().or_fail("fdatasync")?;
        took.push(begun.elapsed());
    }
    report("256 bytes appended and synced", took)
}
