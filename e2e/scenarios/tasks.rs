//! Tasks: `mill run` with its output and its exit code, `spawn` from a template, `kill`, a timeout that goes on while
//! the daemon is dead, what doesn't fit, and that nothing is left.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::{Context as _, Failed, Look, World, until};

pub(super) const TASKS: Story = Story { name: "tasks", pace: Pace::Brisk, tell: Tell::Node(tasks) };

/// How long a task may take to get where it is to get.
const WITHIN: Duration = Duration::from_secs(30);

const CONFIG: &str = r#"project "shop"
service "web" {
    image IMAGE(apps:1)
    command "hello"
    port 3000
    cpu 0.1
    memory "32M"
    health path="/health" interval="1s"
}
task "migrate" {
    image IMAGE(apps:1)
    command "exit"
    cpu 0.1
    memory "32M"
    env { CODE "0"; AFTER_MS "200"; }
}
"#;

fn tasks(world: &mut World) -> Result<(), Failed> {
    let held = world.held()?;
    world.deploy_ok(CONFIG)?;
    let full = world.held()?;
    attached(world).or_fail("mill run")?;
    failures(world).or_fail("what fails")?;
    spawned(world).or_fail("mill spawn")?;
    interrupted(world).or_fail("Ctrl-C")?;
    timeout(world).or_fail("a timeout")?;
    waits(world).or_fail("what doesn't fit")?;
    world.holds_again(&full)?;
    world.mill.ok(&["undeploy", "shop", "--yes"])?;
    world.holds_again(&held)
}

fn shell<'a>(image: &'a str, options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    let small = ["--cpu", "0.1", "--memory", "32M", "--entrypoint", "/bin/sh"];
    [&["run"][..], &small, options, &[image, "--", "-c", script]].concat()
}

/// A task as the API has it.
fn task(world: &World, name: &str) -> Result<Value, Failed> {
    let all = world.mill.json(&["ps", "--all"])?;
    let found =
        all.list("")?.iter().find(|task| task.text("/id").is_ok_and(|id| id.starts_with(name))).cloned();
    found.or_fail(format_args!("no task {name} among {all:#}"))
}

fn reaches(world: &World, id: &str, state: &str) -> Result<Value, Failed> {
    until(&format!("{id} is {state}"), WITHIN, || {
        let task = task(world, id)?;
        Ok(if task.is("/state", state) { Look::Yes(task) } else { Look::No(format!("{task:#}")) })
    })
}

fn attached(world: &World) -> Result<(), Failed> {
    let image = world.machine.image("apps:1");
    let script = "echo one; echo two >&2; echo \"$GREETING\"; exit 5";
    let ran = world.mill.run(&shell(&image, &["-e", "GREETING=hi $$x"], script))?;
    expect(
        ran.code == 5 && ran.out == "one\nhi $x\n" && ran.err == "two\n",
        "both outputs and the code",
        &ran,
    )?;
    let many = "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done";
    let ran = world.mill.run(&shell(&image, &[], many))?;
    let lines: String = (0..5000).map(|n| format!("line {n}\n")).collect();
    expect(ran.code == 0 && ran.out == lines, "every line in its order", (ran.code, ran.out.len(), &ran.err))
}

fn failures(world: &World) -> Result<(), Failed> {
    let image = world.machine.image("apps:1");
    let ran =
        world.mill.run(&["run", "--cpu", "0.1", "--memory", "32M", "-e", "HOW=abort", &image, "exit"])?;
    expect(ran.code > 128 && ran.err.contains("signal"), "a signal's number and 128", &ran)?;
    let ran = world.mill.run(&["run", "--entrypoint", "/nothing", &image])?;
    expect(ran.code == 127 && ran.err.contains("/nothing"), "no such program", &ran)?;
    let ran = world.mill.run(&["run", &world.machine.image("nothing:1")])?;
    expect(ran.code == 125 && ran.err.contains("nothing"), "no such image", &ran)?;
    let ran = world.mill.run(&["spawn", "web", "--wait"])?;
    expect(ran.code == 125 && ran.err.contains("is a service"), "a service is no task", &ran)
}

fn spawned(world: &World) -> Result<(), Failed> {
    let id = world.mill.ok(&["spawn", "migrate"])?.out.trim().to_owned();
    let done = reaches(world, &id, "succeeded")?;
    expect(done.number("/exit_code")? == 0, "it is listed with its exit code", &done)?;
    let ran = world.mill.run(&["spawn", "shop/migrate", "--wait", "-e", "CODE=9"])?;
    expect(ran.code == 9 && ran.out.contains("ending with code 9"), "a variable is another", &ran)?;
    let log = world.log(&id)?;
    expect(log.iter().any(|line| line.starts_with("ending with code 0")), "what it wrote is kept", &log)?;
    let id = world.mill.ok(&["spawn", "migrate", "--", "sleeper"])?.out.trim().to_owned();
    reaches(world, &id, "running")?;
    world.mill.ok(&["kill", &id])?;
    let killed = reaches(world, &id, "killed")?;
    expect(killed.number("/exit_code")? == 143, "it was killed", &killed)
}

fn interrupted(world: &World) -> Result<(), Failed> {
    let image = world.machine.image("apps:1");
    let run =
        world.mill.begin(&["run", "--cpu", "0.1", "--memory", "32M", "--name", "naps", &image, "sleeper"])?;
    run.says("sleeper started")?;
    run.interrupt()?;
    let ran = run.ended()?;
    expect(ran.code == 143 && ran.err.contains("stopping naps-"), "Ctrl-C stops it", &ran)?;
    let task = task(world, "naps-")?;
    expect(task.is("/state", "killed"), "and it is so listed", &task)
}

fn timeout(world: &mut World) -> Result<(), Failed> {
    let image = world.machine.image("apps:1");
    let args = [
        "run",
        "-d",
        "--cpu",
        "0.1",
        "--memory",
        "32M",
        "--timeout",
        "8s",
        "--name",
        "late",
        &image,
        "sleeper",
    ];
    let id = world.mill.ok(&args)?.out.trim().to_owned();
    reaches(world, &id, "running")?;
    let begun = Instant::now();
    world.node.kill_daemon()?;
    world.node.ready()?;
    reaches(world, &id, "running")?;
    let late = reaches(world, &id, "timed_out")?;
    let took = begun.elapsed();
    let right = took > Duration::from_secs(5) && took < Duration::from_secs(20);
    expect(right && late.number("/exit_code")? == 124, "it had its time, and no more", (took, &late))
}

fn waits(world: &World) -> Result<(), Failed> {
    let image = world.machine.image("apps:1");
    let free = world.mill.json(&["nodes"])?;
    // All that the node has: beside the service it doesn't fit.
    let millis = free.number("/0/capacity/cpu")?;
    let cores = format!("{}.{:03}", millis / 1000, millis % 1000);
    let args = ["run", "-d", "--cpu", &cores, "--memory", "32M", "--name", "large", &image, "sleeper"];
    let id = world.mill.ok(&args)?.out.trim().to_owned();
    let waiting = reaches(world, &id, "waiting")?;
    expect(waiting.text("/reason")?.contains("no node can take it"), "it says why it waits", &waiting)?;
    let why = world.mill.ok(&["why", "default/large"])?;
    expect(why.all().contains("no node can take"), "`why` does too", &why)?;
    world.mill.ok(&["kill", &id])?;
    reaches(world, &id, "killed").map(drop)
}
