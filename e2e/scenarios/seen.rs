//! What a person sees of what is under way: images on their way, what containers use, what checks saw.

use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::images::Layout;
use crate::harness::json::Fields as _;
use crate::harness::line::SlowLine;
use crate::harness::{Context as _, Failed, Look, World, until};

pub(super) const SLOW_REGISTRY: Story =
    Story { name: "slow_registry", pace: Pace::Brisk, tell: Tell::Node(slow_registry) };
pub(super) const USAGE: Story =
    Story { name: "usage_and_ailments", pace: Pace::Brisk, tell: Tell::Node(usage) };

const LINE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5001);
const LINE_BYTES_PER_SECOND: u32 = 2 << 20;
/// Bytes of a layer that takes its time.
pub(super) const NOISE_BYTES: u64 = 10 << 20;

/// How long a pull over that line may take, twice over.
const PULLED_WITHIN: Duration = Duration::from_secs(60);

/// A file that no compression makes smaller.
pub(super) fn noise(folder: &Path, name: &str) -> Result<PathBuf, Failed> {
    let noise = folder.join(name);
    let mut bytes = vec![];
    let random = fs::File::open("/dev/urandom").or_fail("/dev/urandom")?;
    random.take(NOISE_BYTES).read_to_end(&mut bytes).or_fail("/dev/urandom")?;
    fs::write(&noise, bytes).or_fail("a file of noise")?;
    Ok(noise)
}

/// Pushes `big:v1` and `big:v2`: `hello:v1` and a layer of noise; they differ in their configs only.
pub(super) fn push_big(world: &World) -> Result<(), Failed> {
    let folder = &world.machine.folder;
    let registry = world.machine.registry();
    let noise = noise(folder, "noise")?;
    let layout = Layout::create(&folder.join("big"))?;
    layout.fetch(registry, "hello:v1", "v1")?;
    layout.insert("v1", &noise, "/noise")?;
    layout.derive("v1", "v2", &["--config.env=VERSION=v2"])?;
    layout.push("v1", registry, "big:v1")?;
    layout.push("v2", registry, "big:v2")
}

fn big() -> String {
    let service = |name: &str, version: &str, replicas: u32| {
        format!(
            r#"service "{name}" {{
    image "{LINE}/big:{version}"
    port 8080
    replicas {replicas}
    cpu 0.1
    memory "32M"
    health path="/health" interval="1s"
}}
"#
        )
    };
    format!("project \"big\"\n{}{}", service("web", "v1", 2), service("copy", "v2", 1))
}

/// Waits for an alloc whose pull is as asked for; answers it.
fn pulling(world: &World, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value, Failed> {
    until(what, PULLED_WITHIN, || {
        let allocs = world.allocs("big", "web")?;
        let found = allocs.iter().find(|alloc| alloc.pointer("/pulling").is_some_and(&is_so)).cloned();
        Ok(found.map_or_else(|| Look::No(format!("{allocs:#?}")), Look::Yes))
    })
}

fn slow_registry(world: &mut World) -> Result<(), Failed> {
    push_big(world)?;
    let mut line = SlowLine::start(LINE, world.machine.registry(), LINE_BYTES_PER_SECOND)?;
    let file = world.write("big.kdl", &big())?;
    let begun = Instant::now();
    let told = world.mill.begin(&["deploy", "-f", &file, "--json"])?;
    let far = |pulling: &Value| pulling.number("/bytes_done").is_ok_and(|bytes| bytes > NOISE_BYTES / 3);
    let alloc = pulling(world, "a third of the image is here", far)?;
    let all = alloc.number("/pulling/bytes_total")?;
    expect(all > NOISE_BYTES && alloc.number("/pulling/bytes_done")? < all, "it is under way", &alloc)?;
    let id = alloc.text("/id")?;
    let written = world.mill.begin(&["deploy", "--attach", "1"])?;
    let inspected = world.mill.ok(&["inspect", id])?;
    let has = |text: &str| inspected.out.contains(text);
    expect(has("phase: pulling") && has("layers:") && has(" MB"), "inspect shows its layers", &inspected)?;
    let status = world.mill.ok(&["status"])?;
    expect(status.out.contains("is being fetched: "), "status says how far it is", &status)?;
    let listed = world.mill.ok(&["allocs"])?;
    expect(listed.out.contains("pulling ") && listed.out.contains('%'), "allocs too", &listed)?;

    line.cut();
    let stumbled =
        pulling(world, "the pull says that its registry is away", |p| p.pointer("/trouble").is_some())?;
    let why = world.mill.ok(&["why", "big/web"])?;
    expect(why.out.contains("trying again: "), "why says so too", (&why, &stumbled))?;
    line.mend()?;

    let told = told.ended()?;
    expect(told.code == 0, "the deploy succeeds", &told)?;
    let took = begun.elapsed();
    world.settled("big", "web", 2)?;
    world.settled("big", "copy", 1)?;
    // What was on the line when it was cut is lost; documents come on top. Once for two digests and three allocs.
    let sent = line.sent();
    expect(sent < all + all / 10, "no byte was sent twice", (sent, all))?;
    told_within_bounds(&told.out, took)?;
    let written = written.ended()?;
    let pulls: Vec<&str> = written.err.lines().filter(|line| line.contains("pulling")).collect();
    let most = took.as_secs() / 3 + 3;
    let far = pulls.iter().any(|line| line.contains(" of "));
    expect(written.code == 0 && far, "plain lines say how far it is", &written)?;
    expect(pulls.len() as u64 <= most, "but not often", &pulls)
}

/// At most four words a second on each pull, with numbers that only grow, and one that it is done.
fn told_within_bounds(out: &str, took: Duration) -> Result<(), Failed> {
    for service in ["web", "copy"] {
        let (mut last, mut words, mut pulled) = (0, 0, 0);
        for line in out.lines() {
            let event: Value = serde_json::from_str(line).or_fail(format_args!("no JSON: {line}"))?;
            if event.is("/service", service) && event.is("/step", "pulling") {
                let done = event.number("/bytes_done")?;
                expect(done >= last, "bytes only grow", (&event, last))?;
                (last, words) = (done, words + 1);
            }
            pulled += u64::from(event.is("/service", service) && event.is("/step", "pulled"));
        }
        expect(
            words > 4 && words <= 4 * (took.as_secs() + 1),
            "a few words a second",
            (service, words, took),
        )?;
        expect(pulled == 1, "and one when it was done", (service, pulled))?;
    }
    Ok(())
}

/// `burner` uses all the processor time that it may; `fickle`'s check succeeds once and never again.
const USERS: &str = r#"project "use"
service "burner" {
    image IMAGE(apps:1)
    entrypoint "/bin/sh"
    command "-c" "while :; do :; done"
    cpu 0.2
    memory "32M"
}
service "fickle" {
    image IMAGE(apps:1)
    command "sleeper"
    cpu 0.1
    memory "32M"
    health exec="/bin/sh -c 'test -e /tmp/n && echo it is worn out && exit 3; : > /tmp/n'" interval="500ms" timeout="10s" retries=2
}
"#;

fn usage(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(USERS)?;
    let wanted = 150..=250;
    until("the burner uses its fifth of a core", Duration::from_secs(20), || {
        let [burner] =
            world.settled("use", "burner", 1)?.try_into().map_err(|_| Failed::because("one alloc"))?;
        let used = burner.number("/used/cpu")?;
        Ok(Look::at(wanted.contains(&used) && burner.number("/used/memory")? < 32 << 20, burner))
    })?;
    let status = world.mill.json(&["status"])?;
    expect(wanted.contains(&status.number("/services/0/used/cpu")?), "so does its service", &status)?;
    let (cpu, memory) = (status.number("/nodes/0/used/cpu")?, status.number("/nodes/0/used/memory")?);
    expect((150..=350).contains(&cpu) && memory > 0, "and its node", &status)?;
    let page = world.mill.ok(&["allocs"])?;
    let shown = page.out.lines().find(|line| line.contains("burner")).or_fail("a line of the burner")?;
    expect(shown.contains(" 0.1") || shown.contains(" 0.2"), "and a page", &page)?;

    let saw = "exited with code 3: it is worn out";
    until("why says what the check saw while it is unhealthy", Duration::from_secs(60), || {
        let why = world.mill.ok(&["why", "use/fickle"])?;
        Ok(Look::at(why.out.contains("is unhealthy") && why.out.contains(saw), why))
    })?;
    let events = world.mill.ok(&["events"])?;
    expect(
        events.out.lines().any(|line| line.contains("is unhealthy") && line.contains(saw)),
        "events too",
        &events,
    )?;
    until("it is said of its end too", Duration::from_secs(60), || {
        let allocs = world.allocs("use", "fickle")?;
        let last = |alloc: &Value| alloc.text("/last_end/failure/last").is_ok_and(|last| last.contains(saw));
        Ok(Look::at(allocs.iter().any(last), allocs))
    })
}
