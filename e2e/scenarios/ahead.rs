//! A new version's image comes before anything of the old one is stopped (product.md §5).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::seen::{NOISE_BYTES, noise, push_big};
use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::images::Layout;
use crate::harness::json::Fields as _;
use crate::harness::line::SlowLine;
use crate::harness::processes::{self, Process};
use crate::harness::until::let_pass;
use crate::harness::world::endpoint;
use crate::harness::{Context as _, Failed, World, http};

pub(super) const IMAGES_FIRST: Story =
    Story { name: "images_before_stops", pace: Pace::Brisk, tell: Tell::Node(images_first) };

const LINE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5001);
const LINE_BYTES_PER_SECOND: u32 = 2 << 20;

/// Less than the line needs for the image's noise.
const PULL_LASTS: Duration = Duration::from_secs(4);

/// The longest that stopping one replica and starting another may take, without any pull.
const GAP_MAX_MS: u64 = 3000;

/// `web` with an image of the local registry or another one, stop-first; what waits for it, if asked for.
fn config(image: &str, copy: Option<&str>) -> String {
    let service = |name: &str, image: &str, more: &str| {
        format!(
            r#"service "{name}" {{
    image {image}
    port 8080
    cpu 0.1
    memory "32M"
    health path="/health" interval="1s"
    stop grace="3s" drain="1s"
    update order="stop-first" deadline="2m"
    {more}
}}
"#
        )
    };
    let copy = copy.map(|image| service("copy", image, r#"depends-on "web""#)).unwrap_or_default();
    format!("project \"shop\"\n{}{copy}", service("web", image, ""))
}

fn images_first(world: &mut World) -> Result<(), Failed> {
    push_big(world)?;
    push_incomplete(world)?;
    world.deploy_ok(&config("IMAGE(hello:v1)", None))?;
    let old = endpoint(world.settled("shop", "web", 1)?.first().or_fail("one alloc")?)?;
    let line = SlowLine::start(LINE, world.machine.registry(), LINE_BYTES_PER_SECOND)?;
    let (web, copy) = (format!("\"{LINE}/big:v1\""), format!("\"{LINE}/big:v2\""));
    let file = world.write("mill.kdl", &config(&web, Some(&copy)))?;

    let begun = Instant::now();
    let mut deploy = world.mill.begin(&["deploy", "-f", &file, "--json"])?;
    let mut answered = Duration::ZERO;
    while !deploy.has_ended()? {
        if http::get(old, "/version").is_ok_and(|answer| answer.body == "v1") {
            answered = begun.elapsed();
        }
        let_pass(Duration::from_millis(20));
    }
    let ran = deploy.ended()?;
    expect(ran.code == 0, "the deploy succeeds", &ran)?;
    expect(answered > PULL_LASTS, "the old version answers while the new one's image comes", answered)?;
    expect(line.sent() > NOISE_BYTES, "it came over the slow line", line.sent())?;
    told_in_order(&ran.out)?;
    drop(line);
    incomplete_is_rolled_back(world)
}

/// Both images came at the same time, the old replica was stopped after that, and the gap had no pull in it.
fn told_in_order(out: &str) -> Result<(), Failed> {
    let events: Result<Vec<Value>, _> = out.lines().map(serde_json::from_str).collect();
    let events: Vec<Value> = events.or_fail(format_args!("no JSON: {out}"))?;
    let first = |service: &str, step: &str| {
        let found = events.iter().position(|event| event.is("/service", service) && event.is("/step", step));
        found.or_fail(format_args!("no {service} {step}"))
    };
    let order =
        [("web", "pulling"), ("web", "pulled"), ("web", "stopping"), ("web", "stopped"), ("web", "starting")];
    let places: Result<Vec<usize>, Failed> =
        order.iter().map(|(service, step)| first(service, step)).collect();
    let places = places?;
    expect(places.is_sorted(), "an image comes before anything is stopped", (order, places))?;
    let beside = [
        first("copy", "pulling")?,
        first("web", "pulled")?,
        first("copy", "pulled")?,
        first("web", "healthy")?,
    ];
    let meanwhile = beside[0] < beside[1] && beside[2] < beside[3];
    expect(meanwhile, "what waits for others has its image when they are healthy", beside)?;
    let done = events.get(first("web", "done")?).or_fail("the end of web")?;
    expect(done.number("/gap_ms")? < GAP_MAX_MS, "the gap is that of a stop and a start", done)
}

/// Pushes `lost:v1`, of which the registry then loses the layer that makes it another image than `hello:v1`.
fn push_incomplete(world: &World) -> Result<(), Failed> {
    let (folder, registry) = (&world.machine.folder, world.machine.registry());
    let layout = Layout::create(&folder.join("lost"))?;
    layout.fetch(registry, "hello:v1", "v1")?;
    let blobs = folder.join("registry/docker/registry/v2/blobs/sha256");
    let there = blobs_of(&blobs)?;
    layout.insert("v1", &noise(folder, "lost-noise")?, "/noise")?;
    layout.push("v1", registry, "lost:v1")?;
    let is_layer = |bytes: u64| bytes >= NOISE_BYTES;
    let new = blobs_of(&blobs)?
        .into_iter()
        .filter(|(path, bytes)| is_layer(*bytes) && !there.iter().any(|(old, _)| old == path));
    let new: Vec<_> = new.collect();
    let [(layer, _)] = new.as_slice() else { return Err(Failed::because(format!("one layer: {new:?}"))) };
    fs::remove_file(layer).or_fail("a blob of the registry")
}

/// Files of the registry's blobs, with their sizes.
fn blobs_of(folder: &std::path::Path) -> Result<Vec<(std::path::PathBuf, u64)>, Failed> {
    let mut found = vec![];
    for prefix in fs::read_dir(folder).or_fail("the registry's blobs")?.filter_map(Result::ok) {
        for blob in fs::read_dir(prefix.path()).or_fail("the registry's blobs")?.filter_map(Result::ok) {
            let data = blob.path().join("data");
            let bytes = fs::metadata(&data).map_or(0, |data| data.len());
            found.push((data, bytes));
        }
    }
    Ok(found)
}

/// A new version whose image can't be had whole changes nothing: the same process serves on.
fn incomplete_is_rolled_back(world: &World) -> Result<(), Failed> {
    world.deploy_ok(&config("IMAGE(hello:v1)", None))?;
    let before = world.settled("shop", "web", 1)?;
    let server = the_server()?;
    let ran = world.deploy(&config("IMAGE(lost:v1)", None))?;
    expect(ran.code == 1, "the deploy fails", &ran)?;
    let text = ran.all();
    let says = ["rollback", "no such image", "lost:v1", "check the image's name and tag"];
    expect(says.iter().all(|words| text.contains(words)), "and says why, and what to do", &ran)?;
    expect(!text.contains("stopp") && !text.contains("starting"), "nothing was stopped or started", &ran)?;
    let after = world.settled("shop", "web", 1)?;
    let same =
        |key: &str| before.first().and_then(|a| a.pointer(key)) == after.first().and_then(|a| a.pointer(key));
    expect(same("/id") && same("/incarnation"), "the same alloc", (&before, &after))?;
    expect(the_server()? == server, "the same process", server)?;
    let why = world.mill.ok(&["why", "shop/web"])?;
    expect(
        why.out.contains("was rolled back: ") && why.out.contains("no such image"),
        "why says it too",
        &why,
    )?;
    let history = world.mill.ok(&["history", "shop"])?;
    expect(history.out.contains("no such image"), "and the history", &history)
}

/// The process that serves: the only container's.
fn the_server() -> Result<i32, Failed> {
    let mut found = processes::all().into_iter().filter(|process| process.args == ["/apps", "hello"]);
    match (found.next(), found.next()) {
        (Some(Process { pid, .. }), None) => Ok(pid),
        found => Err(Failed::because(format!("expected one server, found {found:?}"))),
    }
}
