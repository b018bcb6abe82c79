//! Every actor of both trees, found by looking at them, is restarted by hand and panics, each in turn, while services are
//! asked and a deploy waits for its task: nobody outside notices (architecture.md §2, product.md P2, P13).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::cli::Mill;
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::node::Node;
use crate::harness::processes;
use crate::harness::steady::Steady;
use crate::harness::world::endpoint;
use crate::harness::{Context as _, Failed, Look, World, until};

pub(super) const ACTORS: Story =
    Story { name: "every_actor", pace: Pace::Brisk, tell: Tell::Faulty(every_actor) };

/// An actor is back after a pause of a twentieth of a second; the node leads again within its election timeout.
const BACK_WITHIN: Duration = Duration::from_secs(20);

/// Two services that are asked, and a task that runs for as long as the story wants: its deploy is under way meanwhile.
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
service "cache" {
    image IMAGE(redis-server:debian)
    command "/etc/redis/redis.conf" "--daemonize" "no" "--protected-mode" "no"
    port 6379
    cpu 0.1
    memory "48M"
    health tcp=#true interval="1s"
}
task "job" {
    image IMAGE(apps:1)
    command "sleeper"
    cpu 0.1
    memory "32M"
    timeout "20m"
}
service "last" {
    image IMAGE(apps:1)
    command "chatter"
    cpu 0.1
    memory "32M"
    env { RATE "1" }
    depends-on "job"
}
"#;

/// Who is started again with whom, since neither can go on without the other: a session has two ends.
const GOES_ALONG: &[(&str, &str)] = &[("daemon/agent", "daemon/leader/dispatch/session-")];

/// How an actor comes to the end of a life.
#[derive(Debug, Clone, Copy)]
enum Blow {
    /// `mill actors restart`.
    ByHand,
    /// A panic, ordered where the daemon was started with `MILL_FAULTS`.
    Panic,
}

fn every_actor(world: &mut World) -> Result<(), Failed> {
    let faults = world.machine.folder.join("faults");
    fs::create_dir_all(&faults).or_fail("a directory for faults")?;
    obey(world, &faults)?;
    let file = world.write("mill.kdl", CONFIG)?;
    let deploy = world.mill.begin(&["deploy", "-f", &file])?;
    let servers = world.settled("shop", "web", 2)?;
    let cache = endpoint(world.settled("shop", "cache", 1)?.first().or_fail("a cache")?)?;
    until("the task runs", BACK_WITHIN, || {
        Ok(Look::at(processes::apps("sleeper").len() == 1, processes::all()))
    })?;

    let mut clients = vec![Steady::line(cache, "PING", "+PONG")?, Steady::lines(cache, "PING", "+PONG")];
    clients.extend(Steady::each(&servers, "/version", "v1")?);
    let programs = programs();
    expect(programs.len() == 4, "four programs run", &programs)?;
    let mut struck = BTreeSet::new();
    for blow in [Blow::ByHand, Blow::Panic] {
        for path in Actors::now(&world.mill)?.paths() {
            let told = format!("{path}, {blow:?}");
            strike(world, &faults, &path, blow).or_fail(&told)?;
            expect(self::programs() == programs, "no program was started again", self::programs())
                .or_fail(&told)?;
            clients.iter().try_for_each(Steady::all_answered).or_fail(&told)?;
            struck.insert(path);
        }
    }
    for room in
        ["daemon", "daemon/raft", "daemon/agent", "daemon/http", "daemon/leader", "plane", "plane/logs"]
    {
        expect(struck.contains(room), &format!("{room} was one of them"), &struck)?;
    }

    let job = processes::apps("sleeper").into_iter().next().or_fail("the task runs")?;
    processes::terminate(job)?;
    let deploy = deploy.ended()?;
    expect(deploy.code == 0, "the deploy goes on when its task has ended", &deploy)?;
    world.settled("shop", "last", 1)?;
    clients.iter().try_for_each(Steady::all_answered)
}

/// Another daemon and plane in place of the story's: they let actors panic.
fn obey(world: &mut World, faults: &Path) -> Result<(), Failed> {
    until("its plane runs", BACK_WITHIN, || world.node.plane().map(Look::Yes))?;
    world.node.end()?;
    world.node.end_plane()?;
    let mill = world.mill.clone().with_env("MILL_FAULTS", faults.to_str().or_fail("a path that is text")?);
    world.node = Node::start(&mill, &world.machine.folder)?;
    let sockets = ["daemon.sock", "plane.sock"].map(|name| faults.join(name));
    until("both may be told to panic", BACK_WITHIN, || {
        Ok(Look::at(sockets.iter().all(|socket| socket.exists()), &sockets))
    })
}

/// Strikes one actor and waits until it is back, and all is as it was.
fn strike(world: &World, faults: &Path, path: &str, blow: Blow) -> Result<(), Failed> {
    let before = Actors::now(&world.mill)?;
    // An actor may have come to its own end since the list was made.
    let Some(lives) = before.0.get(path).map(|actor| actor.restarts) else { return Ok(()) };
    match blow {
        Blow::ByHand => world.mill.ok(&["actors", "restart", path]).map(drop)?,
        Blow::Panic => panic(faults, path)?,
    }
    let after = until("it is back, and everyone is well", BACK_WITHIN, || {
        let now = Actors::now(&world.mill)?;
        let again = now.0.get(path).is_some_and(|actor| actor.restarts == lives + 1);
        match again && now.all_run() {
            true => is_well(world).map(|seen| seen.map_or(Look::Yes(now), Look::No)),
            false => Ok(Look::No(format!("{now:?}"))),
        }
    })?;
    if matches!(blow, Blow::Panic) {
        let error = after.0.get(path).and_then(|actor| actor.last_error.clone());
        expect(error.as_deref() == Some("panicked: ordered to"), "its panic is what is told of it", error)?;
    }
    let others = after.restarted_since(&before, path);
    expect(others.is_empty(), "nobody else was restarted but those below it", others)
}

/// Has an actor panic.
fn panic(faults: &Path, path: &str) -> Result<(), Failed> {
    let process = path.split('/').next().unwrap_or(path);
    let socket: PathBuf = faults.join(format!("{process}.sock"));
    let mut order = UnixStream::connect(&socket).or_fail(socket.display())?;
    writeln!(order, "{path}").or_fail("an order")?;
    let mut answer = String::new();
    order.read_to_string(&mut answer).or_fail("an answer")?;
    expect(answer == "ok\n", "it panics", answer)
}

/// What isn't well with the node, if anything: it leads, and everything that ran is healthy in its eyes.
fn is_well(world: &World) -> Result<Option<String>, Failed> {
    let status = world.mill.json(&["status"])?;
    let allocs = world.mill.json(&["allocs"])?;
    let runs = |alloc: &&Value| ["healthy", "running"].iter().any(|phase| alloc.is("/phase", phase));
    let running = allocs.list("")?.iter().filter(runs).count();
    let deploys = status.list("/deploys")?.len();
    let well = status.pointer("/leader").is_some_and(Value::is_string) && running == 4 && deploys == 1;
    Ok((!well).then(|| format!("{status} {allocs}")))
}

fn programs() -> BTreeSet<i32> {
    let redis = |process: &processes::Process| {
        process.args.first().is_some_and(|program| program.contains("redis-server"))
    };
    let redis = processes::all().into_iter().filter(redis).map(|process| process.pid);
    processes::apps("hello").into_iter().chain(processes::apps("sleeper")).chain(redis).collect()
}

/// Both trees, by path.
#[derive(Debug)]
struct Actors(BTreeMap<String, Actor>);

#[derive(Debug)]
struct Actor {
    status: String,
    restarts: u64,
    last_error: Option<String>,
}

impl Actors {
    /// As they are now.
    fn now(mill: &Mill) -> Result<Self, Failed> {
        let trees = mill.json(&["actors"])?;
        let mut found = BTreeMap::new();
        gather(trees.at("/daemon")?, &mut found)?;
        let plane = trees.at("/plane")?;
        expect(!plane.is_null(), "the plane answers", trees.pointer("/plane_problem"))?;
        gather(plane, &mut found)?;
        Ok(Self(found))
    }

    fn paths(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn all_run(&self) -> bool {
        self.0.values().all(|actor| actor.status == "running")
    }

    /// Those that had more lives than `before`, save `path` and those below it.
    fn restarted_since(&self, before: &Self, path: &str) -> Vec<&String> {
        let below = format!("{path}/");
        let again = |(name, actor): &(&String, &Actor)| {
            let lives = before.0.get(*name).map_or(0, |before| before.restarts);
            let goes_along = GOES_ALONG.iter().any(|(one, other)| *one == path && name.starts_with(other));
            actor.restarts > lives && *name != path && !name.starts_with(&below) && !goes_along
        };
        self.0.iter().filter(again).map(|(name, _)| name).collect()
    }
}

fn gather(actor: &Value, into: &mut BTreeMap<String, Actor>) -> Result<(), Failed> {
    let told = Actor {
        status: actor.text("/status")?.to_owned(),
        restarts: actor.number("/restarts")?,
        last_error: actor.pointer("/last_error/text").and_then(Value::as_str).map(str::to_owned),
    };
    into.insert(actor.text("/path")?.to_owned(), told);
    actor.list("/children")?.iter().try_for_each(|child| gather(child, into))
}
