//! What a person has at the keyboard: names completed in real shells, `mill top` on a terminal that is left as it was,
//! `mill inspect` of whatever has a name, the manual.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::terminal::Terminal;
use crate::harness::tool::Tool;
use crate::harness::{Context as _, Failed, World};

pub(super) const TYPING: Story = Story { name: "typing", pace: Pace::Brisk, tell: Tell::Node(typing) };

const CONFIG: &str = r#"project "shop"
service "web" {
    image IMAGE(apps:1)
    command "hello"
    port 3000
    cpu 0.1
    memory "32M"
    env { PASSWORD "${secret(db.password)}"; }
    health path="/health" interval="1s"
}
task "migrate" {
    image IMAGE(apps:1)
    command "exit"
    cpu 0.1
    memory "32M"
}
"#;

/// What nobody may see who only looks.
const SECRET: &str = "correct-horse-battery";

/// What is typed before the tabulator, and what stands there after it.
const COMPLETED: [(&str, &str); 6] = [
    ("mill logs we", "mill logs web"),
    ("mill rollb", "mill rollback"),
    ("mill secret get shop/db.p", "mill secret get shop/db.password"),
    ("mill history sho", "mill history shop"),
    ("mill actors restart daemon/agent/imag", "mill actors restart daemon/agent/images"),
    ("mill inspect --json nod", "mill inspect --json node-1"),
];

fn typing(world: &mut World) -> Result<(), Failed> {
    let held = world.held()?;
    world.mill.ok(&["secret", "set", "shop/db.password", SECRET])?;
    world.deploy_ok(CONFIG)?;
    let node = world.mill.json(&["nodes"])?;
    let node = node.text("/0/name")?.to_owned();
    inspected(world, &node).or_fail("mill inspect")?;
    top(world).or_fail("mill top")?;
    for shell in ["bash", "zsh", "fish"] {
        completed(world, shell, &node).or_fail(shell)?;
    }
    manual(world).or_fail("the manual")?;
    world.mill.ok(&["undeploy", "shop", "--yes"])?;
    world.holds_again(&held)
}

fn inspected(world: &World, node: &str) -> Result<(), Failed> {
    let task = world.mill.ok(&["spawn", "migrate"])?.out.trim().to_owned();
    let alloc = world.settled("shop", "web", 1)?[0].text("/id")?.to_owned();
    for (name, kind) in [
        ("web", "service"),
        ("shop/migrate", "service"),
        ("shop", "project"),
        (node, "node"),
        (&alloc, "alloc"),
        (&task, "task"),
        ("#1", "deploy"),
        ("db.password", "secret"),
        ("token:init", "token"),
        ("daemon/agent/images", "actor"),
        ("plane", "actor"),
    ] {
        let seen = world.mill.json(&["inspect", name])?;
        expect(seen.is("/kind", kind), name, &seen)?;
        let shown = world.mill.ok(&["inspect", name])?;
        let all = format!("{seen}{}", shown.out);
        expect(!all.contains(SECRET) && shown.out.lines().count() > 2, "an outline without a value", &shown)?;
    }
    let ran = world.mill.run(&["inspect", "wbe"])?;
    expect(ran.code == 4 && ran.err.contains("did you mean `web`?"), "a slip is put right", &ran)
}

fn top(world: &World) -> Result<(), Failed> {
    let sample = world.mill.json(&["top"])?;
    let known = |field: &str| sample.number(&format!("/allocs/0/{field}")).is_ok();
    let right = known("cpu") && known("memory_percent") && sample.number("/nodes/0/memory")? > 0;
    expect(right, "one sample has rates and parts of limits", &sample)?;
    let ran = world.mill.ok(&["top"])?;
    let plain = ran.out.contains("ALLOC") && !ran.out.contains('\x1b');
    expect(plain, "without a terminal it is a table", &ran)?;
    for keys in ["q", "\x03"] {
        let mut terminal = Terminal::open()?;
        let before = terminal.settings()?;
        let mut command = world.mill.command(&["top"]);
        command.env("TERM", "xterm");
        let mut child = terminal.run(&command)?;
        terminal.shows("MEM%")?;
        terminal.type_keys("m")?;
        terminal.shows("by memory")?;
        terminal.type_keys(keys)?;
        let ended = child.wait().or_fail("waiting for mill top")?;
        expect(ended.success(), "it ends when it is told to", ended)?;
        terminal.shows("\x1b[?7h\x1b[?25h\x1b[?1049l")?;
        expect(terminal.settings()? == before, "the terminal is as it was", terminal.shown())?;
    }
    Ok(())
}

/// A shell that knows the completions, in front of a person.
fn shell(world: &World, name: &str) -> Command {
    let mut command = Command::new(name);
    let arguments: &[&str] = match name {
        "bash" => &["--norc", "--noprofile"],
        "zsh" => &["-f"],
        _ => &["--no-config"],
    };
    let folder = world.mill.binary().parent().unwrap_or(Path::new("/"));
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    command.args(arguments).env("PATH", path).env("TERM", "xterm").env("HOME", world.mill.home());
    command.env_remove("XDG_CONFIG_HOME").current_dir(world.mill.home());
    command
}

fn completed(world: &World, name: &str, node: &str) -> Result<(), Failed> {
    let mut terminal = Terminal::open()?;
    let mut child = terminal.run(&shell(world, name))?;
    terminal.type_keys(match name {
        "bash" => "source <(mill completions bash)\r",
        "zsh" => "autoload -Uz compinit; compinit -u -D; source <(mill completions zsh)\r",
        _ => "mill completions fish | source\r",
    })?;
    // What is shown is what the shell makes of it, not the line as it was typed.
    terminal.type_keys("echo rea''dy\r")?;
    terminal.shows("ready\r")?;
    for (typed, line) in COMPLETED {
        let line = line.replace("node-1", node);
        let typed = typed.replace("nod", node.get(..node.len() - 1).unwrap_or(node));
        // Ctrl-A goes to the beginning of the line, which then says itself.
        terminal.type_keys(&format!("{typed}\t\x01echo i''s: \r"))?;
        terminal.shows(&format!("is: {line}"))?;
    }
    let begun = Instant::now();
    terminal.type_keys("mill logs --socket /nothing we\t\x01echo i''s: \r")?;
    terminal.shows("is: mill logs --socket /nothing we")?;
    let took = begun.elapsed();
    expect(took < Duration::from_secs(5), "who doesn't answer isn't waited for", took)?;
    terminal.type_keys("exit\r")?;
    child.wait().map(drop).or_fail("waiting for the shell")
}

fn manual(world: &World) -> Result<(), Failed> {
    let folder = world.mill.home().join("man");
    let pages = folder.join("man1");
    world.mill.ok(&["man", &pages.display().to_string()])?;
    for page in ["mill", "mill-deploy", "mill-secret-set"] {
        let found = Tool::new("man").args(["-M", &folder.display().to_string(), "-w", page]).run()?;
        expect(found.trim() == pages.join(format!("{page}.1")).display().to_string(), page, &found)?;
    }
    std::fs::remove_dir_all(&folder).or_fail("removing the manual")
}
