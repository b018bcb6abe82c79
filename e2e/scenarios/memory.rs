//! Memory runs out: a container's own, and the node's. The kernel ends containers, never daemon or plane; each end has its
//! name, and a deploy that finds no room says so (product.md §3, §6, P2, P10).

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::pressure::Pressure;
use crate::harness::processes;
use crate::harness::steady::Steady;
use crate::harness::world::SETTLES_WITHIN;
use crate::harness::{Context as _, Failed, Look, World, until};

pub(super) const MEMORY: Story =
    Story { name: "memory_pressure", pace: Pace::Brisk, tell: Tell::Node(memory_pressure) };

/// What all together may use beyond what they did before the greedy ones came.
const ROOM: u64 = 256 << 20;
/// The greedy ones: each within its own ceiling, together more than there is room for.
const GREEDY: usize = 6;
const GREEDY_MB: u64 = 96;

const SERVED: &str = r#"project "shop"
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
"#;

/// Takes more than it may, a moment after it was healthy.
const HOG: &str = r#"project "one"
service "hog" {
    image IMAGE(apps:1)
    command "hog"
    cpu 0.1
    memory "32M"
    env {
        AFTER_MS "1500"
        HOG_MB "64"
    }
}
"#;

fn greedy(replicas: usize) -> String {
    format!(
        r#"project "many"
service "greedy" {{
    image IMAGE(apps:1)
    command "hog"
    replicas {replicas}
    cpu 0.05
    memory "128M"
    env {{ HOG_MB "{GREEDY_MB}" }}
    update parallel={replicas}
}}
"#
    )
}

fn memory_pressure(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(SERVED)?;
    let clients = Steady::each(&world.settled("shop", "web", 2)?, "/version", "v1")?;
    let programs = programs();
    let held = world.held()?;
    over_its_ceiling(world).or_fail("a container over its ceiling")?;
    world.mill.ok(&["undeploy", "one", "--yes"])?;

    let (daemon, plane) = (world.node.daemon(), world.node.plane()?);
    // Not every machine lets root go below 0 (CAP_SYS_RESOURCE): then a container's own score must do.
    let may = fs::write("/proc/self/oom_score_adj", "-1").is_ok();
    for pid in [daemon, plane].into_iter().filter(|_| may) {
        let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).or_fail("a score")?;
        expect(score.starts_with('-'), "the kernel is asked to kill others first", score)?;
    }
    short_of_memory(world, daemon, plane).or_fail("a node short of memory")?;
    expect(world.node.runs()? && world.node.daemon() == daemon, "the daemon lives", daemon)?;
    expect(world.node.plane()? == plane, "so does the plane", plane)?;
    expect(self::programs() == programs, "those that were there before, too", self::programs())?;
    clients.iter().try_for_each(Steady::all_answered)?;
    world.holds_again(&held)
}

/// The kernel ends it at its ceiling, by name.
fn over_its_ceiling(world: &World) -> Result<(), Failed> {
    // Whether the deploy has seen enough of its health before that is a matter of a moment.
    world.deploy(HOG)?;
    let by_its_ceiling = |end: &Value| end.is("/failure/kind", "out_of_memory");
    until("its end has a name", SETTLES_WITHIN, || {
        let allocs = world.mill.json(&["allocs", "--all"])?;
        let ends: Vec<&Value> =
            allocs.list("")?.iter().filter_map(|alloc| alloc.pointer("/last_end")).collect();
        Ok(Look::at(ends.iter().any(|end| by_its_ceiling(end)), allocs.to_string()))
    })?;
    let why = world.mill.ok(&["why", "one/hog"])?;
    let told = why.out.contains("out of memory") && why.all().contains("more `memory`");
    expect(told, "why says so, and what to do", &why)?;
    let events = world.mill.ok(&["events"])?;
    let told = events.out.lines().any(|line| line.contains("hog") && line.contains("out of memory"));
    expect(told, "so do events", &events)
}

/// All of the node together reach a bound that no container reaches by itself.
fn short_of_memory(world: &World, daemon: u32, plane: u32) -> Result<(), Failed> {
    let pressure = Pressure::put_on(&[daemon, plane], ROOM)?;
    let ran = world.deploy(&greedy(GREEDY))?;
    let told = ran.code == 0 || ran.err.contains("out of memory") && ran.err.contains("hint: ");
    expect(told, "the deploy succeeds or says why it doesn't", &ran)?;
    expect(pressure.reached()? > 0, "the bound was reached", pressure.reached())?;
    let ends = until("some have ended for want of memory, by name", SETTLES_WITHIN, || {
        let events = world.mill.ok(&["events", "-n", "1000"])?;
        let ends: BTreeSet<String> = events
            .out
            .lines()
            .filter(|line| line.contains("greedy") && line.contains("out of memory"))
            .map(str::to_owned)
            .collect();
        Ok(if ends.is_empty() { Look::No(events.out) } else { Look::Yes(ends) })
    })?;
    expect(
        ends.iter().all(|end| end.contains("the node")),
        "it isn't their own ceiling that they reached",
        &ends,
    )?;
    // The API takes writes meanwhile, and what makes room makes all well.
    let fits = world.deploy_ok(&greedy(1))?;
    expect(fits.took < Duration::from_secs(30), "what fits is deployed", &fits)?;
    world.settled("many", "greedy", 1)?;
    world.mill.ok(&["undeploy", "many", "--yes"])?;
    Ok(())
}

fn programs() -> BTreeSet<i32> {
    processes::apps("hello")
}
