//! A program that dies again and again keeps neither a core busy nor its users waiting longer than needed.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::processes::{self, Process, processor_time};
use crate::harness::until::let_pass;
use crate::harness::{Context as _, Failed, Look, World, until};

pub(super) const LOOP: Story = Story { name: "crash_loop", pace: Pace::Brisk, tell: Tell::Node(crash_loop) };

pub(super) const FORGIVEN: Story =
    Story { name: "crashes_are_forgiven", pace: Pace::Patient, tell: Tell::Node(forgiven) };

const CONFIG: &str = r#"project "shop"
service "web" {
    image IMAGE(apps:1)
    command "sleeper"
    cpu 0.1
    memory "32M"
}
"#;

/// Pauses after the first, second … failure in a row (product.md §3), in milliseconds. Making and starting a container
/// comes on top: a pause is told from the next one, however busy the machine. The last here is of no failure.
const PAUSES_MS: [u64; 5] = [1_000, 5_000, 30_000, 60_000, 120_000];
/// Health that forgets earlier failures.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Most of a core that the daemon may use meanwhile.
const SHARE_MAX: f64 = 0.02;

fn crash_loop(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(CONFIG)?;
    world.settled("shop", "web", 1)?;
    let crashes = if world.machine.long { PAUSES_MS.len() - 1 } else { 2 };
    let (daemon, begun) = (world.node.daemon(), Instant::now());
    let used_before = processor_time(daemon)?;
    crash(crashes)?;
    let used = processor_time(daemon)?.saturating_sub(used_before).as_secs_f64();
    let share = used / begun.elapsed().as_secs_f64();
    expect(share < SHARE_MAX, "the daemon used less than 2 % of a core", share)
}

/// Ten minutes of health, and a crash is the first one again.
fn forgiven(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(CONFIG)?;
    world.settled("shop", "web", 1)?;
    crash(2)?;
    world.settled("shop", "web", 1)?;
    let_pass(FORGOTTEN_AFTER + Duration::from_secs(5));
    crash(1).or_fail("after ten minutes of health")
}

/// So many crashes in a row, each with its pause.
fn crash(times: usize) -> Result<(), Failed> {
    let pauses = PAUSES_MS.iter().zip(PAUSES_MS.iter().skip(1));
    pauses.take(times).try_for_each(|(pause, next)| crash_and_measure(*pause..*next))
}

/// Kills the program and waits for its next incarnation; fails unless that was made after a pause of so many
/// milliseconds. Looks at processes only: asking the daemon would be work for it.
fn crash_and_measure(pause_ms: Range<u64>) -> Result<(), Failed> {
    let program = program().or_fail("the program runs")?;
    let killed_at = processes::now();
    processes::kill_9(program.pid)?;
    let next = until("the next incarnation starts", Duration::from_millis(pause_ms.end), || {
        let another = self::program().filter(|process| process.pid != program.pid);
        Ok(another.map_or_else(|| Look::No("no other process".to_owned()), Look::Yes))
    })?;
    let made_at = processes::made_at(u32::try_from(next.pid).or_fail("a process id")?)?;
    let waited = u64::try_from(made_at.saturating_sub(killed_at).as_millis()).or_fail("a pause")?;
    expect(pause_ms.contains(&waited), &format!("started again after {pause_ms:?} ms"), waited)
}

fn program() -> Option<Process> {
    processes::all().into_iter().find(|process| process.args == ["/apps", "sleeper"])
}
