//! How soon a daemon is ready: it answers on its socket, and it leads; and how large the binary is.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::api::{Connection, SOCKET};
use super::figures::{beside, report, say};
use super::{load, times};
use crate::harness::json::Fields as _;
use crate::harness::processes::{self, Process};
use crate::harness::until::closely;
use crate::harness::{Context as _, Failed, Look, World, until};

/// How long it may take to be ready, and to end.
const WITHIN: Duration = Duration::from_secs(20);

pub(super) fn to_ready(world: &mut World) -> Result<(), Failed> {
    world.node.end()?;
    let (mut warm, mut cold) = (Took::default(), Took::default());
    let mut bare = vec![];
    for _ in 0..times(&world.machine, 6, 40) {
        bare.push(world.mill.ok(&["--version"])?.took);
        // The plane outlives a daemon; the next one finds it.
        warm.start(world)?;
        end_planes(world)?;
        cold.start(world)?;
    }
    end_planes(world)?;
    say(&format!("`mill daemon` on a directory that was initialised ({})", load(world)))?;
    let bare = ("`mill --version`", bare.as_slice());
    beside(("from exec until it answers /v1/status and leads, its plane at work", &warm.leads), bare)?;
    report("    until it answers at all", &warm.answers)?;
    beside(("from exec until it answers /v1/status and leads, no plane there", &cold.leads), bare)?;
    report("    until it answers at all", &cold.answers)?;
    let bytes = fs::metadata(world.mill.binary()).or_fail("the binary")?.len();
    say(&format!("the binary: {:.1} MB", f64::from(u32::try_from(bytes).or_fail("its size")?) / 1e6))
}

#[derive(Default)]
struct Took {
    answers: Vec<Duration>,
    leads: Vec<Duration>,
}

impl Took {
    fn start(&mut self, world: &World) -> Result<(), Failed> {
        let data = world.node.data().to_str().or_fail("a path that is text")?;
        let log =
            fs::OpenOptions::new().create(true).append(true).open(world.machine.folder.join("mill.log"));
        let mut command = world.mill.command(&["daemon", "--data-dir", data]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.or_fail("the daemon's log")?);
        let begun = Instant::now();
        let mut daemon = command.spawn().or_fail("can't run `mill daemon`")?;
        let ready = self.wait(begun);
        let ended = end(&mut daemon);
        ready.and(ended)
    }

    fn wait(&mut self, begun: Instant) -> Result<(), Failed> {
        let mut connection =
            closely("the socket", WITHIN, || Connection::open(Path::new(SOCKET)).map(Look::Yes))?;
        let mut answered = None;
        closely("it leads", WITHIN, || {
            let answer = connection.ask("GET", "/v1/status")?;
            answered.get_or_insert_with(|| begun.elapsed());
            let status: serde_json::Value = serde_json::from_str(&answer.body).or_fail("the status")?;
            Ok(Look::at(status.text("/leader").is_ok(), status))
        })?;
        self.answers.push(answered.or_fail("an answer")?);
        self.leads.push(begun.elapsed());
        Ok(())
    }
}

fn end(daemon: &mut Child) -> Result<(), Failed> {
    processes::terminate(i32::try_from(daemon.id()).or_fail("a process id")?)?;
    daemon.wait().or_fail("waiting for the daemon").map(drop)
}

fn end_planes(world: &World) -> Result<(), Failed> {
    let planes = |binary: &Path| -> Vec<i32> {
        processes::of(binary, "plane").iter().map(|Process { pid, .. }| *pid).collect()
    };
    planes(world.mill.binary()).into_iter().try_for_each(processes::terminate)?;
    until("its plane has ended", WITHIN, || {
        let left = planes(world.mill.binary());
        Ok(Look::at(left.is_empty(), left))
    })
}
