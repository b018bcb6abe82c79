//! The main job: a config file becomes a healthy container, and another file another one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::world::endpoint;
use crate::harness::{Failed, Look, World, http, until};

/// What an answer over the loopback may take at most.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

pub(super) const DEPLOYS: Story =
    Story { name: "deploy_hello", pace: Pace::Brisk, tell: Tell::Node(deploys) };
pub(super) const UNCHANGED: Story =
    Story { name: "same_file_changes_nothing", pace: Pace::Brisk, tell: Tell::Node(unchanged) };
pub(super) const ROLLS: Story =
    Story { name: "env_change_rolls", pace: Pace::Brisk, tell: Tell::Node(rolls) };
pub(super) const REPLICAS: Story =
    Story { name: "three_replicas_obey_port", pace: Pace::Brisk, tell: Tell::Node(replicas) };

fn hello(replicas: u32, greeting: &str) -> String {
    format!(
        r#"project "hello"
service "web" {{
    image IMAGE(hello:v1)
    port 8080
    replicas {replicas}
    cpu 0.1
    memory "32M"
    env {{ GREETING "{greeting}" }}
    health path="/health" interval="1s"
}}
"#
    )
}

/// The ids of allocs.
fn ids(allocs: &[Value]) -> Result<BTreeSet<String>, Failed> {
    allocs.iter().map(|alloc| alloc.text("/id").map(str::to_owned)).collect()
}

fn deploys(world: &mut World) -> Result<(), Failed> {
    let plan = world.write("mill.kdl", &hello(1, "hi"))?;
    let planned = world.mill.json(&["plan", "-f", &plan])?;
    expect(planned.is("/services/0/change/kind", "create"), "plan says that web would be made", &planned)?;
    expect(world.allocs("hello", "web")?.is_empty(), "a plan changes nothing", &planned)?;

    let ran = world.deploy_ok(&hello(1, "hi"))?;
    expect(ran.all().contains("deployed hello"), "the deploy says that it is done", &ran)?;
    let allocs = world.settled("hello", "web", 1)?;
    let [alloc] = allocs.as_slice() else { return Err(Failed::because("one alloc")) };
    // healthy the moment the deploy returns, so it must answer at the first try
    let answer = http::get(endpoint(alloc)?, "/")?;
    expect(answer.body.starts_with("hello from v1"), "the container answers", &answer)?;

    let status = world.mill.json(&["status"])?;
    let service = status.at("/services/0")?;
    expect(service.number("/healthy")? == 1 && service.is("/state", "healthy"), "status knows it", service)?;
    expect(service.text("/image")?.contains("@sha256:"), "the digest is pinned", service)?;
    let log = world.log("web")?;
    expect(
        log.iter().any(|line| line == "listening on 8080, version v1") || log_obeys_port(&log),
        "its log",
        &log,
    )?;
    let actors = world.mill.ok(&["actors"])?;
    let id = alloc.text("/id")?;
    expect(actors.out.contains(id), "the alloc's actor is in the tree", &actors)?;
    expect(actors.out.contains("plane"), "the plane's tree is there too", &actors)
}

/// Without the kernel's mapping `PORT` is the mapped one, and that is where it listens.
fn log_obeys_port(log: &[String]) -> bool {
    log.iter().any(|line| line.starts_with("listening on 2") && line.ends_with("version v1"))
}

fn unchanged(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(&hello(2, "hi"))?;
    let before = world.settled("hello", "web", 2)?;
    let ran = world.deploy_ok(&hello(2, "hi"))?;
    expect(ran.all().contains("nothing changed"), "the second deploy says so", &ran)?;
    let after = world.settled("hello", "web", 2)?;
    expect(ids(&before)? == ids(&after)?, "the same allocs", (&before, &after))?;
    let incarnations = |allocs: &[Value]| {
        allocs.iter().map(|alloc| alloc.number("/incarnation")).collect::<Result<Vec<_>, _>>()
    };
    expect(incarnations(&before)? == incarnations(&after)?, "none was restarted", (&before, &after))
}

fn rolls(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(&hello(2, "hi"))?;
    let before = world.settled("hello", "web", 2)?;
    let held = world.held()?;
    world.deploy_ok(&hello(2, "good day"))?;
    let after = world.settled("hello", "web", 2)?;
    expect(ids(&before)?.is_disjoint(&ids(&after)?), "every alloc is a new one", (&before, &after))?;
    for alloc in &after {
        let answer = http::get(endpoint(alloc)?, "/env/GREETING")?;
        expect(answer.body == "good day", "it has the new environment", &answer)?;
    }
    for alloc in &before {
        let gone = http::get(endpoint(alloc)?, "/");
        expect(gone.is_err(), "nobody answers on the old port", &gone)?;
    }
    let log = world.log(before.first().map_or(Ok(""), |alloc| alloc.text("/id"))?)?;
    expect(log.iter().any(|line| line == "drained"), "the old one ended in its own time", &log)?;
    world.holds_again(&held)
}

fn replicas(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(&hello(3, "hi"))?;
    let allocs = world.settled("hello", "web", 3)?;
    let addresses: Result<BTreeSet<_>, Failed> = allocs.iter().map(endpoint).collect();
    expect(addresses.as_ref().is_ok_and(|addresses| addresses.len() == 3), "three addresses", &addresses)?;
    let mut hosts = BTreeSet::new();
    for address in addresses? {
        hosts.insert(http::get(address, "/hostname")?.body);
    }
    expect(hosts.len() == 3, "three containers answer", &hosts)?;
    world.mill.ok(&["scale", "hello/web", "1"])?;
    let [left] = world.settled("hello", "web", 1)?.try_into().map_err(|_| Failed::because("one alloc"))?;
    until("the one that is left answers", ANSWERS_WITHIN, || {
        let answer = http::get(endpoint(&left)?, "/")?;
        Ok(Look::at(answer.status == 200, answer))
    })
}
