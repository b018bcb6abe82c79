//! A hundred allocs at once, and thousands one after the other: nothing is left of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::census::{Census, bytes_below};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::world::{SETTLES_WITHIN, endpoint};
use crate::harness::{Context as _, Failed, Look, World, http, processes, until};

pub(super) const HUNDRED: Story =
    Story { name: "hundred_allocs", pace: Pace::Brisk, tell: Tell::Addressed(hundred) };
pub(super) const LIVES: Story =
    Story { name: "thousands_of_lives", pace: Pace::Patient, tell: Tell::Addressed(lives) };

const SERVICES: [&str; 4] = ["north", "east", "south", "west"];
const REPLICAS: usize = 25;
const ALLOCS: usize = SERVICES.len() * REPLICAS;
/// After scaling down.
const FEWER: usize = 5;
const PORTS: usize = 3;

/// Rounds of the first story.
const ROUNDS: usize = 1;
const ROUNDS_LONG: usize = 5;

/// Rounds of the second: in each, every alloc lives once, and some of them twice.
const LIFETIMES: usize = 2;
const LIFETIMES_LONG: usize = 97;
/// Programs that are killed in each of them.
const CRASHES: usize = 4;
/// How often everything is counted.
const COUNTED_EVERY: usize = 10;

/// Memory that daemon and plane may have more of at the end than when a tenth of all lives were over: what is kept on
/// purpose (events, ended allocs, audit) is complete long before.
const GROWTH_BYTES_MAX: u64 = 8 << 20;
/// The node's log of commands and its snapshots, for any number of lives.
const RAFT_BYTES_MAX: u64 = 256 << 20;

/// A hundred of them fit on two cores, with room for twenty of the next version beside them.
fn config(version: &str, services: &[&str], replicas: usize) -> String {
    let service = |name: &&str| {
        format!(
            r#"service "{name}" {{
    image IMAGE(hello:{version})
    port 8080
    port "side" 8081
    port "admin" 8082
    env {{ MORE_PORTS "8081,8082" }}
    replicas {replicas}
    cpu 0.015
    memory "8M"
    health path="/health" interval="10s"
    update parallel=5
    stop grace="3s" drain="0s"
}}
"#
        )
    };
    let services: String = services.iter().map(service).collect();
    format!("project \"hundred\"\n{services}")
}

fn hundred(world: &mut World) -> Result<(), Failed> {
    let empty = warmed_up(world)?;
    let rounds = if world.machine.long { ROUNDS_LONG } else { ROUNDS };
    for _ in 0..rounds {
        round(world, &empty)?;
    }
    Ok(())
}

/// Created, reached, updated, scaled down, removed; counted after each.
fn round(world: &World, empty: &Census) -> Result<(), Failed> {
    world.deploy_ok(&config("v1", &SERVICES, REPLICAS))?;
    reached(&settled(world, REPLICAS)?, "v1")?;
    let full = Census::now(world)?;
    for (kind, wanted) in [
        ("containers", ALLOCS),
        ("tasks", ALLOCS),
        ("snapshots", ALLOCS),
        ("shims", ALLOCS),
        ("private addresses", ALLOCS),
        ("ports", ALLOCS * PORTS),
        ("BPF entries", ALLOCS),
        // Each as it is declared, as it is mapped, and as it is taken.
        ("BPF ports", ALLOCS * PORTS * 3),
    ] {
        let more = |census: &Census| census.held.get(kind).copied().unwrap_or_default();
        expect(more(&full) == more(empty) + wanted, &format!("there are {wanted} {kind}"), &full)?;
    }
    let full = Census::comes_to(world, &empty.with(ALLOCS, &full, ALLOCS)?, "by a deploy")?;

    world.deploy_ok(&config("v2", &SERVICES, REPLICAS))?;
    reached(&settled(world, REPLICAS)?, "v2")?;
    Census::comes_to(world, &full, "by an update of all")?;

    for service in SERVICES {
        world.mill.ok(&["scale", service, &FEWER.to_string()])?;
    }
    reached(&settled(world, FEWER)?, "v2")?;
    let fewer = empty.with(FEWER * SERVICES.len(), &full, ALLOCS)?;
    Census::comes_to(world, &fewer, "by scaling down")?;

    world.mill.ok(&["undeploy", "hundred", "--yes"])?;
    Census::comes_to(world, empty, "by a hundred allocs").map(drop)
}

/// What is held once everything was used that stays: images, connections.
fn warmed_up(world: &World) -> Result<Census, Failed> {
    let before = world.held()?;
    world.deploy_ok(&config("v2", &SERVICES, 1))?;
    world.deploy_ok(&config("v1", &SERVICES, 1))?;
    world.mill.ok(&["undeploy", "hundred", "--yes"])?;
    world.holds_again(&before)?;
    Census::now(world)
}

fn settled(world: &World, replicas: usize) -> Result<Vec<Value>, Failed> {
    let of = |service| world.settled("hundred", service, replicas);
    Ok(SERVICES.into_iter().map(of).collect::<Result<Vec<_>, _>>()?.concat())
}

/// Every alloc answers at its ports as the same container, and none at another's.
fn reached(allocs: &[Value], version: &str) -> Result<(), Failed> {
    let mut whose: BTreeMap<SocketAddr, &str> = BTreeMap::new();
    for alloc in allocs {
        let first = endpoint(alloc)?;
        let ports = alloc.list("/ports")?;
        expect(ports.len() == PORTS, "an alloc has three ports", alloc)?;
        for port in ports {
            let mapped = u16::try_from(port.number("/mapped")?).or_fail("a port")?;
            let at = SocketAddr::new(first.ip(), mapped);
            let other = whose.insert(at, alloc.text("/id")?);
            expect(other.is_none(), "a mapped port is one alloc's", (at, other))?;
            let answer = http::get(at, "/version")?;
            expect(answer.body == version, &format!("{version} answers at {at}"), &answer)?;
        }
    }
    Ok(())
}

fn lives(world: &mut World) -> Result<(), Failed> {
    let empty = warmed_up(world)?;
    let rounds = if world.machine.long { LIFETIMES_LONG } else { LIFETIMES };
    let (begun, mut lived) = (Instant::now(), 0);
    let mut early = None;
    for round in 1..=rounds {
        world.deploy_ok(&config("v1", &SERVICES, REPLICAS))?;
        crash(world)?;
        world.mill.ok(&["undeploy", "hundred", "--yes"])?;
        lived += ALLOCS + CRASHES;
        if round % COUNTED_EVERY == 0 || round == rounds {
            let now = Census::comes_to(world, &empty, &format!("by {lived} lives"))?;
            said(world, lived, begun.elapsed(), &now)?;
            let early = *early.get_or_insert(now.anonymous);
            let grown = now.anonymous.saturating_sub(early);
            expect(grown <= GROWTH_BYTES_MAX, "memory doesn't grow with lives", (early, now.anonymous))?;
            let raft = bytes_below(&world.node.data().join("raft"));
            expect(raft <= RAFT_BYTES_MAX, "the log is cut", raft)?;
        }
    }
    Ok(())
}

/// Kills some programs, and waits until each was started again.
fn crash(world: &World) -> Result<(), Failed> {
    let killed: Vec<i32> = processes::apps("hello").into_iter().take(CRASHES).collect();
    expect(killed.len() == CRASHES, "programs run", &killed)?;
    killed.iter().try_for_each(|pid| processes::kill_9(*pid))?;
    until("what was killed was started again", SETTLES_WITHIN, || {
        let allocs = world.mill.json(&["allocs"])?;
        let second = |alloc: &&Value| {
            alloc.is("/phase", "healthy") && alloc.number("/incarnation").is_ok_and(|n| n > 1)
        };
        let again = allocs.list("")?.iter().filter(second).count();
        Ok(Look::at(again == CRASHES, format!("{again} of {CRASHES}")))
    })
}

/// A line for who watches a long run.
fn said(world: &World, lived: usize, took: Duration, census: &Census) -> Result<(), Failed> {
    use std::io::Write as _;
    let (kib, raft) = (census.anonymous >> 10, bytes_below(&world.node.data().join("raft")) >> 10);
    let line =
        format!("{lived} lives in {took:.0?}: {kib} KB anonymous, {raft} KB of log, {:?}", census.open);
    writeln!(std::io::stdout(), "{line}").or_fail("stdout")
}
