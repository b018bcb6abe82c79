//! Registries that break off, lie, are busy, stall, crawl, forbid, send people away, and vanish: each failure has its name, what
//! passes is waited out, nothing half done is taken for whole, and the version before goes on (product.md P5, P10).

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::cli::Ran;
use crate::harness::containerd::ctr;
use crate::harness::failed::expect;
use crate::harness::faulty::{Fault, FaultyRegistry};
use crate::harness::images::Layout;
use crate::harness::json::Fields as _;
use crate::harness::line::SlowLine;
use crate::harness::world::{SETTLES_WITHIN, endpoint};
use crate::harness::{Context as _, Failed, Look, Running, World, http, processes, until};

pub(super) const FAULTS: Story =
    Story { name: "registry_faults", pace: Pace::Patient, tell: Tell::Node(registry_faults) };

const FAULTY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5001);
/// A line to the registry that is cut in the middle of a pull.
const LINE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5002);
const LINE_BYTES_PER_SECOND: u32 = 100 << 10;
/// Bytes of each image's own layer: what its registry spoils.
const LAYER_BYTES: u64 = 400 << 10;
/// Where blobs are broken off.
const HALF: usize = 200 << 10;
const OVER_WITHIN: Duration = Duration::from_secs(240);
/// Longer than an attempt waits for a byte.
const STALL: Duration = Duration::from_secs(40);

/// What comes of a deploy whose image is spoilt so.
enum Comes {
    /// It fails, and says this.
    Failure(&'static str),
    /// It waits the fault out.
    Success,
}

struct Case {
    /// The image's repository, and the project's name.
    name: &'static str,
    fault: Fault,
    comes: Comes,
}

fn cases() -> Vec<Case> {
    use Comes::{Failure, Success};
    let case = |name, fault, comes| Case { name, fault, comes };
    // Port 1 is nobody's.
    let nowhere = || Fault::Redirects("http://127.0.0.1:1/gone".to_owned());
    let in_circles = || Fault::Redirects(format!("http://{FAULTY}/v2/in-circles/blobs/sha256:0"));
    vec![
        case("breaks", Fault::Breaks(HALF), Failure("broke off")),
        case("truncates", Fault::Truncates(HALF), Failure("ended after")),
        case("lies-of-blobs", Fault::LiesOfBlobs, Failure("isn't what its digest says")),
        case("lies-of-manifests", Fault::LiesOfManifests, Failure("isn't what its digest says")),
        case("is-ill", Fault::Status(500), Failure("status 500")),
        case("limits", Fault::Status(429), Failure("status 429")),
        case("forbids", Fault::Status(403), Failure("doesn't let Mill read")),
        case("sends-away", nowhere(), Failure("can't be reached")),
        case("in-circles", in_circles(), Failure("redirect")),
        case("ill-at-first", Fault::StatusAtFirst(500, 3), Success),
        case("busy-at-first", Fault::StatusAtFirst(429, 3), Success),
        case("crawls", Fault::Slow(20 << 10), Success),
        case("stalls", Fault::Stalls(STALL), Success),
    ]
}

/// What runs before, of a registry that is well; what is to come, of one that isn't.
const OLD: &str = "IMAGE(apps:1)";

fn new(name: &str) -> String {
    format!("\"{FAULTY}/{name}:v2\"")
}

fn config(name: &str, image: &str, version: &str) -> String {
    format!(
        r#"project "{name}"
service "web" {{
    image {image}
    command "hello"
    port 3000
    cpu 0.05
    memory "32M"
    env {{ VERSION "{version}" }}
    health path="/health" interval="1s"
}}
"#
    )
}

fn registry_faults(world: &mut World) -> Result<(), Failed> {
    let cases = cases();
    push(world, &cases)?;
    let registry = FaultyRegistry::start(FAULTY, world.machine.registry())?;
    for case in &cases {
        world.deploy_ok(&config(case.name, OLD, "v1"))?;
    }
    let programs = programs();
    expect(programs.len() == cases.len(), "each runs once", &programs)?;
    let images = images()?;

    let deploys: Vec<Running> = cases
        .iter()
        .map(|case| {
            registry.spoil(case.name, case.fault.clone());
            begin(world, case.name)
        })
        .collect::<Result<_, _>>()?;
    let vanished = vanishes(world)?;
    stalls_are_told(world)?;
    is_nowhere(world)?;
    for (case, deploy) in cases.iter().zip(deploys) {
        let ran = over(deploy)?;
        came(world, case, &ran).or_fail(case.name)?;
    }
    let vanished = over(vanished)?;
    let told = vanished.code == 1 && vanished.err.contains("can't be reached");
    expect(told, "so does one whose registry has vanished", &vanished)?;
    answers(world, "vanishes", "v1")?;

    let failed = |case: &&Case| matches!(case.comes, Comes::Failure(_));
    let now = self::programs();
    expect(
        programs.iter().filter(|pid| now.contains(pid)).count() == cases.iter().filter(failed).count(),
        "those before run on where the new ones failed",
        (&programs, &now),
    )?;
    let news: BTreeSet<String> = self::images()?.difference(&images).cloned().collect();
    let whole = cases.iter().filter(|case| !failed(case));
    expect(news.len() == whole.count(), "no image is here but those that came whole", &news)?;
    registry.mend();
    for case in cases.iter().filter(failed) {
        world.deploy_ok(&config(case.name, &new(case.name), "v2"))?;
        answers(world, case.name, "v2").or_fail(case.name)?;
    }
    Ok(())
}

/// Pushes an image for each case: the programs, and a layer of its own that no compression makes smaller.
fn push(world: &World, cases: &[Case]) -> Result<(), Failed> {
    let (folder, registry) = (&world.machine.folder, world.machine.registry());
    let layout = Layout::create(&folder.join("spoilt"))?;
    layout.fetch(registry, "apps:1", "apps")?;
    let names = cases.iter().map(|case| case.name).chain(["vanishes"]);
    for name in names {
        let noise = folder.join(name);
        let mut bytes = vec![];
        let random = fs::File::open("/dev/urandom").or_fail("/dev/urandom")?;
        random.take(LAYER_BYTES).read_to_end(&mut bytes).or_fail("/dev/urandom")?;
        fs::write(&noise, bytes).or_fail("a file of noise")?;
        layout.derive("apps", name, &[&format!("--config.env=NAME={name}")])?;
        layout.insert(name, &noise, "/noise")?;
        layout.push(name, registry, &format!("{name}:v2"))?;
    }
    Ok(())
}

fn begin(world: &World, name: &str) -> Result<Running, Failed> {
    let file = world.write(&format!("{name}.kdl"), &config(name, &new(name), "v2"))?;
    world.mill.begin(&["deploy", "-f", &file])
}

/// Waits for a deploy's end. One that fails has had three attempts of its alloc's, each with three pulls, each with five
/// attempts to get a blob, and the pauses between them: a minute and a half.
fn over(mut deploy: Running) -> Result<Ran, Failed> {
    until("the deploy is over", OVER_WITHIN, || Ok(Look::at(deploy.has_ended()?, deploy.said())))?;
    deploy.ended()
}

/// While a registry is silent it is said that nothing comes.
fn stalls_are_told(world: &World) -> Result<(), Failed> {
    until("why says that the registry sent nothing", SETTLES_WITHIN, || {
        let why = world.mill.run(&["why", "stalls/web"])?;
        Ok(Look::at(why.out.contains("sent nothing for"), why))
    })
}

fn came(world: &World, case: &Case, ran: &Ran) -> Result<(), Failed> {
    match case.comes {
        Comes::Success => {
            expect(ran.code == 0, "the deploy waits it out", ran)?;
            answers(world, case.name, "v2")
        }
        Comes::Failure(words) => {
            let told = ran.code == 1 && ran.err.contains(words) && ran.err.contains("hint: ");
            expect(told, &format!("it fails, says `{words}`, and what to do"), ran)?;
            let history = world.mill.ok(&["history", case.name])?;
            expect(history.out.contains("failed"), "so does history", &history)?;
            answers(world, case.name, "v1")
        }
    }
}

/// The service answers, in this version.
fn answers(world: &World, name: &str, version: &str) -> Result<(), Failed> {
    let allocs = world.settled(name, "web", 1)?;
    let alloc = allocs.first().or_fail("an alloc")?;
    let answer = http::get(endpoint(alloc)?, "/version")?;
    expect(answer.body == version, "the right version answers", &answer)
}

/// A registry that is gone in the middle of a pull and doesn't come back.
fn vanishes(world: &World) -> Result<Running, Failed> {
    world.deploy_ok(&config("vanishes", OLD, "v1"))?;
    let mut line = SlowLine::start(LINE, world.machine.registry(), LINE_BYTES_PER_SECOND)?;
    let file = world.write("vanishes.kdl", &config("vanishes", &format!("\"{LINE}/vanishes:v2\""), "v2"))?;
    let deploy = world.mill.begin(&["deploy", "-f", &file])?;
    until("a part of it is here", SETTLES_WITHIN, || {
        let allocs = world.allocs("vanishes", "web")?;
        let come = |alloc: &Value| alloc.number("/pulling/bytes_done").is_ok_and(|bytes| bytes > 0);
        Ok(Look::at(allocs.iter().any(come), allocs))
    })?;
    line.cut();
    Ok(deploy)
}

/// One that was never there: the deploy is refused before anything changes.
fn is_nowhere(world: &World) -> Result<(), Failed> {
    let ran = world.deploy(&config("nowhere", "\"127.0.0.1:1/nowhere:v2\"", "v2"))?;
    let told = ran.code == 1 && ran.err.contains("can't be reached") && ran.err.contains("hint: ");
    expect(told, "it says whom it can't reach", &ran)?;
    expect(world.allocs("nowhere", "web")?.is_empty(), "nothing was begun", &ran)
}

fn programs() -> BTreeSet<i32> {
    processes::apps("hello")
}

/// What counts as an image of the node.
fn images() -> Result<BTreeSet<String>, Failed> {
    Ok(ctr(&["images", "ls", "--quiet"])?.lines().map(str::to_owned).collect())
}
