//! What containers stand on is killed under them: a shim, all processes of a cgroup, containerd, a shim while containerd is
//! away. Each end has a name, what was hit is started again, nobody else is, and nothing is left behind (product.md §3, P9).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::leaks::Held;
use crate::harness::node::Node;
use crate::harness::processes;
use crate::harness::steady::Steady;
use crate::harness::world::{SETTLES_WITHIN, endpoint};
use crate::harness::{Context as _, Failed, Look, World, containerd, space, until};

pub(super) const KILLED: Story =
    Story { name: "killed_parts", pace: Pace::Brisk, tell: Tell::Node(killed_parts) };
pub(super) const OWN: Story =
    Story { name: "killed_parts_of_its_own", pace: Pace::Brisk, tell: Tell::Node(with_its_own) };

/// `pair` is two processes in one container.
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
service "pair" {
    image IMAGE(apps:1)
    entrypoint "/bin/sh"
    command "-c" "/apps sleeper & exec /apps hello"
    port 3000
    cpu 0.1
    memory "32M"
    env { VERSION "v1" }
    health path="/health" interval="1s"
}
service "bystander" {
    image IMAGE(apps:1)
    command "hello"
    port 3000
    cpu 0.1
    memory "32M"
    env { VERSION "v1" }
    health path="/health" interval="1s"
}
"#;

/// Of an image that the node doesn't have yet.
const LATE: &str = r#"project "late"
service "web" {
    image IMAGE(hello:v1)
    port 8080
    cpu 0.1
    memory "32M"
    health path="/health" interval="1s"
}
"#;

/// Replicas of each service.
const SERVICES: [(&str, usize); 3] = [("web", 2), ("pair", 1), ("bystander", 1)];

/// What is as it was after each kill, and who isn't to be disturbed by any.
struct Quiet {
    held: Held,
    mapped: u64,
    bystander: i32,
    client: Steady,
}

impl Quiet {
    fn now(world: &World) -> Result<Self, Failed> {
        let runs = Runs::now(world)?;
        let bystander = world.settled("shop", "bystander", 1)?.into_iter().next().or_fail("a bystander")?;
        Ok(Self {
            held: world.held()?,
            mapped: mapped(world)?,
            bystander: runs.pid("bystander")?,
            client: Steady::http(endpoint(&bystander)?, "/version", "v1"),
        })
    }

    /// All run, nothing is left of those that did, and the bystander wasn't disturbed.
    fn again(&self, world: &World) -> Result<Runs, Failed> {
        let now = Runs::now(world)?;
        expect(now.pid("bystander")? == self.bystander, "the bystander goes on", &now)?;
        self.client.all_answered()?;
        world.holds_again(&self.held)?;
        let mapped = mapped(world)?;
        expect(mapped == self.mapped, "as many ports are mapped as before", (mapped, self.mapped))?;
        Ok(now)
    }
}

fn killed_parts(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(CONFIG)?;
    let quiet = Quiet::now(world)?;
    shim(world, &quiet).or_fail("a shim was killed")?;
    cgroup(world, &quiet).or_fail("all of a cgroup was killed")?;
    containerd_away(world, &quiet).or_fail("containerd was killed")?;
    shim_without_containerd(world, &quiet).or_fail("a shim was killed while containerd was away")?;
    gone(world)
}

/// `kill -9` of a shim: its container can't be looked after any more, and goes with it.
fn shim(world: &World, quiet: &Quiet) -> Result<(), Failed> {
    let before = Runs::now(world)?;
    let victim = before.of("web")?;
    processes::kill_9(processes::parent(victim.pid).or_fail("a shim")?)?;
    let end = restarted(world, "web", victim)?;
    expect(end.is("/failure/kind", "vanished"), "its end has a name", &end)?;
    told(world, victim, "the container vanished")?;
    before.only(victim, &quiet.again(world)?)
}

/// Every process of a container at once, as a machine short of patience does it.
fn cgroup(world: &World, quiet: &Quiet) -> Result<(), Failed> {
    let before = Runs::now(world)?;
    let victim = before.of("pair")?;
    let procs = cgroup_file(&victim.name, "cgroup.procs")?;
    let all = fs::read_to_string(&procs).or_fail(procs.display())?;
    let all: Vec<i32> = all.lines().filter_map(|line| line.parse().ok()).collect();
    expect(all.len() == 2 && all.contains(&victim.pid), "two processes are in it", &all)?;
    match cgroup_file(&victim.name, "cgroup.kill") {
        Ok(kill) => fs::write(&kill, "1").or_fail(kill.display())?,
        Err(_) => all.iter().try_for_each(|pid| processes::kill_9(*pid))?,
    }
    let end = restarted(world, "pair", victim)?;
    let named = end.is("/failure/kind", "signalled") && end.number("/failure/signal")? == 9;
    expect(named, "its end has a name", &end)?;
    told(world, victim, "killed by signal 9")?;
    before.only(victim, &quiet.again(world)?)
}

/// containerd dies and nobody starts it: what runs is looked after as far as can be, and a container that ends meanwhile
/// is started again when there is one that can.
fn containerd_away(world: &mut World, quiet: &Quiet) -> Result<(), Failed> {
    let before = Runs::now(world)?;
    world.machine.containerd.kill()?;
    let doctor = world.mill.run(&["doctor"])?;
    let named = doctor.out.contains("nobody answers at /run/containerd");
    expect(named && doctor.code == 1, "doctor names it, and fails", &doctor)?;
    let victim = before.of("web")?;
    processes::kill_9(victim.pid)?;
    // A deploy that needs it waits for it.
    let file = world.write("mill.kdl", LATE)?;
    let late = world.mill.begin(&["deploy", "-f", &file])?;
    until("what it waits for is said", SETTLES_WITHIN, || {
        let why = world.mill.run(&["why", "late/web"])?;
        Ok(Look::at(why.out.contains("deploying, 0 of 1 healthy") && why.out.contains("containerd"), why))
    })?;
    quiet.client.all_answered()?;
    world.machine.containerd.start_again()?;
    let end = restarted(world, "web", victim)?;
    let named = end.is("/failure/kind", "signalled") && end.number("/failure/signal")? == 9;
    expect(named, "its end has a name", &end)?;
    let late = late.ended()?;
    expect(late.code == 0, "the deploy goes on with it", &late)?;
    world.mill.ok(&["undeploy", "late", "--yes"])?;
    before.only(victim, &quiet.again(world)?)
}

/// Nobody is there to clear up after it but Mill.
fn shim_without_containerd(world: &mut World, quiet: &Quiet) -> Result<(), Failed> {
    let before = Runs::now(world)?;
    let victim = before.of("pair")?;
    let shim = processes::parent(victim.pid).or_fail("a shim")?;
    world.machine.containerd.kill()?;
    processes::kill_9(shim)?;
    world.machine.containerd.start_again()?;
    let end = restarted(world, "pair", victim)?;
    expect(end.at("/failure/kind")?.is_string(), "its end has a name", &end)?;
    before.only(victim, &quiet.again(world)?)
}

/// The same where containerd is Mill's own: it is started again by whoever keeps it.
fn with_its_own(world: &mut World) -> Result<(), Failed> {
    until("its plane runs", SETTLES_WITHIN, || {
        Ok(world.node.plane().map_or_else(|none| Look::No(none.to_string()), Look::Yes))
    })?;
    world.node.end()?;
    world.node.end_plane()?;
    world.machine.containerd.kill()?;
    fs::remove_dir_all("/run/containerd").or_fail("containerd's state")?;
    let mill = world.mill.clone().with_env("MILL_CONTAINERD", "own");
    let folder = world.machine.folder.join("own");
    fs::create_dir_all(&folder).or_fail("a folder for another node")?;
    world.node = Node::start(&mill, &folder)?;
    // Where the harness looks for it.
    fs::create_dir_all("/run/containerd").or_fail("/run/containerd")?;
    let socket = own(world)?.1;
    std::os::unix::fs::symlink(&socket, containerd::SOCKET).or_fail("a link to its socket")?;

    world.deploy_ok(CONFIG)?;
    let quiet = Quiet::now(world)?;
    shim(world, &quiet).or_fail("a shim was killed")?;
    let before = Runs::now(world)?;
    let (pid, _) = own(world)?;
    processes::kill_9(pid)?;
    until("there is another", SETTLES_WITHIN, || {
        let (now, _) = own(world)?;
        Ok(Look::at(now != pid && containerd::ready().is_ok(), now))
    })?;
    expect(Runs::now(world)?.0 == before.0, "no container was touched", (Runs::now(world)?, &before))?;
    // The last replica is one that the new one has made.
    let victim = before.of("pair")?;
    let shim = processes::parent(victim.pid).or_fail("a shim")?;
    processes::kill_9(own(world)?.0)?;
    processes::kill_9(shim)?;
    let end = restarted(world, "pair", victim)?;
    expect(end.at("/failure/kind")?.is_string(), "its end has a name", &end)?;
    before.only(victim, &quiet.again(world)?)?;
    gone(world)
}

/// Process and socket of the node's own containerd.
fn own(world: &World) -> Result<(i32, String), Failed> {
    let actors = world.mill.json(&["actors", "--observed"])?;
    let room = actors.list("/daemon/children")?.iter().find(|room| room.is("/path", "daemon/containerd"));
    let room = room.or_fail(format_args!("no containerd of its own in {actors}"))?;
    let pid = i32::try_from(room.number("/observed/pid")?).or_fail("a process id")?;
    Ok((pid, room.text("/observed/socket")?.to_owned()))
}

/// Nothing is left when nothing is wanted.
fn gone(world: &World) -> Result<(), Failed> {
    world.mill.ok(&["undeploy", "shop", "--yes"])?;
    until("nothing is left of any", Duration::from_secs(30), || {
        let held = world.held()?;
        let left: Vec<_> = ["containers", "tasks", "snapshots", "cgroups", "shims", "ports", "fifos"]
            .into_iter()
            .filter_map(|kind| held.names(kind).filter(|names| !names.is_empty()))
            .collect();
        Ok(Look::at(left.is_empty(), left))
    })?;
    expect(mapped(world)? == 0, "no port is mapped", mapped(world)?)
}

/// One run of an alloc.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    alloc: String,
    incarnation: u64,
    /// The container's.
    name: String,
    /// Its first process.
    pid: i32,
}

/// All that run, by service.
#[derive(Debug, PartialEq, Eq)]
struct Runs(BTreeMap<&'static str, Vec<Run>>);

impl Runs {
    /// Those of the healthy allocs, once all are.
    fn now(world: &World) -> Result<Self, Failed> {
        let run = |alloc: &Value| -> Result<Run, Failed> {
            let (id, incarnation) = (alloc.text("/id")?.to_owned(), alloc.number("/incarnation")?);
            let name = format!("{id}.{incarnation}");
            Ok(Run { pid: containerd::pid_of(&name)?, alloc: id, incarnation, name })
        };
        let mut runs = BTreeMap::new();
        for (service, count) in SERVICES {
            let allocs = world.settled("shop", service, count)?;
            runs.insert(service, allocs.iter().map(run).collect::<Result<_, _>>()?);
        }
        Ok(Self(runs))
    }

    fn of(&self, service: &str) -> Result<&Run, Failed> {
        self.0.get(service).and_then(|runs| runs.first()).or_fail(service)
    }

    fn pid(&self, service: &str) -> Result<i32, Failed> {
        Ok(self.of(service)?.pid)
    }

    /// That since then only this one was started again.
    fn only(&self, victim: &Run, now: &Self) -> Result<(), Failed> {
        let pids = |runs: &Self| -> BTreeSet<i32> { runs.0.values().flatten().map(|run| run.pid).collect() };
        let (before, after) = (pids(self), pids(now));
        let ended: Vec<i32> = before.difference(&after).copied().collect();
        expect(ended == [victim.pid], "nobody else was started again", (&ended, victim, now))
    }
}

/// Waits until the victim's alloc runs again and is healthy; how the run before ended.
fn restarted(world: &World, service: &str, victim: &Run) -> Result<Value, Failed> {
    until(&format!("{} is healthy again", victim.alloc), SETTLES_WITHIN, || {
        let allocs = world.allocs("shop", service)?;
        let alloc = allocs.iter().find(|alloc| alloc.is("/id", &victim.alloc)).or_fail("the same alloc")?;
        let again = alloc.number("/incarnation")? > victim.incarnation && alloc.is("/phase", "healthy");
        Ok(if again { Look::Yes(alloc.at("/last_end")?.clone()) } else { Look::No(format!("{allocs:#?}")) })
    })
}

/// Events say how it ended.
fn told(world: &World, victim: &Run, how: &str) -> Result<(), Failed> {
    let events = world.mill.ok(&["events"])?;
    let line = events.out.lines().any(|line| line.contains(&victim.alloc) && line.contains(how));
    expect(line, &format!("events say that {} {how}", victim.alloc), &events)
}

/// A file of a container's cgroup, in the hierarchy that has it.
fn cgroup_file(container: &str, file: &str) -> Result<std::path::PathBuf, Failed> {
    let groups = space::cgroups(&space::cgroup_parent()?);
    let files = groups.into_iter().filter(|path| path.ends_with(container)).map(|path| path.join(file));
    files.rev().find(|path| path.exists()).or_fail(format_args!("{file} of {container}"))
}

/// Entries for mapped ports that the kernel has, by a look of now: the room that counts them is started again for it.
fn mapped(world: &World) -> Result<u64, Failed> {
    let room = || -> Result<Value, Failed> {
        let actors = world.mill.json(&["actors", "--observed"])?;
        let mut rooms = actors.list("/daemon/children")?.iter();
        rooms.find(|room| room.is("/path", "daemon/datapath")).cloned().or_fail("the datapath's room")
    };
    let looks = room()?.number("/handled")?;
    world.mill.ok(&["actors", "restart", "daemon/datapath"])?;
    until("the datapath was looked at", SETTLES_WITHIN, || {
        let room = room()?;
        Ok(if room.number("/handled")? > looks {
            Look::Yes(room.number("/observed/entries")?)
        } else {
            Look::No(room.to_string())
        })
    })
}
