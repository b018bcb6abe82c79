//! `mill clean` on a machine whose Mill is dead: all of Mill's goes, nothing else does (product.md P9).

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::{Pace, Story, Tell};
use crate::harness::cli::Ran;
use crate::harness::containerd::{ctr, ctr_of};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::leaks::Held;
use crate::harness::processes;
use crate::harness::until::let_pass;
use crate::harness::{Context as _, Failed, Look, World, until};

pub(super) const CLEAN: Story =
    Story { name: "clean_leaves_nothing", pace: Pace::Brisk, tell: Tell::Node(clean_leaves_nothing) };

/// Somebody else's namespace in the same containerd, and the cgroup of their container.
const THEIRS: &str = "default";
const THEIR_CGROUP: &str = "/mill-e2e-theirs";

/// A clean takes about a second on this machine: it is killed somewhere in it.
const MOMENTS_MS: [u64; 3] = [40, 150, 400];
/// A process that was killed may take this long to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);

const CONFIG: &str = r#"project "shop"
service "web" {
    image IMAGE(hello:v1)
    port 3000
    replicas 2
    cpu 0.1
    memory "32M"
    health path="/health" interval="1s"
    volume "scratch" path="/scratch" size="4M" ephemeral=#true
}
"#;

fn clean_leaves_nothing(world: &mut World) -> Result<(), Failed> {
    move_in(world)?;
    let empty = world.held()?;
    world.deploy_ok(CONFIG)?;
    world.settled("shop", "web", 2)?;
    let full = world.held()?;
    let told = empty.differences(&full).concat();
    for kind in ["containers", "snapshots", "cgroups", "mounts", "fifos", "loop devices"] {
        expect(told.contains(&format!(" {kind}, before ")), &format!("there are {kind} to leak"), &told)?;
    }
    while_somebody_lives(world)?;

    let asked = clean(world, &[])?;
    expect(asked.code == 2 && asked.out.contains("container"), "it lists, and wants to be sure", &asked)?;
    expect(full.differences(&world.held()?).is_empty(), "asking removes nothing", &asked)?;
    cleaned(world, &empty)?;

    // the node itself was kept: it comes up, and its services with it
    world.node.start_again()?;
    world.settled("shop", "web", 2)?;
    for moment in MOMENTS_MS {
        end_both(world)?;
        let mut killed = world.mill.start(&["clean", "--yes", "--data-dir", data(world)?])?;
        let_pass(Duration::from_millis(moment));
        killed.kill().or_fail("kill -9 of a clean")?;
        killed.wait().or_fail("waiting for a clean")?;
        cleaned(world, &empty)?;
        world.node.start_again()?;
        world.settled("shop", "web", 2)?;
    }

    end_both(world)?;
    clean_ok(world, &["--yes", "--data"])?;
    nothing_is_left(world, &empty)?;
    expect(!world.node.data().exists(), "the data directory is gone", world.node.data())?;
    move_out()
}

/// Refused, by name, while the daemon lives, and while the plane does.
fn while_somebody_lives(world: &mut World) -> Result<(), Failed> {
    let before = runs(world)?;
    let refused = clean(world, &["--yes"])?;
    expect(refused.code == 4 && refused.err.contains("`mill dev`"), "it names the daemon", &refused)?;
    expect(refused.err.contains(&world.node.daemon().to_string()), "and its process", &refused)?;
    expect(runs(world)? == before, "and leaves it alone", &before)?;
    let plane = world.node.plane()?;
    world.node.end_daemon()?;
    let refused = clean(world, &["--yes"])?;
    let named = refused.err.contains("`mill plane`") && refused.err.contains(&plane.to_string());
    expect(refused.code == 4 && named, "it names the plane", &refused)?;
    world.node.end_plane()
}

/// Which runs of which allocs there are.
fn runs(world: &World) -> Result<BTreeSet<(String, u64)>, Failed> {
    let allocs = world.allocs("shop", "web")?;
    allocs.iter().map(|alloc| Ok((alloc.text("/id")?.to_owned(), alloc.number("/incarnation")?))).collect()
}

fn end_both(world: &mut World) -> Result<(), Failed> {
    world.node.end_daemon()?;
    world.node.end_plane()
}

/// Cleans until nothing is left, and a second time.
fn cleaned(world: &World, empty: &Held) -> Result<(), Failed> {
    clean_ok(world, &["--yes"])?;
    nothing_is_left(world, empty)?;
    let again = clean_ok(world, &["--yes"])?;
    expect(again.err.contains("nothing is left"), "twice is harmless", &again)
}

fn nothing_is_left(world: &World, empty: &Held) -> Result<(), Failed> {
    let left = empty.differences(&world.held()?);
    expect(left.is_empty(), "as much is held as before anything was deployed", &left)?;
    let namespaces = ctr_of(THEIRS, &["namespaces", "ls", "--quiet"])?;
    expect(!namespaces.lines().any(|name| name == "mill"), "no namespace, image or layer", &namespaces)?;
    until("no shim of Mill's is left", GONE_WITHIN, || {
        let of_mill = |args: &[String]| args.windows(2).any(|two| two == ["-namespace", "mill"]);
        let shims: Vec<_> = processes::all().into_iter().filter(|process| of_mill(&process.args)).collect();
        Ok(Look::at(shims.is_empty(), shims))
    })?;
    expect(!Path::new("/run/mill").exists(), "no socket", "/run/mill is there")?;
    expect(!Path::new("/sys/fs/bpf/mill").exists(), "no program in the kernel", "/sys/fs/bpf/mill is there")?;
    let theirs = ctr_of(THEIRS, &["tasks", "ls"])?;
    expect(theirs.contains("RUNNING"), "somebody else's container runs on", &theirs)?;
    let image = world.machine.image("hello:v1");
    expect(ctr_of(THEIRS, &["images", "ls", "--quiet"])?.contains(&image), "their image is there", &image)
}

fn clean(world: &World, options: &[&str]) -> Result<Ran, Failed> {
    world.mill.run(&[&["clean", "--data-dir", data(world)?], options].concat())
}

fn clean_ok(world: &World, options: &[&str]) -> Result<Ran, Failed> {
    world.mill.ok(&[&["clean", "--data-dir", data(world)?], options].concat())
}

fn data(world: &World) -> Result<&str, Failed> {
    world.node.data().to_str().or_fail("a path that is text")
}

/// Somebody else's container, in a namespace and a cgroup of its own.
fn move_in(world: &World) -> Result<(), Failed> {
    let image = world.machine.image("hello:v1");
    ctr_of(THEIRS, &["images", "pull", "--plain-http", &image])?;
    let options = ["run", "--detach", "--null-io", "--net-host", "--env", "PORT=20999"];
    ctr_of(THEIRS, &[&options[..], &["--cgroup", THEIR_CGROUP, &image, "theirs"]].concat()).map(drop)
}

fn move_out() -> Result<(), Failed> {
    ctr_of(THEIRS, &["tasks", "kill", "--signal", "SIGKILL", "theirs"])?;
    until("their end", GONE_WITHIN, || ctr_of(THEIRS, &["tasks", "delete", "theirs"]).map(Look::Yes))?;
    expect(ctr(&["containers", "ls", "--quiet"])?.is_empty(), "no container", "there is one")
}
