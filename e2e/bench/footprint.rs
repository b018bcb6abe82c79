//! Fifty services from one file, then a hundred allocs: how fast they come and go, and what daemon and plane use
//! while nothing happens.

use std::time::{Duration, Instant};

use super::figures::{figure, rates_beside, say};
use super::peers::{self, Limits};
use super::{load, times};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::processes::{Memory, threads_time};
use crate::harness::until::let_pass;
use crate::harness::{Context as _, Failed, Look, World, until};

const SERVICES: usize = 50;
/// As the config below has it: a hundred of them fit on two cores.
const LIMITS: Limits = Limits { cpu: "0.02", memory: "8388608" };
/// How long each look at an idle node lasts.
const LOOK: Duration = Duration::from_millis(1_500);
const LOOK_LONG: Duration = Duration::from_secs(6);
/// What a deploy leaves behind (logs written, images looked at, memory given back) is over by then.
const CALM_AFTER: Duration = Duration::from_secs(4);
/// How long everything may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn fifty_and_a_hundred(world: &mut World) -> Result<(), Failed> {
    let image = world.machine.image("hello:v1");
    peers::pull(&image)?;
    let (mut seen, mut empty, mut empty_again) = (Seen::default(), Idle::default(), Idle::default());
    empty.look(world)?;
    for _ in 0..times(&world.machine, 2, 5) {
        seen.round(world, &image)?;
    }
    empty_again.look(world)?;
    say(&format!("{SERVICES} services of one file, containers/s ({})", load(world)))?;
    let ctr = ("`ctr run`, one after the other,", seen.ctr.as_slice());
    rates_beside((&format!("deploy of {SERVICES} services"), &seen.first), ctr)?;
    rates_beside(("a second replica of each", &seen.second), ctr)?;
    rates_beside((&format!("undeploy of {} allocs", SERVICES * 2), &seen.gone), ctr)?;
    say("the node while nothing happens")?;
    empty.report("nothing deployed")?;
    seen.fifty.report(&format!("{SERVICES} allocs"))?;
    seen.hundred.report(&format!("{} allocs", SERVICES * 2))?;
    empty_again.report("nothing deployed any more")
}

/// What the rounds saw; rates are containers a second.
#[derive(Default)]
struct Seen {
    first: Vec<f64>,
    second: Vec<f64>,
    gone: Vec<f64>,
    ctr: Vec<f64>,
    fifty: Idle,
    hundred: Idle,
}

impl Seen {
    fn round(&mut self, world: &World, image: &str) -> Result<(), Failed> {
        let count = u16::try_from(times(&world.machine, 2, 50)).or_fail("a count")?;
        self.ctr.push(floor(image, count)?);
        self.first.push(rate(SERVICES, deploy(world, 1)?));
        self.fifty.look(world)?;
        self.second.push(rate(SERVICES, deploy(world, 2)?));
        self.hundred.look(world)?;
        let ran = world.mill.ok(&["undeploy", "-y", "fifty"])?;
        self.gone.push(rate(SERVICES * 2, ran.took));
        until("nothing is left", GONE_WITHIN, || Ok(Look::at(living(world)? == 0, living(world)?)))
    }
}

fn deploy(world: &World, replicas: u32) -> Result<Duration, Failed> {
    let mut config = "project \"fifty\"\n".to_owned();
    for number in 0..SERVICES {
        config.push_str(&format!(
            "service \"web-{number}\" {{\n    image IMAGE(hello:v1)\n    port 8080\n    replicas {replicas}\n    cpu 0.02\n    memory \"8M\"\n    health path=\"/health\"\n}}\n"
        ));
    }
    let file = world.write("fifty.kdl", &config)?;
    let ran = world.mill.ok(&["deploy", "-f", &file])?;
    let wanted = SERVICES * replicas as usize;
    let healthy = healthy(world)?;
    expect(healthy == wanted, &format!("{wanted} allocs are healthy when the deploy returns"), healthy)?;
    Ok(ran.took)
}

fn healthy(world: &World) -> Result<usize, Failed> {
    let allocs = world.mill.json(&["allocs"])?;
    Ok(allocs.list("")?.iter().filter(|alloc| alloc.is("/phase", "healthy")).count())
}

fn living(world: &World) -> Result<usize, Failed> {
    let allocs = world.mill.json(&["allocs"])?;
    let ended = |phase: &str| ["stopped", "failed"].contains(&phase);
    Ok(allocs.list("")?.iter().filter(|alloc| alloc.text("/phase").is_ok_and(|phase| !ended(phase))).count())
}

/// Containers a second of `ctr run`.
fn floor(image: &str, count: u16) -> Result<f64, Failed> {
    let mut took = Duration::ZERO;
    for number in 0..count {
        took += peers::run(image, number, LIMITS)?.1;
    }
    (0..count).try_for_each(peers::end)?;
    Ok(rate(count.into(), took))
}

#[expect(clippy::cast_precision_loss, reason = "a count of containers")]
fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// What daemon and plane use while nothing happens, over several looks.
#[derive(Default)]
struct Idle {
    daemon: Used,
    plane: Used,
    together: Used,
}

/// Megabytes and hundredths of a core, look by look.
#[derive(Default)]
struct Used {
    rss: Vec<f64>,
    pss: Vec<f64>,
    anonymous: Vec<f64>,
    cpu: Vec<f64>,
}

impl Idle {
    fn look(&mut self, world: &World) -> Result<(), Failed> {
        let (daemon, plane) = (world.node.daemon(), world.node.plane()?);
        let lasts = if world.machine.long { LOOK_LONG } else { LOOK };
        let_pass(CALM_AFTER);
        for _ in 0..times(&world.machine, 2, 5) {
            let (begun, daemon_before, plane_before) =
                (Instant::now(), threads_time(daemon)?, threads_time(plane)?);
            let_pass(lasts);
            let daemon_cpu = threads_time(daemon)?.saturating_sub(daemon_before);
            let plane_cpu = threads_time(plane)?.saturating_sub(plane_before);
            let took = begun.elapsed().as_secs_f64();
            let share = |used: Duration| 100.0 * used.as_secs_f64() / took;
            let (of_daemon, of_plane) = (Memory::of(daemon)?, Memory::of(plane)?);
            self.daemon.note(of_daemon, share(daemon_cpu));
            self.plane.note(of_plane, share(plane_cpu));
            self.together.note(of_daemon.and(of_plane), share(daemon_cpu + plane_cpu));
        }
        Ok(())
    }

    fn report(&self, what: &str) -> Result<(), Failed> {
        say(&format!("{what}, {} looks", self.together.cpu.len()))?;
        for (who, used) in [("daemon", &self.daemon), ("plane", &self.plane), ("together", &self.together)] {
            let Used { rss, pss, anonymous, cpu } = used;
            say(&format!(
                "    {who}: {}, {}, {}, {}",
                figure(rss, "MB RSS")?,
                figure(pss, "MB PSS")?,
                figure(anonymous, "MB anonymous")?,
                figure(cpu, "% of a core")?,
            ))?;
        }
        Ok(())
    }
}

impl Used {
    fn note(&mut self, memory: Memory, cpu: f64) {
        self.rss.push(megabytes(memory.rss));
        self.pss.push(megabytes(memory.pss));
        self.anonymous.push(megabytes(memory.anonymous));
        self.cpu.push(cpu);
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory of a process, for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
