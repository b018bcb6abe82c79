//! The node's time of day is set a day ahead and a day back, while the daemon runs and while it doesn't: nothing restarts,
//! nothing hangs, status tells of it, and what has an end by the calendar has it (product.md §6).

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::{Pace, Story, Tell};
use crate::harness::cli::Mill;
use crate::harness::clock::Clock;
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::node::Node;
use crate::harness::processes;
use crate::harness::steady::Steady;
use crate::harness::world::SETTLES_WITHIN;
use crate::harness::{Context as _, Failed, Look, World, until};

pub(super) const TIME: Story = Story { name: "time_jumps", pace: Pace::Brisk, tell: Tell::Node(time_jumps) };

const API: &str = "https://127.0.0.1:4400";
const DAY: i64 = 86_400;
/// A deploy under way when the clock is set: its replica takes two seconds to be healthy.
const DEPLOYED_WITHIN: Duration = Duration::from_secs(30);

const CONFIG: &str = r#"project "shop"
service "web" {
    image IMAGE(apps:1)
    command "hello"
    port 3000
    replicas 2
    cpu 0.1
    memory "32M"
    env { VERSION "v1" }
    health path="/health" interval="1s"
}
service "chatter" {
    image IMAGE(apps:1)
    command "chatter"
    cpu 0.1
    memory "32M"
    env { RATE "50" }
}
"#;

/// What dies is started again after a pause.
const FRAIL: &str = r#"project "frail"
service "frail" {
    image IMAGE(apps:1)
    command "sleeper"
    cpu 0.1
    memory "32M"
}
"#;

fn slow(version: usize) -> String {
    format!(
        r#"project "slow"
service "slow" {{
    image IMAGE(apps:1)
    command "hello"
    port 3000
    cpu 0.1
    memory "32M"
    env {{
        HEALTHY_AFTER_MS "2000"
        VERSION "{version}"
    }}
    health path="/health" interval="1s"
}}
"#
    )
}

fn time_jumps(world: &mut World) -> Result<(), Failed> {
    let clock = Clock::right(&world.machine.folder)?;
    follow(world, &clock)?;
    world.deploy_ok(CONFIG)?;
    world.deploy_ok(FRAIL)?;
    let clients = Steady::each(&world.settled("shop", "web", 2)?, "/version", "v1")?;
    let here = world.mill.of_another(&world.machine.folder.join("laptop"))?;
    let there = clock.on(&world.mill.of_another(&world.machine.folder.join("phone"))?)?;
    for laptop in [&here, &there] {
        login(world, laptop)?;
    }
    let hour = made(world, "1h")?;
    let hour = here.clone().with_env("MILL_ADDR", API).with_env("MILL_TOKEN", &hour);

    let programs = programs();
    for (number, (ahead, whither)) in
        [(DAY, "forward"), (0, "back"), (-DAY, "back"), (0, "forward")].into_iter().enumerate()
    {
        let told = format!("set to {ahead} s ahead while the daemon runs");
        while_it_runs(world, &clock, number, (ahead, whither)).or_fail(&told)?;
        reached(&[&here, &there]).or_fail(&told)?;
        expect(self::programs() == programs, "nothing was started again", self::programs()).or_fail(&told)?;
        clients.iter().try_for_each(Steady::all_answered).or_fail(&told)?;
    }
    let refused = hour.run(&["status"])?;
    expect(refused.code != 0 && refused.err.contains("expired"), "an hour was over", &refused)?;

    for (number, ahead) in [DAY, 0, -DAY, 0].into_iter().enumerate() {
        let told = format!("set to {ahead} s ahead while no daemon runs");
        while_it_is_down(world, &clock, number, ahead).or_fail(&told)?;
        reached(&[&here, &there]).or_fail(&told)?;
        expect(self::programs() == programs, "nothing was started again", self::programs()).or_fail(&told)?;
        clients.iter().try_for_each(Steady::all_answered).or_fail(&told)?;
    }
    while_something_waits(world, &clock)?;
    expect(self::programs() == programs, "nothing else was started again", self::programs())?;
    in_order(world)
}

/// Another daemon and plane in place of the story's: they have this clock.
fn follow(world: &mut World, clock: &Clock) -> Result<(), Failed> {
    until("its plane runs", SETTLES_WITHIN, || world.node.plane().map(Look::Yes))?;
    world.node.end()?;
    world.node.end_plane()?;
    world.node = Node::start(&clock.on(&world.mill)?, &world.machine.folder)?;
    Ok(())
}

fn made(world: &World, expires: &str) -> Result<String, Failed> {
    let token = ["token", "create", "--role", "viewer", "--expires", expires];
    Ok(world.mill.json(&token)?.text("/token")?.to_owned())
}

/// Gives somebody far away a token for ten days, and the cluster's certificate authority with it.
fn login(world: &World, laptop: &Mill) -> Result<(), Failed> {
    let token = made(world, "10d")?;
    let file = laptop.home().join("token");
    std::fs::write(&file, token).or_fail("a token's file")?;

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).or_fail("a token's file")?;
    laptop.ok(&["login", API, "--name", "cluster", "--token-file", "token"]).map(drop)
}

/// Whoever has the right time, and whoever has the node's, reaches the API: its certificate is valid by both.
fn reached(laptops: &[&Mill]) -> Result<(), Failed> {
    laptops.iter().try_for_each(|laptop| laptop.ok(&["status", "--context", "cluster"]).map(drop))
}

/// The clock is set in the middle of a deploy, while something waits to be started again.
fn while_it_runs(
    world: &World,
    clock: &Clock,
    number: usize,
    (ahead, whither): (i64, &str),
) -> Result<(), Failed> {
    let restarts = world.node.actor_restarts()?;
    let file = world.write("slow.kdl", &slow(number))?;
    let deploy = world.mill.begin(&["deploy", "-f", &file])?;
    until("the deploy is under way", SETTLES_WITHIN, || {
        let status = world.mill.json(&["status"])?;
        Ok(Look::at(!status.list("/deploys")?.is_empty(), status))
    })?;
    clock.set(ahead)?;
    let ran = deploy.ended()?;
    expect(ran.code == 0 && ran.took < DEPLOYED_WITHIN, "its deadline isn't reached", &ran)?;
    until("status tells of it", SETTLES_WITHIN, || {
        let status = world.mill.run(&["status"])?;
        Ok(Look::at(status.all().contains(&format!("clock was set {whither}")), status))
    })?;
    world.settled("shop", "web", 2)?;
    expect(world.node.actor_restarts()? == restarts, "no actor crashed over it", restarts)
}

/// The clock is set while no daemon runs.
fn while_it_is_down(world: &mut World, clock: &Clock, number: usize, ahead: i64) -> Result<(), Failed> {
    world.node.end_daemon()?;
    clock.set(ahead)?;
    world.node.start_again()?;
    let ran = world.deploy_ok(&slow(100 + number))?;
    expect(ran.took < DEPLOYED_WITHIN, "a deploy takes its time and no more", &ran)?;
    world.settled("shop", "web", 2).map(drop)
}

/// It is set back a day while no daemon runs and something waits to be started again: for a pause, not for a day.
fn while_something_waits(world: &mut World, clock: &Clock) -> Result<(), Failed> {
    // The second pause in a row is long enough to be in the middle of it.
    for _ in 0..2 {
        let incarnation = frail(world)?;
        processes::kill_9(processes::apps("sleeper").into_iter().next().or_fail("the frail one runs")?)?;
        until("its end was noticed", SETTLES_WITHIN, || {
            let allocs = world.allocs("frail", "frail")?;
            Ok(Look::at(allocs.iter().any(|alloc| alloc.is("/phase", "waiting")), allocs))
        })?;
        world.node.end_daemon()?;
        clock.set(-DAY)?;
        world.node.start_again()?;
        // A node that has just come up may know its log better in a moment.
        until("what died is started again", SETTLES_WITHIN, || {
            let now = frail(world)?;
            Ok(Look::at(now > incarnation, (now, incarnation)))
        })?;
        clock.set(0)?;
    }
    Ok(())
}

/// The incarnation of the frail one, once it is healthy.
fn frail(world: &World) -> Result<u64, Failed> {
    world.settled("frail", "frail", 1)?.first().or_fail("the frail one")?.number("/incarnation")
}

/// Each output's lines are in the order in which they were written, and none is missing.
fn in_order(world: &World) -> Result<(), Failed> {
    let numbers: Vec<u64> = world
        .log("shop/chatter")?
        .iter()
        .filter_map(|line| line.strip_prefix("line ")?.parse().ok())
        .collect();
    for rest in [0, 1] {
        let lines: Vec<u64> = numbers.iter().copied().filter(|number| number % 2 == rest).collect();
        let swapped = lines.windows(2).find(|pair| !matches!(pair, [one, next] if one + 2 == *next));
        expect(
            lines.len() > 100 && swapped.is_none(),
            "lines are in order, and all there",
            (lines.len(), swapped),
        )?;
    }
    Ok(())
}

/// What nothing may end: the servers and the chatter, not those of the deploys meanwhile.
fn programs() -> BTreeSet<i32> {
    let shop = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|env| {
            env.windows(10).any(|part| part == b"VERSION=v1") || env.windows(5).any(|part| part == b"RATE=")
        })
    };
    processes::apps("hello").into_iter().chain(processes::apps("chatter")).filter(shop).collect()
}
