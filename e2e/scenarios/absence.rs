//! While no daemon runs: containers answer, their logs are read, and the next daemon finds all as it was (product.md
//! P2).

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::processes::{self, Process};
use crate::harness::until::let_pass;
use crate::harness::world::endpoint;
use crate::harness::{Context as _, Failed, Look, World, http, until};

pub(super) const SIGTERM: Story =
    Story { name: "sigterm_leaves_containers", pace: Pace::Brisk, tell: Tell::Node(sigterm) };

/// How long nobody looks after the containers.
const ABSENCE: Duration = Duration::from_millis(1_500);
/// Lines a second; and what must have come meanwhile of them at least, on a machine that is busy.
const RATE: u64 = 100;
const LINES_MEANWHILE: u64 = 100;
/// What was written is in the files by then.
const READ_WITHIN: Duration = Duration::from_secs(10);

fn config() -> String {
    format!(
        r#"project "shop"
service "web" {{
    image IMAGE(apps:1)
    command "hello"
    port 3000
    replicas 2
    cpu 0.1
    memory "32M"
    env {{ VERSION "v1" }}
    health path="/health" interval="1s"
}}
service "chatter" {{
    image IMAGE(apps:1)
    command "chatter"
    cpu 0.1
    memory "32M"
    env {{ RATE "{RATE}" }}
}}
"#
    )
}

fn sigterm(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(&config())?;
    let before = (runs(world)?, programs(), world.held()?);
    let servers = world.settled("shop", "web", 2)?;
    expect(before.1.len() == 3, "three programs run", &before.1)?;
    let plane = world.node.plane()?;
    let last_line = numbers(world)?.last().copied().or_fail("the chatter wrote lines")?;

    world.node.end()?;
    let status = world.mill.run(&["status"])?;
    expect(status.code == 3 && status.err.contains("hint: "), "no daemon answers, and it says so", &status)?;
    expect(processes::of(world.mill.binary(), "dev").is_empty(), "no daemon runs", processes::all())?;
    let_pass(ABSENCE);
    for server in &servers {
        let answer = http::get(endpoint(server)?, "/version")?;
        expect(answer.status == 200 && answer.body == "v1", "each container answers", &answer)?;
    }
    expect(programs() == before.1, "by the same processes", (programs(), &before.1))?;
    expect(world.node.plane()? == plane, "their output is read by the same plane", plane)?;

    world.node.start_again()?;
    let lines = numbers(world)?;
    let now = lines.last().copied().unwrap_or_default();
    expect(now >= last_line + LINES_MEANWHILE, "lines of the absence are there", (last_line, now))?;
    // the two outputs are two files: one may be read a moment before the other
    until("and none is missing", READ_WITHIN, || {
        let lines = numbers(world)?;
        let lost: Vec<u64> = (1..now).filter(|number| !lines.contains(number)).collect();
        Ok(Look::at(lost.is_empty(), (last_line, lost, now)))
    })?;
    world.settled("shop", "web", 2)?;
    world.settled("shop", "chatter", 1)?;
    expect(runs(world)? == before.0, "the same runs of the same allocs", (runs(world)?, &before.0))?;
    expect(programs() == before.1, "no program was started again", (programs(), &before.1))?;
    let again = world.deploy_ok(&config())?;
    expect(again.all().contains("nothing changed"), "the same file changes nothing", &again)?;
    world.holds_again(&before.2)
}

/// A run of an alloc: whose, its incarnation, how often that was started again, and its port.
type Run = (String, u64, u64, Option<u64>);

/// Which runs of which allocs there are.
fn runs(world: &World) -> Result<BTreeSet<Run>, Failed> {
    let run = |alloc: &Value| {
        let port = alloc.pointer("/ports/0/mapped").and_then(Value::as_u64);
        Ok((alloc.text("/id")?.to_owned(), alloc.number("/incarnation")?, alloc.number("/restarts")?, port))
    };
    let allocs = [world.settled("shop", "web", 2)?, world.settled("shop", "chatter", 1)?].concat();
    allocs.iter().map(run).collect()
}

/// The processes of the containers' programs.
fn programs() -> BTreeSet<i32> {
    let of_ours = |process: &Process| process.args.first().is_some_and(|program| program == "/apps");
    processes::all().into_iter().filter(of_ours).map(|process| process.pid).collect()
}

/// The numbers of the chatter's lines.
fn numbers(world: &World) -> Result<BTreeSet<u64>, Failed> {
    let lines = world.log("shop/chatter")?;
    Ok(lines.iter().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect())
}
