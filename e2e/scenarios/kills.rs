//! `kill -9` of daemon, plane and containerd at random moments of deploys and crashes (product.md P2, P6, P9, P13).

use std::collections::BTreeSet;
use std::process::Child;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::containerd;
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::leaks::Held;
use crate::harness::processes;
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
    let bystander = pids(&BYSTANDING);
    expect(bystander.len() == 1, "one bystander", &bystander)?;
    let mut wanted = Wanted { version: "v0".to_owned(), held: world.held()? };
    let rounds = if world.machine.long { ROUNDS_LONG } else { ROUNDS };
    for round in 0..rounds {
        for victim in [Victim::Daemon, Victim::Plane, Victim::Containerd] {
            let told = format!("round {round}, {victim:?}, seed {seed}");
            let begun = match moments.below(4) {
                0 => Begun::crash(world),
                _ => Begun::deploy(world, format!("v{round}-{victim:?}")),
            };
            let begun = begun.or_fail(&told)?;
            let_pass(Duration::from_millis(moments.below(MOMENT_MAX_MS)));
            victim.die(world).or_fail(&told)?;
            begun.end(world, victim, &mut wanted).or_fail(&told)?;
            let now = pids(&BYSTANDING);
            expect(now == bystander, "the bystander wasn't restarted", (&told, now, &bystander))?;
        }
    }
    no_line_is_lost(world).or_fail(format_args!("seed {seed}"))
}

/// How the programs of containers are called.
const BYSTANDING: [&str; 2] = ["/apps", "chatter"];
const SERVING: [&str; 2] = ["/apps", "hello"];

/// The processes that are called so.
fn pids(args: &[&str]) -> BTreeSet<i32> {
    let called = processes::all().into_iter().filter(|process| process.args == args);
    called.map(|process| process.pid).collect()
}

/// What there should be when all is quiet: the version that answers, and as much of the machine as is held now.
struct Wanted {
    version: String,
    held: Held,
}

impl Victim {
    fn die(self, world: &mut World) -> Result<(), Failed> {
        match self {
            Self::Daemon => world.node.kill_daemon(),
            Self::Plane => world.node.kill_plane(),
            Self::Containerd => world.machine.containerd.kill_and_restart(),
        }
    }
}

/// What was under way when the victim died.
enum Begun {
    /// One of two replicas was killed: the other is no one's business.
    Crash { ids: BTreeSet<String>, survivors: BTreeSet<i32> },
    /// A good version was deployed, after that deploy.
    Deploy { client: Child, version: String, after: u64 },
}

impl Begun {
    fn crash(world: &World) -> Result<Self, Failed> {
        let ids = ids(&world.settled("shop", "web", REPLICAS)?)?;
        let mut survivors = pids(&SERVING);
        expect(survivors.len() == REPLICAS, "the servers run", &survivors)?;
        let victim = survivors.pop_first().or_fail("a server runs")?;
        processes::kill_9(victim)?;
        Ok(Self::Crash { ids, survivors })
    }

    fn deploy(world: &World, version: String) -> Result<Self, Failed> {
        let after = last_deploy(world)?.0;
        let file = world.write("mill.kdl", &shop(&version))?;
        Ok(Self::Deploy { client: world.mill.start(&["deploy", "-f", &file])?, version, after })
    }

    /// Waits until all is quiet: what runs is what is wanted, by those who ran before where nothing ended them.
    fn end(self, world: &World, victim: Victim, wanted: &mut Wanted) -> Result<(), Failed> {
        match self {
            Self::Crash { ids, survivors } => {
                let allocs = quiet(world, wanted)?;
                let (now, served) = (self::ids(&allocs)?, pids(&SERVING));
                expect(now == ids, "the one that died came back as what it was", (&now, &ids))?;
                expect(survivors.is_subset(&served), "the other wasn't touched", (&survivors, &served))
            }
            Self::Deploy { mut client, version, after } => {
                let code = client.wait().or_fail("the deploying client")?.code();
                world.node.ready()?;
                until("no deploy is at work", SETTLES_WITHIN, || {
                    let status = world.mill.json(&["status"])?;
                    Ok(Look::at(status.list("/deploys")?.is_empty(), status.at("/deploys")?))
                })?;
                let (deploy, state) = last_deploy(world)?;
                let accepted = deploy != after;
                // Only with the daemon may a client lose its connection before the deploy was accepted.
                let excused = code != Some(0) && matches!(victim, Victim::Daemon);
                expect(accepted || excused, "a deploy is accepted", (code, deploy, &state))?;
                if accepted {
                    expect(state == "succeeded", "a good version isn't rolled back", (code, deploy, state))?;
                    wanted.version = version;
                }
                let allocs = quiet(world, wanted)?;
                let again = allocs.iter().find(|alloc| accepted && has_run_before(alloc, victim));
                expect(again.is_none(), "no new replica ran twice", again)
            }
        }
    }
}

/// Whether an earlier run of it came to an end. One that was in the making may have to be made again, and where
/// containerd died that counts as a start that failed.
fn has_run_before(alloc: &Value, victim: Victim) -> bool {
    let unmade = |kind: &&str| alloc.is("/last_end/failure/kind", kind);
    let excused = matches!(victim, Victim::Containerd) && ["runtime", "pull_failed"].iter().any(unmade);
    alloc.pointer("/last_end").is_some_and(|end| !end.is_null()) && !excused
}

/// The last deploy of the shop, and how it stands.
fn last_deploy(world: &World) -> Result<(u64, String), Failed> {
    let history = world.mill.json(&["history", "shop"])?;
    Ok((history.number("/0/id")?, history.text("/0/state")?.to_owned()))
}

fn ids(allocs: &[Value]) -> Result<BTreeSet<String>, Failed> {
    allocs.iter().map(|alloc| alloc.text("/id").map(str::to_owned)).collect()
}

/// Waits until what runs is what is wanted, and no more is held of the machine than for that; answers the replicas.
fn quiet(world: &World, wanted: &Wanted) -> Result<Vec<Value>, Failed> {
    world.node.ready()?;
    containerd::ready()?;
    // A crash of a moment ago may not have been noticed yet: healthy is what was seen last.
    let allocs = until("all replicas answer with the wanted version", SETTLES_WITHIN, || {
        let allocs = world.settled("shop", "web", REPLICAS)?;
        for alloc in &allocs {
            let answer = http::get(endpoint(alloc)?, "/version")?;
            if answer.body != wanted.version {
                return Ok(Look::No(format!("{answer:?}, wanted {}", wanted.version)));
            }
        }
        Ok(Look::Yes(allocs))
    })?;
    let all = [world.settled("bystander", "chatter", 1)?, allocs.clone()].concat();
    let name = |alloc: &Value| Ok(format!("{}.{}", alloc.text("/id")?, alloc.number("/incarnation")?));
    let names: BTreeSet<String> = all.iter().map(name).collect::<Result<_, Failed>>()?;
    until("the wanted containers run, no others, and nothing is left behind", SETTLES_WITHIN, || {
        let held = world.held()?;
        let differences = wanted.held.differences(&held);
        let running = held.names("tasks");
        let right = differences.is_empty() && running == Some(&names);
        Ok(Look::at(right, (running, &names, differences)))
    })?;
    Ok(allocs)
}

/// The bystander numbered its lines over both outputs: every number up to the last is there.
fn no_line_is_lost(world: &World) -> Result<(), Failed> {
    let numbers = || -> Result<BTreeSet<u64>, Failed> {
        let lines = world.log("bystander/chatter")?;
        Ok(lines.iter().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect())
    };
    let last = numbers()?.last().copied().or_fail("the bystander wrote lines")?;
    // one output may be read a moment before the other
    until("no log line is lost", SETTLES_WITHIN, || {
        let numbers = numbers()?;
        let lost: Vec<u64> = (1..=last).filter(|number| !numbers.contains(number)).collect();
        Ok(Look::at(lost.is_empty(), (lost.len(), lost.first(), lost.last(), last)))
    })
}
