//! What an operator does on an ordinary day, with the words that come back.

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::cli::{Mill, Ran};
use crate::harness::containerd::pid_of;
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::processes;
use crate::harness::world::{SETTLES_WITHIN, endpoint};
use crate::harness::{Context as _, Failed, Look, World, http, until};

pub(super) const DAY: Story =
    Story { name: "operators_day", pace: Pace::Brisk, tell: Tell::Node(operators_day) };

/// Longer than this story: a deploy that waits for it has to be called off.
const FOR_EVER_MS: u64 = 600_000;
/// Long enough to interrupt a command that waits for it.
const A_WHILE_MS: u64 = 3_000;

fn config(version: &str, healthy_after_ms: u64) -> String {
    format!(
        r#"project "shop"
service "web" {{
    image IMAGE(hello:v1)
    port 3000
    replicas 2
    cpu 0.1
    memory "32M"
    env {{ ROUND "{version}"; HEALTHY_AFTER_MS "{healthy_after_ms}" }}
    health path="/health" interval="500ms"
    stop grace="3s" drain="1s"
    update parallel=2
}}
"#
    )
}

fn operators_day(world: &mut World) -> Result<(), Failed> {
    versions(world)?;
    replicas(world)?;
    slow_deploys(world)?;
    logs(world)?;
    events(world)?;
    looking(world)
}

/// Deploy, `--image`, rollback to the one before and to a number.
fn versions(world: &World) -> Result<(), Failed> {
    let file = world.write("mill.kdl", &config("1", 0))?;
    let mill = &world.mill;
    expect(mill.ok(&["deploy", "-f", &file])?.out.contains("deployed shop #1"), "a first deploy", "")?;
    let image = format!("web={}", world.machine.image("hello:v2"));
    let ran = mill.ok(&["deploy", "--image", &image])?;
    expect(ran.out.contains("deployed shop #2"), "the file here, with another image", &ran)?;
    runs(world, "v2", "1", 2)?;
    let ran = mill.ok(&["rollback"])?;
    expect(ran.out.contains("rolled back shop to #1 as #3"), "back to the one before", &ran)?;
    runs(world, "v1", "1", 2)?;
    let ran = mill.ok(&["rollback", "shop", "--to", "#2"])?;
    expect(ran.out.contains("rolled back shop to #2 as #4"), "to a number", &ran)?;
    runs(world, "v2", "1", 2)?;
    let ran = mill.ok(&["rollback", "--to", "2"])?;
    expect(ran.out.contains("nothing changed in shop"), "there already, and it says so", &ran)?;
    refused(mill, &["rollback", "--to", "99"], 4, "no deploy #99", "`mill history shop`")?;
    let history = mill.json(&["history"])?;
    let whats: Vec<&str> =
        history.list("")?.iter().filter_map(|entry| entry.pointer("/action/kind")?.as_str()).collect();
    expect(whats == ["rollback", "rollback", "deploy", "deploy"], "history, newest first", &history)
}

/// Restart and scale.
fn replicas(world: &World) -> Result<(), Failed> {
    let before = world.settled("shop", "web", 2)?;
    let ran = world.mill.ok(&["restart", "web"])?;
    expect(ran.out.contains("restarted shop/web as #5"), "restart says what it did", &ran)?;
    let after = world.settled("shop", "web", 2)?;
    let same = after.iter().any(|alloc| before.iter().any(|old| old["id"] == alloc["id"]));
    expect(!same, "every replica is a new one", (&before, &after))?;
    runs(world, "v2", "1", 2)?;
    let ran = world.mill.ok(&["scale", "web", "3"])?;
    expect(ran.out.contains("scaled shop/web to 3 as #6"), "scale says what it did", &ran)?;
    runs(world, "v2", "1", 3)?;
    let plan = world.mill.ok(&["plan"])?;
    expect(plan.all().contains("`mill scale` had set 3"), "plan warns that the file wins", &plan)?;
    let ran = world.mill.ok(&["scale", "shop/web=1"])?;
    expect(ran.out.contains("scaled shop/web to 1 as #7"), "and down again", &ran)?;
    runs(world, "v2", "1", 1)?;
    refused(&world.mill, &["restart", "wbe"], 4, "nothing called `wbe`", "`web`")?;
    refused(&world.mill, &["scale", "web"], 2, "how many replicas", "`mill scale web 3`")
}

/// Detached, attached to, replaced, called off, and left by Ctrl-C.
fn slow_deploys(world: &World) -> Result<(), Failed> {
    let mill = &world.mill;
    let file = world.write("mill.kdl", &config("2", FOR_EVER_MS))?;
    let ran = mill.ok(&["deploy", "--detach"])?;
    expect(ran.out.contains("`mill deploy --attach 8` follows it"), "detached, with the way back", &ran)?;
    let attached = mill.begin(&["deploy", "--attach", "8"])?;
    attached.says("starting")?;
    let status = mill.ok(&["status"])?;
    expect(status.out.contains("shop #8 running"), "status shows what is under way", &status)?;
    let later = world.write("later.kdl", &config("3", FOR_EVER_MS))?;
    let waiting = mill.begin(&["deploy", "-f", &later])?;
    waiting.says("for deploy #8 to end")?;
    let ran = mill.ok(&["deploy", "--cancel", "9", "-d"])?;
    expect(!ran.all().is_empty(), "calling off says something", &ran)?;
    cancelled(waiting.ended()?, 9)?;

    let replacing = mill.begin(&["deploy", "-f", &later, "--replace"])?;
    replaced(attached.ended()?, 8)?;
    replacing.says("starting")?;
    let ran = mill.ok(&["deploy", "--cancel", "-f", &file])?;
    expect(ran.all().contains("cancelled shop #10"), "called off, whose it is by the file", &ran)?;
    cancelled(replacing.ended()?, 10)?;
    runs(world, "v2", "1", 1)?;
    refused(mill, &["deploy", "--cancel"], 4, "no deploy of shop is under way", "`mill rollback shop`")?;

    world.write("mill.kdl", &config("4", A_WHILE_MS))?;
    let left = mill.begin(&["deploy"])?;
    left.says("starting")?;
    left.interrupt()?;
    let left = left.ended()?;
    expect(left.code == 130 && left.err.contains("it goes on"), "Ctrl-C leaves", &left)?;
    expect(left.err.contains("`mill deploy --attach 11` returns to it"), "and says how to return", &left)?;
    let ran = mill.ok(&["deploy", "--attach", "#11"])?;
    expect(ran.out.contains("deployed shop #11"), "the deploy went on without its client", &ran)?;
    runs(world, "v1", "4", 2)
}

fn cancelled(ran: Ran, id: u64) -> Result<(), Failed> {
    let told = ran.code == 1 && ran.err.contains(&format!("#{id}")) && ran.err.contains("cancelled");
    expect(told, "who follows a deploy that is called off hears so", ran)
}

fn replaced(ran: Ran, id: u64) -> Result<(), Failed> {
    let told = ran.code == 1 && ran.err.contains(&format!("#{id}")) && ran.err.contains("replaced");
    expect(told, "who follows a deploy that is replaced hears so", ran)
}

/// `-n`, `-f`, `--previous`, `--since`; and silence has a word.
fn logs(world: &World) -> Result<(), Failed> {
    let mill = &world.mill;
    let none = mill.ok(&["logs", "web", "--previous"])?;
    expect(
        none.out.is_empty() && none.err.contains("no earlier run of web"),
        "nothing is said to be",
        &none,
    )?;
    let both = mill.ok(&["logs", "web", "-n", "1"])?;
    expect(both.out.lines().count() == 2, "one line of each replica", &both)?;
    let [one, _] = world.settled("shop", "web", 2)?.try_into().map_err(|_| Failed::because("two allocs"))?;
    let id = one.text("/id")?;
    let follower = mill.begin(&["logs", id, "-f"])?;
    follower.says("listening on")?;

    // A death: what follows goes on with the next run, and what was is the previous one's.
    processes::kill_9(pid_of(&format!("{id}.1"))?)?;
    until("the follower shows the next run", SETTLES_WITHIN, || {
        let starts = follower.said().matches("hello started").count();
        Ok(Look::at(starts == 2, follower.said()))
    })?;
    follower.interrupt()?;
    let followed = follower.ended()?;
    expect(followed.code == 0, "Ctrl-C ends what only looks", &followed)?;
    world.settled("shop", "web", 2)?;
    let lines: Vec<&str> = followed.out.lines().collect();
    let (previous, current) = (mill.ok(&["logs", id, "-p"])?, mill.ok(&["logs", id])?);
    let together: Vec<&str> = previous.out.lines().chain(current.out.lines()).collect();
    let started = |ran: &Ran| ran.out.matches("hello started").count() == 1;
    expect(started(&previous) && started(&current), "a run each", (&previous, &current))?;
    let all = mill.ok(&["logs", id, "--all"])?;
    let of_all: Vec<&str> = all.out.lines().collect();
    expect(of_all == together && of_all.starts_with(&lines), "no line twice or missing", (&all, &lines))?;
    let recent = mill.ok(&["logs", id, "--since", "1h"])?;
    expect(recent.out == current.out, "an hour is all", (&recent, &current))?;
    let none = mill.ok(&["logs", id, "--since", "1ms"])?;
    expect(none.out.is_empty() && none.err.contains("in the last 1ms"), "a millisecond is nothing", &none)?;
    refused(mill, &["logs", "wbe"], 4, "nothing called `wbe`", "`web`")
}

/// `-f` shows what happens from now on, among what has.
fn events(world: &World) -> Result<(), Failed> {
    let so_far = world.mill.json(&["events"])?;
    let last = so_far.list("")?.last().or_fail("there were events")?.number("/id")?;
    let follower = world.mill.begin(&["events", "-f", "--since-id", &last.to_string(), "--json"])?;
    world.mill.ok(&["restart", "web", "-d"])?;
    follower.says("deploy_succeeded")?;
    follower.interrupt()?;
    let followed = follower.ended()?;
    expect(followed.code == 0, "Ctrl-C ends what only looks", &followed)?;
    let mut next = last;
    for line in followed.out.lines() {
        let event: Value = serde_json::from_str(line).or_fail(line)?;
        next += 1;
        expect(event.number("/id")? == next, "each event once, in order", (&event, next))?;
    }
    world.settled("shop", "web", 2).map(drop)
}

/// Commands that only look: they answer people in words and programs in JSON.
fn looking(world: &World) -> Result<(), Failed> {
    let mill = &world.mill;
    let id = world.settled("shop", "web", 2)?.first().or_fail("an alloc")?.text("/id")?.to_owned();
    let node = mill.json(&["nodes"])?.text("/0/name")?.to_owned();
    for (args, says) in [
        (&["status"][..], "CLUSTER: 1 node, all healthy"),
        (&["services"], "shop/web"),
        (&["allocs"], id.as_str()),
        (&["nodes"], "ready, leader"),
        (&["history"], "succeeded (current)"),
        (&["plan"], "up to date"),
        (&["why", "web"], "it is as wanted"),
        (&["inspect", "web"], "ROUND"),
        (&["inspect", &id], "phase: healthy"),
        (&["inspect", &node], "leader: true"),
        (&["inspect", "shop"], "kind: project"),
        (&["inspect", "#1"], "kind: deploy"),
        (&["events"], "deploy_succeeded"),
        (&["actors"], "plane"),
        (&["doctor"], "it runs and answers"),
    ] {
        let ran = mill.ok(args)?;
        expect(ran.out.contains(says), &format!("`mill {}` says `{says}`", args.join(" ")), &ran)?;
        expect(ran.err.is_empty(), "and nothing beside it", &ran)?;
        let answer = mill.json(args)?;
        expect(answer.is_object() || answer.is_array(), "and JSON to programs", &answer)?;
    }
    let report = mill.json(&["doctor"])?;
    // how full the disk is that the story was given, is nobody's doing here
    let is_ours = |finding: &&Value| !finding.is("/check", "disk");
    let ill = report.list("/findings")?.iter().filter(is_ours).find(|finding| !finding.is("/level", "ok"));
    expect(ill.is_none(), "doctor finds nothing wrong here", ill)
}

/// Refused with this code, these words, and a hint that holds those.
fn refused(mill: &Mill, args: &[&str], code: i32, says: &str, hint: &str) -> Result<(), Failed> {
    let ran = mill.run(args)?;
    let hinted = ran.err.lines().any(|line| line.starts_with("hint: ") && line.contains(hint));
    let told = ran.code == code && ran.err.contains(says) && hinted;
    expect(told, &format!("`mill {}`: {code}, `{says}`, hint `{hint}`", args.join(" ")), &ran)
}

/// What runs is so many replicas of this image and this file.
fn runs(world: &World, image: &str, round: &str, count: usize) -> Result<(), Failed> {
    for alloc in world.settled("shop", "web", count)? {
        let version = http::get(endpoint(&alloc)?, "/version")?;
        let seen = http::get(endpoint(&alloc)?, "/env/ROUND")?;
        expect(version.body == image && seen.body == round, "the wanted version answers", (&version, &seen))?;
    }
    Ok(())
}
