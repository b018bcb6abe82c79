//! Secrets from `set` to a program, and nowhere else (product.md P8).

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::world::{SETTLES_WITHIN, endpoint};
use crate::harness::{Context as _, Failed, Look, World, http, processes, search, until};

pub(super) const SECRETS: Story =
    Story { name: "secrets", pace: Pace::Brisk, tell: Tell::Node(from_set_to_program) };

const REPLICAS: usize = 2;

/// Who may have values in its environment: the service's program, and the shell of its check.
const ENTITLED: [&str; 2] = ["/apps", "sh"];

/// Where the search must find a variable that isn't secret.
const PLAIN_IN: &[&str] = &["the replicated log", "/record", "the environment of process"];
/// Where it must find the name of a replica: with containerd, with runc, in Mill's log, in what the daemon logs.
const NAMED_IN: &[&str] = &["/meta.db", "/config.json", "the replicated log", "/mill.log"];

/// The check reads both: a program without its secrets never gets healthy.
fn config(version: &str, values: &Values) -> String {
    let plain = &values.plain;
    format!(
        r#"project "shop"
service "web" {{
    image IMAGE(apps:1)
    command "hello"
    port 3000
    replicas {REPLICAS}
    cpu 0.1
    memory "32M"
    env {{ VERSION "{version}"; PLAIN "{plain}"; TOKEN "key=${{secret(api.key)}}" }}
    secret "tls.key" path="/run/secrets/tls.key" owner="1000:1001" mode="0440"
    secret "api.key" path="/run/secrets/api.key"
    health interval="1s" timeout="10s" {{
        exec "sh" "-c" "test -n \"$TOKEN\" && test -s /run/secrets/tls.key"
    }}
    stop grace="3s" drain="1s"
}}
"#
    )
}

/// Values that no file of this machine held before: drawn now, long enough to be no accident.
struct Values {
    keys: Vec<String>,
    certificate: String,
    /// No secret: what a search must find.
    plain: String,
}

impl Values {
    fn draw() -> Result<Self, Failed> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).or_fail("the clock")?.as_nanos();
        let key = |number: u32| format!("story-{number}-{now:x}-{:x}", now.rotate_left(number * 17));
        Ok(Self { keys: (0..4).map(key).collect(), certificate: key(9), plain: key(11) })
    }

    fn key(&self, number: usize) -> Result<&str, Failed> {
        self.keys.get(number).map(String::as_str).or_fail("a value")
    }

    fn all(&self) -> Vec<&[u8]> {
        self.keys.iter().chain([&self.certificate]).map(|value| value.as_bytes()).collect()
    }
}

fn ids(allocs: &[Value]) -> Result<BTreeSet<String>, Failed> {
    allocs.iter().map(|alloc| alloc.text("/id").map(str::to_owned)).collect()
}

/// Waits until every replica answers with this key and the certificate; answers the replicas.
fn has(world: &World, values: &Values, key: &str) -> Result<Vec<Value>, Failed> {
    until("every replica has its secrets", SETTLES_WITHIN, || {
        let allocs = world.settled("shop", "web", REPLICAS)?;
        for alloc in &allocs {
            let at = endpoint(alloc)?;
            let (token, file) = (http::get(at, "/env/TOKEN")?, http::get(at, "/file/run/secrets/tls.key")?);
            let same = http::get(at, "/file/run/secrets/api.key")?;
            // No value is said: what fails is written to a file.
            if token.body != format!("key={key}") || file.body != values.certificate || same.body != key {
                return Ok(Look::No("another value than was set".to_owned()));
            }
        }
        Ok(Look::Yes(allocs))
    })
}

/// Where Mill, containerd and runc write; runc is handed what it executes by way of /tmp.
fn written(world: &World) -> [&Path; 4] {
    [&world.machine.folder, Path::new("/run"), Path::new("/tmp"), Path::new("/var/lib/mill")]
}

fn search(
    world: &World,
    values: &[&[u8]],
    roots: &[&Path],
    entitled: &[&str],
) -> Result<search::Found, Failed> {
    let since = &world.machine.folder.join("containerd.toml");
    search::traces(values, search::Places { roots, since, entitled })
}

/// Nothing of any value is anywhere but in the programs that it is for.
fn nowhere(world: &World, values: &Values, after: &str) -> Result<(), Failed> {
    let found = search(world, &values.all(), &written(world), &ENTITLED)?;
    expect(found.at.is_empty(), &format!("no trace of a value after {after}"), &found)
}

/// Nothing of any value is in any file of the machine that is younger than the story: minutes, where a disk is full of
/// files.
fn nowhere_at_all(world: &World, values: &Values) -> Result<(), Failed> {
    if !world.machine.long {
        return Ok(());
    }
    let found = search(world, &values.all(), &[Path::new("/")], &ENTITLED)?;
    expect(found.at.is_empty(), "no trace of a value on any disk", &found)
}

/// The same search finds what is known of the same program and isn't secret: a variable of its environment, its name.
fn seen_where_it_is_plain(world: &World, values: &Values, allocs: &[Value]) -> Result<(), Failed> {
    let roots = written(world);
    let name = allocs.first().or_fail("a replica")?.text("/id")?;
    for (plain, places) in [(values.plain.as_str(), PLAIN_IN), (name, NAMED_IN)] {
        let found = search(world, &[plain.as_bytes()], &roots, &[])?;
        for place in places {
            let seen = found.at.iter().any(|at| at.contains(place));
            expect(seen, &format!("the search sees {plain} in `{place}`"), &found)?;
        }
    }
    Ok(())
}

fn from_set_to_program(world: &mut World) -> Result<(), Failed> {
    let values = Values::draw()?;
    refused_before_it_is_set(world, &values)?;
    world.mill.feed(&["secret", "set", "api.key", "--project", "shop", "-"], values.key(0)?)?;
    let said = world.mill.feed(&["secret", "set", "tls.key", "--shared", "-"], &values.certificate)?;
    expect(said.out.contains("tls.key has version 1"), "setting says its version", &said)?;
    nowhere(world, &values, "set")?;

    world.deploy_ok(&config("v1", &values))?;
    let first = has(world, &values, values.key(0)?)?;
    is_held_as_told(world, &first)?;
    nowhere(world, &values, "a deploy")?;
    seen_where_it_is_plain(world, &values, &first)?;
    got_by_asking_only(world, &values)?;

    // Set anew: nothing that runs is touched, nor what is started again in its place.
    let said = world.mill.feed(&["secret", "set", "shop/api.key", "-"], values.key(1)?)?;
    expect(said.out.contains("shop/web (v1)"), "setting says who uses it", &said)?;
    crash(world)?;
    let after = has(world, &values, values.key(0)?)?;
    expect(ids(&after)? == ids(&first)?, "the same replicas, with what they had", (&first, &after))?;
    world.node.kill_daemon()?;
    world.node.ready()?;
    crash(world)?;
    has(world, &values, values.key(0)?)?;
    nowhere(world, &values, "a crash, kill -9 of the daemon, and another crash")?;

    // The next deploy brings it; a rollback brings the other back; a rotation in one go.
    world.deploy_ok(&config("v2", &values))?;
    has(world, &values, values.key(1)?)?;
    world.mill.ok(&["rollback", "shop"])?;
    has(world, &values, values.key(0)?)?;
    let said = world.mill.feed(&["secret", "set", "shop/api.key", "-", "--roll"], values.key(2)?)?;
    expect(said.out.contains("rolled shop/api.key out in shop"), "a roll says what it did", &said)?;
    has(world, &values, values.key(2)?)?;
    nowhere(world, &values, "a rollback and a rotation")?;

    kept_while_used(world)?;
    nothing_is_said(world, &values)?;
    nowhere_at_all(world, &values)?;
    world.mill.ok(&["undeploy", "shop", "--yes"])?;
    nowhere(world, &values, "the end")
}

/// Files are whose the config says, and nobody's to write, not even the program's.
fn is_held_as_told(world: &World, allocs: &[Value]) -> Result<(), Failed> {
    let script = "cd /run/secrets && stat -c '%n %u:%g %a' tls.key api.key; \
                  for key in tls.key api.key; do (echo x > $key) 2>/dev/null && echo written; done; exit 0";
    for alloc in allocs {
        let ran = world.mill.ok(&["exec", alloc.text("/id")?, "--", "/bin/sh", "-c", script])?;
        let right = ran.out == "tls.key 1000:1001 440\napi.key 0:0 400\n";
        expect(right, "owner and mode of the files, which can't be written", &ran)?;
    }
    Ok(())
}

fn refused_before_it_is_set(world: &World, values: &Values) -> Result<(), Failed> {
    for command in ["plan", "deploy"] {
        let file = world.write("mill.kdl", &config("v1", values))?;
        let ran = world.mill.run(&[command, "-f", &file])?;
        expect(ran.code == 2, "exit code 2", &ran)?;
        for says in ["there is no secret `api.key`", "there is no secret `tls.key`", "mill secret set"] {
            expect(ran.all().contains(says), &format!("the refusal says `{says}`"), &ran)?;
        }
    }
    Ok(())
}

fn crash(world: &World) -> Result<(), Failed> {
    let before = world.settled("shop", "web", REPLICAS)?;
    let incarnations = |allocs: &[Value]| -> Result<u64, Failed> {
        allocs.iter().map(|alloc| alloc.number("/incarnation")).sum()
    };
    processes::kill_9(processes::apps("hello").pop_first().or_fail("a server runs")?)?;
    let was = incarnations(&before)?;
    until("it was started again", SETTLES_WITHIN, || {
        let now = incarnations(&world.settled("shop", "web", REPLICAS)?)?;
        Ok(Look::at(now > was, (now, was)))
    })
}

fn got_by_asking_only(world: &World, values: &Values) -> Result<(), Failed> {
    let got = world.mill.ok(&["secret", "get", "shop/api.key"])?;
    // What it is isn't said: a failure is written to a file.
    expect(got.out == values.key(0)?, "`mill secret get` prints the value and nothing else", got.out.len())?;
    let list = world.mill.json(&["secret", "list"])?;
    expect(list.list("")?.len() == 2, "both are listed", &list)?;
    expect(list.is("/0/used_by/0/name", "web"), "with who uses them", &list)
}

fn kept_while_used(world: &World) -> Result<(), Failed> {
    let ran = world.mill.run(&["secret", "delete", "tls.key", "--yes"])?;
    expect(ran.code == 4 && ran.all().contains("`shop/web`"), "a used secret is kept", &ran)?;
    let history = world.mill.json(&["secret", "history", "shop/api.key"])?;
    expect(history.list("/versions")?.len() == 3, "each version is listed", &history)
}

/// Every answer that shows much.
fn nothing_is_said(world: &World, values: &Values) -> Result<(), Failed> {
    for args in [
        &["inspect", "web"][..],
        &["inspect", "shop"],
        &["events"],
        &["history", "shop"],
        &["secret", "list"],
        &["secret", "history", "shop/api.key"],
        &["logs", "web", "--all", "-n", "1000"],
        &["why", "web"],
        &["actors"],
        &["allocs", "--all"],
    ] {
        for json in [&[][..], &["--json"]] {
            let args = [args, json].concat();
            let said = world.mill.ok(&args)?.all();
            let told = values.keys.iter().chain([&values.certificate]).any(|value| said.contains(value));
            expect(!told, &format!("`mill {}` says no value", args.join(" ")), said.len())?;
        }
    }
    Ok(())
}
