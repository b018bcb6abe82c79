//! Fifty services from one file, then a hundred allocs: how fast they come and go, and what daemon and plane use
//! while nothing happens.

use std::time::{Duration, Instant};

use super::figures::say;
use super::peers::{self, Limits};
use super::{load, times};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::processes::{Memory, processor_time};
use crate::harness::until::let_pass;
use crate::harness::{Failed, Look, World, until};

const SERVICES: usize = 50;
/// As the config below has it: a hundred of them fit on two cores.
const LIMITS: Limits = Limits { cpu: "0.02", memory: "8388608" };
/// What is looked at: the least that the node may use idle (product.md §10).
const IDLE: Duration = Duration::from_secs(10);
const IDLE_LONG: Duration = Duration::from_secs(30);
/// What a deploy leaves behind (logs written, images looked at) is over by then.
const CALM_AFTER: Duration = Duration::from_secs(2);
/// How long everything may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn fifty_and_a_hundred(world: &mut World) -> Result<(), Failed> {
    say(&format!("{SERVICES} services of one file ({})", load(world)))?;
    say(&format!("nothing deployed: {}", used(world, IDLE / 2)?))?;
    let image = world.machine.image("hello:v1");
    peers::pull(&image)?;
    let idle = if world.machine.long { IDLE_LONG } else { IDLE };
    for round in 1..=times(&world.machine, 1, 5) {
        let took = deploy(world, 1)?;
        say(&format!("round {round}: {}", rate(&format!("deploy of {SERVICES} services"), SERVICES, took)))?;
        if round == 1 {
            say(&format!("{SERVICES} allocs, idle: {}", used(world, idle)?))?;
        }
        let took = deploy(world, 2)?;
        say(&rate("    a second replica of each", SERVICES, took))?;
        if round == 1 {
            say(&format!("{} allocs, idle: {}", SERVICES * 2, used(world, idle)?))?;
        }
        let ran = world.mill.ok(&["undeploy", "-y", "fifty"])?;
        until("nothing is left", GONE_WITHIN, || Ok(Look::at(living(world)? == 0, living(world)?)))?;
        say(&rate(&format!("    undeploy of {} allocs", SERVICES * 2), SERVICES * 2, ran.took))?;
        let (count, took) = floor(&image, if world.machine.long { 50 } else { 4 })?;
        say(&rate("    beside `ctr run`, one after the other", count.into(), took))?;
    }
    say(&format!("nothing deployed any more: {}", used(world, IDLE / 2)?))
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

fn floor(image: &str, count: u16) -> Result<(u16, Duration), Failed> {
    let mut took = Duration::ZERO;
    for number in 0..count {
        took += peers::run(image, number, LIMITS)?.1;
    }
    (0..count).try_for_each(peers::end)?;
    Ok((count, took))
}

#[expect(clippy::cast_precision_loss, reason = "a count of containers")]
fn rate(what: &str, count: usize, took: Duration) -> String {
    format!("{what}: {took:.2?}, {:.1} containers/s", count as f64 / took.as_secs_f64())
}

/// Memory of both processes now, and the share of a core that they use for as long as `lasts`.
fn used(world: &World, lasts: Duration) -> Result<String, Failed> {
    let_pass(CALM_AFTER);
    let (daemon, plane) = (world.node.daemon(), world.node.plane()?);
    let (begun, before) = (Instant::now(), [processor_time(daemon)?, processor_time(plane)?]);
    let_pass(lasts);
    let (after, took) = ([processor_time(daemon)?, processor_time(plane)?], begun.elapsed());
    let share = |at: usize| {
        let used = after.get(at).zip(before.get(at)).map(|(after, before)| after.saturating_sub(*before));
        100.0 * used.unwrap_or_default().as_secs_f64() / took.as_secs_f64()
    };
    let (daemon, plane) = (Memory::of(daemon)?, Memory::of(plane)?);
    Ok(format!(
        "daemon {daemon}, {:.2} % of a core; plane {plane}, {:.2} %; together {} MB RSS ({} PSS), {:.2} % of a core over {:.0?}",
        share(0),
        share(1),
        (daemon.rss + plane.rss) >> 20,
        (daemon.pss + plane.pss) >> 20,
        share(0) + share(1),
        took,
    ))
}
