//! The API is what its description says, and its streams and writes outlive the daemon.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::node::Node;
use crate::harness::tool::Tool;
use crate::harness::until::let_pass;
use crate::harness::{Context as _, Failed, Look, Machine, World, until};

pub(super) const DESCRIBED: Story =
    Story { name: "api_as_described", pace: Pace::Brisk, tell: Tell::Machine(as_described) };
pub(super) const OUTLIVES: Story =
    Story { name: "streams_outlive_the_daemon", pace: Pace::Brisk, tell: Tell::Node(outlives) };

const API: &str = "https://127.0.0.1:4400";
const SOCKET: &str = "/run/mill/mill.sock";
/// Where the socket is reached by programs that speak only TCP.
const DOOR: &str = "127.0.0.1:4499";
/// Requests of each kind per route and door, and seconds for each door: the long form looks further.
const EXAMPLES: (&str, &str) = ("3", "200");
const SECONDS: (&str, &str) = ("15", "300");
const SEED: &str = "20261122";

/// What is held against the document. What a route accepts isn't: a pattern can't say all that a name must be.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method";

/// Streams that are followed have no end, and would be waited for.
const SETTINGS: &str = "[parameters]\n\"query.follow\" = false\n";

/// Holds every example of the document against its schema.
const EXAMINE: &str = r##"
import json, sys, jsonschema_rs
document = json.load(open(sys.argv[1]))
count, wrong = 0, []
def hold(schema, example, where):
    global count
    jsonschema_rs.meta.validate(schema)
    whole = dict(schema, components=document["components"])
    wrong.extend((where, error.message) for error in jsonschema_rs.Draft202012Validator(whole).iter_errors(example))
    count += 1
for path, item in document["paths"].items():
    for method, operation in item.items():
        bodies = [("request", operation.get("requestBody", {}))] + list(operation["responses"].items())
        for name, body in bodies:
            for kind, content in body.get("content", {}).items():
                examples = [content["example"]] if "example" in content else [e["value"] for e in content["examples"].values()]
                assert examples, (method, path, name)
                for example in examples:
                    hold(content["schema"], example, (method, path, name, kind))
print(*wrong, sep="\n") if wrong else print(count)
"##;

fn as_described(machine: &mut Machine) -> Result<(), Failed> {
    let mill = machine.mill.clone();
    let node = Node::start_idle(&mill, &machine.folder, "alpha")?;
    mill.ok(&["init", "--name", "alpha"])?;
    node.ready()?;
    let tools = tools()?;
    let image = machine.image("hello:v1");
    let config = machine.folder.join("shop.kdl");
    let text = format!(
        "project \"shop\"\nservice \"web\" {{\n image \"{image}\"\n port 8080\n cpu 0.1\n memory \"32M\"\n}}\n"
    );
    fs::write(&config, text).or_fail("a config")?;
    mill.ok(&["deploy", "-f", config.to_str().or_fail("a path that is text")?])?;

    let listener = TcpListener::bind(DOOR).or_fail("a door to the socket")?;
    thread::spawn(move || pass_on(&listener));

    let document = machine.folder.join("openapi.json");
    let fetched = Tool::new("curl").args(["--silent", "--fail", "--unix-socket", SOCKET]);
    let fetched = fetched.args(["http://mill/v1/openapi.json"]).run()?;
    let parsed: Value = serde_json::from_str(&fetched).or_fail("the document")?;
    expect(parsed.is("/openapi", "3.1.0"), "the document is OpenAPI 3.1", parsed.at("/info")?)?;
    fs::write(&document, &fetched).or_fail("the document")?;
    let script = machine.folder.join("examine.py");
    fs::write(&script, EXAMINE).or_fail("a script")?;
    let held = Tool::new(tools.join("python")).args([&script, &document]).run()?;
    let held: usize = held.trim().parse().or_fail(format_args!("examples hold: {held}"))?;
    expect(held > 100, "every example is what its schema says", held)?;

    let settings = machine.folder.join("schemathesis.toml");
    fs::write(&settings, SETTINGS).or_fail("settings")?;
    let folder = machine.folder.as_path();
    let tested =
        Tested { tools: &tools, folder, settings: &settings, document: &document, long: machine.long };
    tested.at(&format!("http://{DOOR}"), &[])?;
    // Not before: what is tested there revokes tokens.
    let made = mill.json(&["token", "create", "--role", "admin", "--name", "fuzz"])?;
    let authorization = format!("Authorization: Bearer {}", made.text("/token")?);
    let with_token = ["--header", &authorization, "--exclude-operation-id", "delete_tokens_token"];
    tested.at(API, &[&["--tls-verify", "false", "--rate-limit", "150/s"][..], &with_token].concat())?;
    node.ready()?;
    let asked = Tool::new("curl").args([
        "--silent",
        "--show-error",
        "--fail",
        "--insecure",
        "--max-time",
        "15",
        "--header",
    ]);
    let asked = asked.args([&authorization, &format!("{API}/v1/status")]).run();
    asked.or_fail("the token was good to the end: answers were no mere refusals")?;
    let services = mill.json(&["services"])?;
    expect(!services.is_null(), "the node answers", services)
}

/// The folder of the programs that look at the API: `cargo xtask install` puts them there.
fn tools() -> Result<PathBuf, Failed> {
    let home = || {
        std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/mill/tools/schemathesis-4.32.5"))
    };
    let folder = std::env::var_os("MILL_SCHEMATHESIS").map(PathBuf::from).or_else(home);
    let folder = folder.or_fail("a home")?.join("bin");
    expect(
        folder.join("schemathesis").exists(),
        "schemathesis is installed: `cargo xtask install`",
        &folder,
    )?;
    Ok(folder)
}

struct Tested<'a> {
    tools: &'a Path,
    folder: &'a Path,
    settings: &'a Path,
    document: &'a Path,
    long: bool,
}

impl Tested<'_> {
    /// Asks all kinds of things there, and holds every answer against the document.
    fn at(&self, url: &str, more: &[&str]) -> Result<(), Failed> {
        let pick = |short_and_long: (&'static str, &'static str)| {
            if self.long { short_and_long.1 } else { short_and_long.0 }
        };
        let tool = Tool::new(self.tools.join("schemathesis"))
            .args([
                "--config-file".as_ref(),
                self.settings.as_os_str(),
                "run".as_ref(),
                self.document.as_os_str(),
            ])
            .args(["--url", url, "--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--seed", SEED])
            .args(["--max-examples", pick(EXAMPLES), "--max-time", pick(SECONDS), "--request-timeout", "15"])
            // A connection that waits for its next request may be closed at the very moment of it (RFC 9112 §9.5).
            .args(["--request-retries", "2"])
            .args([
                "--continue-on-failure",
                "--no-color",
                "--warnings",
                "off",
                "--suppress-health-check",
                "all",
            ])
            .args(more)
            .within(self.folder);
        tool.run().map(drop)
    }
}

/// Passes connections on to the node's socket, for programs that speak only TCP.
fn pass_on(listener: &TcpListener) {
    for near in listener.incoming().flatten() {
        let Ok(far) = UnixStream::connect(SOCKET) else { continue };
        let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { continue };
        thread::spawn(move || upwards(near, far));
        thread::spawn(move || downwards(far_too, near_too));
    }
}

fn upwards(mut near: TcpStream, mut far: UnixStream) {
    let _ = io::copy(&mut near, &mut far);
    let _ = far.shutdown(Shutdown::Write);
}

fn downwards(mut far: UnixStream, mut near: TcpStream) {
    let _ = io::copy(&mut far, &mut near);
    let _ = near.shutdown(Shutdown::Both);
}

fn chatter(rate: u32) -> String {
    format!(
        "project \"talk\"\nservice \"chatter\" {{\n image IMAGE(apps:1)\n command \"chatter\"\n cpu 0.1\n memory \"32M\"\n env {{ RATE \"{rate}\" }}\n}}\n"
    )
}

/// Exit code of a command that reached no daemon.
const UNREACHABLE: i32 = 3;
/// Kills of the daemon.
const ROUNDS: u32 = 3;

/// Who follows events, logs or a deploy while the daemon is killed has missed nothing in the end, and nothing twice.
fn outlives(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(&chatter(50))?;
    world.settled("talk", "chatter", 1)?;
    let events = world.mill.begin(&["events", "-f", "--json"])?;
    let logs = world.mill.begin(&["logs", "-f", "--json", "chatter"])?;
    until("both streams have begun", crate::harness::world::SETTLES_WITHIN, || {
        let said = (events.said().contains("\"id\""), logs.said().contains("line "));
        Ok(Look::at(said.0 && said.1, said))
    })?;
    for round in 0..ROUNDS {
        let file = world.write("mill.kdl", &chatter(60 + round))?;
        let deploy = world.mill.begin(&["deploy", "-f", &file])?;
        let_pass(std::time::Duration::from_millis(u64::from(round) * 400));
        world.node.kill_daemon()?;
        let mut deploy = deploy.ended()?;
        let wanted = usize::try_from(round).or_fail("a round")? + 2;
        // One that hadn't reached the daemon says so, has begun nothing, and is asked for again. One that was lost on its
        // way has begun something: that is no excuse.
        if deploy.code == UNREACHABLE {
            world.node.ready()?;
            expect(deploys(world)? == wanted - 1, "nothing was begun", (round, &deploy))?;
            deploy = world.mill.run(&["deploy", "-f", &file])?;
        }
        expect(deploy.code == 0, "a deploy outlives the daemon", (round, &deploy))?;
        expect(deploys(world)? == wanted, "each was begun once", round)?;
    }
    let all = world.mill.json(&["events"])?;
    let last = all.as_array().and_then(|all| all.last()).or_fail("there are events")?.number("/id")?;
    until("the last event has come", crate::harness::world::SETTLES_WITHIN, || {
        let ids = numbers(&events.said(), "/id");
        Ok(Look::at(ids.last().is_some_and(|id| *id >= last), ids))
    })?;
    let ids = numbers(&events.said(), "/id");
    let right = ids.first().is_some_and(|first| ids.iter().copied().eq((*first..).take(ids.len())));
    expect(right, "every event came once, in order", &ids)?;
    expect(logs.said().matches("connection lost").count() >= 1, "the loss is said", ())?;
    lines_came_once(&logs.said())?;
    for stream in [events, logs] {
        stream.interrupt()?;
        let _ = stream.ended()?;
    }
    Ok(())
}

/// How many deploys the project has seen.
fn deploys(world: &World) -> Result<usize, Failed> {
    Ok(world.mill.json(&["history", "talk"])?.list("")?.len())
}

fn numbers(said: &str, pointer: &str) -> Vec<u64> {
    let values = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    values.filter_map(|value| value.pointer(pointer)?.as_u64()).collect()
}

/// Each alloc's program numbers its lines from 1: none of those that came is there twice, and none is left out.
fn lines_came_once(said: &str) -> Result<(), Failed> {
    let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let allocs: BTreeSet<&str> = lines.iter().filter_map(|line| line.pointer("/alloc")?.as_str()).collect();
    expect(!allocs.is_empty(), "lines came", lines.len())?;
    for alloc in allocs {
        let of_it = lines.iter().filter(|line| line.is("/alloc", alloc));
        let mut numbers: Vec<u64> = of_it
            .filter_map(|line| line.pointer("/text")?.as_str()?.strip_prefix("line ")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        let gaps: Vec<(u64, u64)> =
            numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).map(|pair| (pair[0], pair[1])).collect();
        expect(gaps.is_empty(), "every line came once", (alloc, gaps))?;
    }
    Ok(())
}
