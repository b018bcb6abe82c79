//! `kill -9` of daemon, plane and containerd at random moments of deploys and crashes (product.md P2, P6, P9, P13).

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::containerd::{self, ctr};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::processes::{self, Process};
use crate::harness::until::let_pass;
use crate::harness::world::{SETTLES_WITHIN, endpoint};
use crate::harness::{Context as _, Failed, Look, World, http, until};

pub(super) const KILLS: Story = Story { name: "kill_minus_nine", pace: Pace::Brisk, tell: Tell::Node(kills) };

/// Kills of each of the three.
const ROUNDS: usize = 30;
const ROUNDS_LONG: usize = 300;
/// The moment of a kill is drawn from this long after the deploy or crash began: a deploy takes about a second.
const MOMENT_MAX_MS: u64 = 1_500;
const REPLICAS: usize = 2;

/// Isn't touched by any deploy of the story, and counts its lines.
const BYSTANDER: &str = r#"project "bystander"
service "chatter" {
    image IMAGE(apps:1)
    command "chatter"
    cpu 0.1
    memory "32M"
    env { RATE "100" }
}
"#;

fn shop(version: &str) -> String {
    format!(
        r#"project "shop"
service "web" {{
    image IMAGE(apps:1)
    command "hello"
    port 3000
    replicas {REPLICAS}
    cpu 0.1
    memory "32M"
    env {{ VERSION "{version}" }}
    health path="/health" interval="1s"
    stop grace="3s" drain="1s"
}}
"#
    )
}

/// A small generator (xorshift64): a seed that is printed makes the same moments again.
struct Moments(u64);

impl Moments {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[derive(Debug, Clone, Copy)]
enum Victim {
    Daemon,
    Plane,
    Containerd,
}

fn kills(world: &mut World) -> Result<(), Failed> {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().or_fail("$SEED")?,
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).or_fail("the clock")?.subsec_nanos().into(),
    };
    let mut moments = Moments(u64::max(seed, 1));
    world.deploy_ok(BYSTANDER)?;
    world.deploy_ok(&shop("v0"))?;
    world.settled("shop", "web", REPLICAS)?;
    let bystander = the_bystander()?;
    let held = world.held()?;
    let rounds = if world.machine.long { ROUNDS_LONG } else { ROUNDS };
    for round in 0..rounds {
        for victim in [Victim::Daemon, Victim::Plane, Victim::Containerd] {
            let told = format!("round {round}, {victim:?}, seed {seed}");
            one_kill(world, victim, &mut moments, round).or_fail(&told)?;
            let now = the_bystander().or_fail(&told)?;
            expect(now == bystander, "the bystander wasn't restarted", (&told, now, bystander))?;
        }
        world.holds_again(&held).or_fail(format_args!("round {round}, seed {seed}"))?;
    }
    no_line_is_lost(world).or_fail(format_args!("seed {seed}"))
}

fn the_bystander() -> Result<i32, Failed> {
    let found: Vec<Process> =
        processes::all().into_iter().filter(|process| process.args == ["/apps", "chatter"]).collect();
    match found.as_slice() {
        [Process { pid, .. }] => Ok(*pid),
        found => Err(Failed::because(format!("expected one bystander, found {found:?}"))),
    }
}

/// Begins a deploy or a crash, kills at a random moment of it, and waits until what runs is what is wanted.
fn one_kill(world: &mut World, victim: Victim, moments: &mut Moments, round: usize) -> Result<(), Failed> {
    let version = format!("v{round}-{victim:?}");
    let crash = moments.below(4) == 0;
    let deploy = match crash {
        true => {
            let server = processes::all().into_iter().find(|process| process.args == ["/apps", "hello"]);
            processes::kill_9(server.or_fail("a server runs")?.pid)?;
            None
        }
        false => {
            let file = world.write("mill.kdl", &shop(&version))?;
            Some(world.mill.start(&["deploy", "-f", &file])?)
        }
    };
    let_pass(Duration::from_millis(moments.below(MOMENT_MAX_MS)));
    match victim {
        Victim::Daemon => world.node.kill_daemon()?,
        Victim::Plane => world.node.kill_plane()?,
        Victim::Containerd => world.machine.containerd.kill_and_restart()?,
    }
    if let Some(mut client) = deploy {
        // it may have lost its connection before the deploy was accepted: then nothing is to be done
        client.wait().or_fail("the deploying client")?;
    }
    world.node.ready()?;
    containerd::ready()?;
    what_runs_is_what_is_wanted(world)
}

fn what_runs_is_what_is_wanted(world: &World) -> Result<(), Failed> {
    until("no deploy is at work", SETTLES_WITHIN, || {
        let status = world.mill.json(&["status"])?;
        Ok(Look::at(status.list("/deploys")?.is_empty(), status.at("/deploys")?))
    })?;
    // A crash of a moment ago may not have been noticed yet: healthy is what was seen last.
    until("all replicas answer with one version", SETTLES_WITHIN, || {
        let allocs = world.settled("shop", "web", REPLICAS)?;
        let mut versions = BTreeSet::new();
        for alloc in &allocs {
            versions.insert(http::get(endpoint(alloc)?, "/version")?.body);
        }
        Ok(Look::at(versions.len() == 1, versions))
    })?;
    let status = world.mill.json(&["allocs"])?;
    let name = |alloc: &Value| Ok(format!("{}.{}", alloc.text("/id")?, alloc.number("/incarnation")?));
    let living = status.list("")?.iter().filter(|alloc| alloc.is("/phase", "healthy"));
    let wanted: BTreeSet<String> = living.map(name).collect::<Result<_, Failed>>()?;
    until("containerd runs the wanted containers and no others", SETTLES_WITHIN, || {
        let running: BTreeSet<String> =
            ctr(&["tasks", "ls", "--quiet"])?.lines().map(str::to_owned).collect();
        Ok(Look::at(running == wanted, (&running, &wanted)))
    })
}

/// The bystander numbered its lines over both outputs: every number up to the last is there.
fn no_line_is_lost(world: &World) -> Result<(), Failed> {
    let lines = world.log("bystander/chatter")?;
    let numbers: BTreeSet<u64> =
        lines.iter().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    let last = numbers.last().copied().or_fail("the bystander wrote lines")?;
    // one output may be read a moment before the other: the last few belong to the present
    let settled = last.saturating_sub(100);
    let lost: Vec<u64> = (1..=settled).filter(|number| !numbers.contains(number)).collect();
    expect(lost.is_empty(), "no log line is lost", (lost.len(), lost.first(), lost.last(), last))
}
