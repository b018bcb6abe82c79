//! What Mill is measured beside: `ctr run`, which is the least that a container costs here, and bare writes.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::containerd::ctr;
use crate::harness::until::closely;
use crate::harness::{Context as _, Failed, Look, http, space, until};

/// How long a container may take to answer, or to end.
const WITHIN: Duration = Duration::from_secs(20);
/// Outside of Mill's pool.
const FIRST_PORT: u16 = 19_000;
/// Space that is set aside before bare writes are measured, as a log does.
const RESERVED: usize = 8 << 20;

/// Makes an image of the registry known to `ctr`.
pub(super) fn pull(image: &str) -> Result<(), Failed> {
    ctr(&["images", "pull", "--plain-http", image]).map(drop)
}

/// What a container may use, in the words of `ctr run`. runc's own start counts against it: with a tenth of a core
/// that takes three times as long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Cores.
    pub(super) cpu: &'static str,
    /// Bytes.
    pub(super) memory: &'static str,
}

/// A container of the `hello` program by `ctr run`, as confined as Mill's are, until its program answers. Answers when
/// it returned and when that was so.
pub(super) fn run(image: &str, number: u16, limits: Limits) -> Result<(Duration, Duration), Failed> {
    let port = FIRST_PORT + number;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (env, name) = (format!("PORT={port}"), name(number));
    let cgroup = format!("{}/{name}", space::cgroup_parent()?);
    let begun = Instant::now();
    let confined = ["--seccomp", "--cpus", limits.cpu, "--memory-limit", limits.memory, "--cgroup", &cgroup];
    let rest = ["--detach", "--net-host", "--env", &env, image, &name];
    ctr(&[["run"].as_slice(), &confined, &rest].concat())?;
    let returned = begun.elapsed();
    closely("an answer", WITHIN, || {
        let answer = http::get(address, "/health")?;
        Ok(Look::at(answer.status == 200, answer))
    })?;
    Ok((returned, begun.elapsed()))
}

/// Ends and removes it.
pub(super) fn end(number: u16) -> Result<(), Failed> {
    let name = name(number);
    ctr(&["tasks", "kill", "--signal", "SIGKILL", &name])?;
    until("its end", WITHIN, || ctr(&["tasks", "delete", &name]).map(Look::Yes))?;
    ctr(&["containers", "delete", &name]).map(drop)
}

fn name(number: u16) -> String {
    format!("bench-{number}")
}

/// Writes `bytes` bytes and has them on disk, again and again, for about as long as `lasts`: how many a second.
pub(super) fn synced_writes(folder: &Path, bytes: usize, lasts: Duration) -> Result<f64, Failed> {
    let path = folder.join("synced-writes");
    fs::write(&path, vec![0; RESERVED]).or_fail("a file")?;
    let file = fs::OpenOptions::new().write(true).open(&path).or_fail("a file")?;
    file.sync_all().or_fail("fsync")?;
    let (record, begun) = (vec![7; bytes], Instant::now());
    let mut count: u32 = 0;
    while begun.elapsed() < lasts {
        let offset = u64::from(count) * bytes as u64 % RESERVED as u64;
        file.write_all_at(&record, offset).or_fail("a write")?;
        file.sync_data().or_fail("fdatasync")?;
        count += 1;
    }
    let took = begun.elapsed();
    fs::remove_file(&path).or_fail("a file")?;
    Ok(f64::from(count) / took.as_secs_f64())
}
