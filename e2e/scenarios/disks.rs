//! The node's disk is full, fails, or is slow: what runs goes on, writes are refused with the disk's word, nothing is
//! half done, and when the disk is well so is the node (product.md §6, P10, P13).

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::disk::SmallDisk;
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::node::Node;
use crate::harness::processes;
use crate::harness::world::{SETTLES_WITHIN, endpoint};
use crate::harness::{Context as _, Failed, Look, World, http, until};

pub(super) const FULL: Story = Story { name: "full_disk", pace: Pace::Brisk, tell: Tell::Node(full) };
pub(super) const FAILS: Story =
    Story { name: "read_only_disk", pace: Pace::Brisk, tell: Tell::Node(read_only) };
pub(super) const SLOW: Story = Story { name: "slow_disk", pace: Pace::Brisk, tell: Tell::Node(slow) };

/// Room for the log's first segments, the records and the logs of a few containers.
const DISK_BYTES: u64 = 192 << 20;

fn config(version: &str) -> String {
    format!(
        r#"project "shop"
service "web" {{
    image IMAGE(apps:1)
    command "hello"
    port 3000
    replicas 2
    cpu 0.1
    memory "32M"
    env {{ VERSION "{version}" }}
    health path="/health" interval="1s"
}}
"#
    )
}

/// Another node in place of the story's: its data are on a disk of their own. Something runs on it.
fn on_a_small_disk(world: &mut World) -> Result<SmallDisk, Failed> {
    until("its plane runs", SETTLES_WITHIN, || world.node.plane().map(Look::Yes))?;
    world.node.end()?;
    world.node.end_plane()?;
    let folder = world.machine.folder.join("small");
    let disk = SmallDisk::mount(&world.machine.folder, &folder.join("mill"), DISK_BYTES)?;
    world.node = Node::start(&world.mill, &folder)?;
    world.deploy_ok(&config("v1"))?;
    Ok(disk)
}

/// What must be as it was, whatever the disk does: the processes that serve, and that they answer.
struct Served {
    allocs: Vec<Value>,
    programs: BTreeSet<i32>,
}

impl Served {
    fn now(world: &World) -> Result<Self, Failed> {
        Ok(Self { allocs: world.settled("shop", "web", 2)?, programs: programs() })
    }

    fn still(&self) -> Result<(), Failed> {
        expect(programs() == self.programs, "no container was touched", (programs(), &self.programs))?;
        for alloc in &self.allocs {
            let answer = http::get(endpoint(alloc)?, "/version")?;
            expect(answer.body == "v1", "each answers", &answer)?;
        }
        Ok(())
    }
}

fn programs() -> BTreeSet<i32> {
    processes::apps("hello")
}

/// What fills the log: a service of no replica, with as much to say as a config may. Each is new.
fn padding(round: u32) -> String {
    let pad = "x".repeat(480 << 10);
    format!(
        r#"project "pad"
service "pad" {{
    image IMAGE(apps:1)
    replicas 0
    cpu 0.1
    memory "32M"
    env {{
        ROUND "{round}"
        PAD "{pad}"
    }}
}}
"#
    )
}

/// Waits until a write is refused with these words; nothing of it is done. On a full disk that takes writes that are
/// longer than what the log has set aside for them: what still fits is taken.
fn refused(world: &World, words: &str) -> Result<(), Failed> {
    let mut round = 0;
    let (ran, status) = until("a write is refused with the disk's word", SETTLES_WITHIN, || {
        round += 1;
        let ran = world.deploy(&padding(round))?;
        let status = world.mill.run(&["status"])?;
        let told = ran.code != 0 && ran.err.contains(words) && status.all().contains(words);
        let seen = (ran, status);
        Ok(if told { Look::Yes(seen) } else { Look::No(format!("{round}: {seen:?}")) })
    })?;
    expect(ran.err.contains("hint: "), "with a hint, and status warns", (&ran, &status))
}

fn full(world: &mut World) -> Result<(), Failed> {
    let disk = on_a_small_disk(world)?;
    let served = Served::now(world)?;
    let held = world.held()?;
    let full = disk.fill()?;
    let no_space = "No space left on device";
    let failed = world.deploy(&config("v2"))?;
    let told = failed.code == 1 && failed.err.contains(no_space) && failed.err.contains("rollback");
    expect(told, "a deploy whose containers' records find no room is rolled back", &failed)?;
    served.still()?;
    refused(world, no_space)?;
    served.still()?;
    let daemon = world.node.daemon();
    world.node.kill_daemon()?;
    refused(world, no_space)?;
    served.still()?;
    expect(world.node.daemon() != daemon && world.node.runs()?, "a new daemon stays up", daemon)?;
    drop(full);
    until("writes are taken again, without a hand", SETTLES_WITHIN, || {
        let ran = world.mill.run(&["scale", "web", "2"])?;
        Ok(Look::at(ran.code == 0, ran))
    })?;
    served.still()?;
    expect(world.node.runs()?, "by the same daemon", world.node.daemon())?;
    world.settled("shop", "web", 2)?;
    served.still()?;
    world.holds_again(&held)?;
    until("no warning is left", SETTLES_WITHIN, || {
        let status = world.mill.json(&["status"])?;
        Ok(Look::at(status.list("/warnings")?.is_empty(), status.at("/warnings")?))
    })?;
    world.deploy_ok(&config("v2")).map(drop)
}

fn read_only(world: &mut World) -> Result<(), Failed> {
    let disk = on_a_small_disk(world)?;
    let served = Served::now(world)?;
    disk.fail()?;
    let read_only = "Read-only file system";
    refused(world, read_only)?;
    served.still()?;
    world.node.kill_daemon()?;
    served.still()?;
    // A disk like that is mended when nobody uses it: Mill ends, and its containers do.
    world.node.end_daemon()?;
    world.node.end_plane()?;
    served.programs.iter().try_for_each(|pid| processes::kill_9(*pid))?;
    until("nobody has the disk open", SETTLES_WITHIN, || disk.repair().map(Look::Yes))?;
    world.node.start_again()?;
    world.settled("shop", "web", 2)?;
    world.deploy_ok(&config("v2")).map(drop)
}

/// How long each sync of the log takes. Longer than an election's timeout.
const SYNC_LASTS: Duration = Duration::from_millis(1500);

/// The daemon's syncs, each made slow by strace(1). Dropping it lets them go.
struct SlowSyncs(Child);

impl SlowSyncs {
    fn of(daemon: u32) -> Result<Self, Failed> {
        let inject = format!("inject=fsync,fdatasync:delay_enter={}", SYNC_LASTS.as_micros());
        let strace = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", &inject, "-o", "/dev/null", "-p"])
            .arg(daemon.to_string())
            .stdin(Stdio::null())
            .spawn()
            .or_fail("can't run strace")?;
        until("strace holds the daemon", SETTLES_WITHIN, || {
            let status = std::fs::read_to_string(format!("/proc/{daemon}/status")).or_fail("its status")?;
            let traced = status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"));
            Ok(Look::at(traced, status))
        })?;
        Ok(Self(strace))
    }
}

impl Drop for SlowSyncs {
    fn drop(&mut self) {
        // SIGTERM lets go of what it traces; SIGKILL does as well (ptrace(2)).
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn slow(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(&config("v1"))?;
    let served = Served::now(world)?;
    let restarts = world.node.actor_restarts()?;
    let slow = SlowSyncs::of(world.node.daemon())?;
    let ran = world.mill.ok(&["scale", "web", "3"])?;
    expect(ran.took > SYNC_LASTS, "a write waits for the disk", &ran)?;
    let status = world.mill.ok(&["status"])?;
    expect(status.took < SYNC_LASTS, "a look doesn't", &status)?;
    served_all(&served)?;
    world.settled("shop", "web", 3)?;
    drop(slow);
    world.mill.ok(&["scale", "web", "2"])?;
    world.settled("shop", "web", 2)?;
    expect(world.node.actor_restarts()? == restarts, "nothing crashed over it", restarts)
}

/// Each of them answers; others may have come.
fn served_all(served: &Served) -> Result<(), Failed> {
    let now = programs();
    expect(
        served.programs.iter().all(|pid| now.contains(pid)),
        "no container was touched",
        (&now, &served.programs),
    )?;
    for alloc in &served.allocs {
        let answer = http::get(endpoint(alloc)?, "/version")?;
        expect(answer.body == "v1", "each answers", &answer)?;
    }
    Ok(())
}
