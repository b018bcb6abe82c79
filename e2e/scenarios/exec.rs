//! `mill exec`: pipes and a terminal, exit codes, who is meant; and whose end it is that the client, or the daemon,
//! dies.

use std::io::Write as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::cli::Ran;
use crate::harness::containerd::ctr;
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::terminal::Terminal;
use crate::harness::{Context as _, Failed, Look, World, processes, until};

pub(super) const EXEC: Story = Story { name: "exec", pace: Pace::Brisk, tell: Tell::Node(exec) };

/// How long what ends may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

const CONFIG: &str = r#"project "shop"
service "web" {
    image IMAGE(apps:1)
    command "hello"
    port 3000
    cpu 0.2
    memory "32M"
    env { GREETING "from the config" }
    health path="/health"
}
service "pair" {
    image IMAGE(apps:1)
    command "sleeper"
    replicas 2
    cpu 0.1
    memory "32M"
}
"#;

/// Two programs that no signal ends which can be ignored, one of them let go of.
const STAYS: &str = "/apps stubborn & echo stays; /apps stubborn";

fn exec(world: &mut World) -> Result<(), Failed> {
    let held = world.held()?;
    world.deploy_ok(CONFIG)?;
    let full = world.held()?;
    pipes(world).or_fail("with pipes")?;
    names(world).or_fail("names")?;
    codes(world).or_fail("exit codes")?;
    terminal(world).or_fail("on a terminal")?;
    client_dies(world).or_fail("the client dies")?;
    daemon_dies(world).or_fail("the daemon dies")?;
    world.holds_again(&full)?;
    world.mill.ok(&["undeploy", "shop", "--yes"])?;
    world.holds_again(&held)
}

/// Runs a command with something to read.
fn run(world: &World, args: &[&str], input: &str) -> Result<Ran, Failed> {
    let mut command = world.mill.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().or_fail("can't run mill")?;
    let mut stdin = child.stdin.take().or_fail("its input")?;
    let bytes = input.as_bytes().to_vec();
    // Beside what is read from it: it may not take all before it is read.
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().or_fail("waiting for mill")?;
    // One that doesn't read all of it is a story of its own.
    let _ = writer.join();
    Ok(Ran {
        code: output.status.code().unwrap_or(255),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: Duration::ZERO,
    })
}

fn pipes(world: &World) -> Result<(), Failed> {
    let script = "while read line; do echo \"got $line\"; done; echo \"$GREETING\" >&2; exit 5";
    let ran = run(world, &["exec", "web", "--", "/bin/sh", "-c", script], "one\ntwo\n")?;
    let right = ran.code == 5 && ran.out == "got one\ngot two\n" && ran.err == "from the config\n";
    expect(right, "input, both outputs, the environment and the exit code", &ran)?;
    // More than any buffer on the way holds, both ways.
    let lines: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
    let ran = run(world, &["exec", "web", "/bin/sh", "-c", "while read l; do echo \"$l\"; done"], &lines)?;
    expect(
        ran.code == 0 && ran.out == lines,
        "a megabyte comes back as it went",
        (ran.code, ran.out.len(), &ran.err),
    )
}

fn names(world: &World) -> Result<(), Failed> {
    let allocs = world.settled("shop", "pair", 2)?;
    let ids: Vec<&str> = allocs.iter().map(|alloc| alloc.text("/id")).collect::<Result<_, _>>()?;
    let ran = world.mill.run(&["exec", "pair", "--", "/bin/sh", "-c", "exit 0"])?;
    let said = ran.code == 4 && ids.iter().all(|id| ran.err.contains(id));
    expect(said, "of two replicas it says which there are", &ran)?;
    for id in ids {
        world.mill.ok(&["exec", id, "--", "/bin/sh", "-c", "exit 0"])?;
    }
    Ok(())
}

fn codes(world: &World) -> Result<(), Failed> {
    let table: [(&[&str], i32, &str); 5] = [
        (&["/bin/sh", "-c", "exit 42"], 42, ""),
        (&["/bin/sh", "-c", "kill -9 $$"], 137, ""),
        (&["no-such-program"], 127, "no-such-program"),
        (&["/bin/no-such-program"], 127, "no-such-program"),
        (&["/bin"], 126, "isn't executable"),
    ];
    for (command, code, says) in table {
        let ran = world.mill.run(&[&["exec", "web", "--"], command].concat())?;
        expect(ran.code == code && ran.err.contains(says), &format!("{command:?} ends with {code}"), &ran)?;
    }
    Ok(())
}

fn terminal(world: &World) -> Result<(), Failed> {
    let mut terminal = Terminal::open()?;
    let before = terminal.settings()?;
    let script = "test -t 0 && test -t 1 && echo \"on a terminal, $TERM\"; trap 'echo heard; exit 9' INT; \
                  read line; echo \"got <$line>\"; while :; do read -t 1 x || :; done";
    let mut child = terminal.run(&world.mill.command(&["exec", "web", "--", "/bin/sh", "-c", script]))?;
    let told = (|| {
        terminal.shows("on a terminal, xterm")?;
        expect(terminal.settings()? != before, "keys are passed on as they are", &before)?;
        terminal.type_keys("typed\r")?;
        terminal.shows("got <typed>")?;
        // Ctrl-C goes inside.
        terminal.type_keys("\x03")?;
        terminal.shows("heard")?;
        ended(&mut child)
    })();
    let _ = child.kill();
    let _ = child.wait();
    expect(told? == Some(9), "the program's own exit code", terminal.shown())?;
    expect(terminal.settings()? == before, "the terminal is as it was", terminal.settings())
}

fn ended(child: &mut Child) -> Result<Option<i32>, Failed> {
    until("the command ends", ENDS_WITHIN, || {
        let ended = child.try_wait().or_fail("waiting for mill")?;
        Ok(ended.map_or_else(|| Look::No("it runs".to_owned()), |status| Look::Yes(status.code())))
    })
}

/// How many of those programs run.
fn staying() -> usize {
    processes::apps("stubborn").len()
}

fn client_dies(world: &World) -> Result<(), Failed> {
    for minus_nine in [false, true] {
        let client = world.mill.begin(&["exec", "web", "--", "/bin/sh", "-c", STAYS])?;
        client.says("stays")?;
        let pid = i32::try_from(client.pid()).or_fail("a process id")?;
        match minus_nine {
            true => processes::kill_9(pid)?,
            false => processes::terminate(pid)?,
        }
        all_end()?;
    }
    Ok(())
}

fn all_end() -> Result<(), Failed> {
    until("nothing of the program runs", ENDS_WITHIN, || {
        let staying = staying();
        Ok(Look::at(staying == 0, staying))
    })
}

/// Nobody is there to end it: its parent in the container notices. The next daemon has the shim forget it.
fn daemon_dies(world: &mut World) -> Result<(), Failed> {
    let alloc = world.settled("shop", "web", 1)?.pop().or_fail("one alloc")?;
    let name = format!("{}.{}", alloc.text("/id")?, alloc.number("/incarnation")?);
    let mut client = world.mill.begin(&["exec", "web", "--", "/bin/sh", "-c", STAYS])?;
    client.says("stays")?;
    let folder = format!("/run/mill/containers/memory/{name}/run");
    let laid_down = || -> Result<Vec<String>, Failed> {
        let entries = std::fs::read_dir(&folder).or_fail(&folder)?;
        Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    };
    let id = laid_down()?.into_iter().find(|name| name.starts_with("exec-") && !name.contains('.'));
    let id = id.or_fail("what is run is laid down")?;
    world.node.end_daemon()?;
    all_end()?;
    until("the client has ended", ENDS_WITHIN, || Ok(Look::at(client.has_ended()?, "it runs")))?;
    expect(client.ended()?.code == 3, "it says that the connection was lost", ())?;
    world.node.start_again()?;
    until("the next daemon forgets it", Duration::from_secs(90), || {
        let left = laid_down()?;
        Ok(Look::at(left == ["start"], left))
    })?;
    let known = ctr(&["tasks", "ps", &name])?;
    expect(!known.contains(&id), "the shim knows of no such program", known)?;
    let same: Vec<Value> = world.settled("shop", "web", 1)?;
    expect(
        same.iter().all(|now| now.pointer("/incarnation") == alloc.pointer("/incarnation")),
        "the container went on",
        same,
    )
}
