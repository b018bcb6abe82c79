//! Who may do what, from end to end: tokens of each role, login and contexts, revocation, the audit log, and the way back
//! in when every token is lost (product.md §7).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::cli::{Mill, Ran};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::node::Node;
use crate::harness::{Context as _, Failed, Machine};

pub(super) const ROLES: Story =
    Story { name: "tokens_and_roles", pace: Pace::Brisk, tell: Tell::Machine(tokens_and_roles) };

const API: &str = "https://127.0.0.1:4400";

/// After fewer failed authentications an address is locked out.
const GUESSES_MAX: usize = 15;

fn tokens_and_roles(machine: &mut Machine) -> Result<(), Failed> {
    let root = machine.mill.clone();
    let node = Node::start_idle(&root, &machine.folder, "alpha")?;
    root.ok(&["init", "--name", "alpha"])?;
    node.ready()?;
    let laptop = root.of_another(&machine.folder.join("laptop"))?;
    let image = machine.image("hello:v1");
    for project in ["shop", "blog"] {
        let text = format!(
            "project \"{project}\"\nservice \"web\" {{\n image \"{image}\"\n port 8080\n cpu 0.1\n memory \"32M\"\n}}\n"
        );
        fs::write(laptop.home().join(format!("{project}.kdl")), text).or_fail("a config")?;
    }

    let viewer = made(&root, &["--role", "viewer", "--name", "ann"])?;
    let ci = made(&root, &["--role", "deployer", "--project", "shop", "--expires", "30d", "--name", "ci"])?;
    login(&laptop, "viewer", &viewer)?;
    login(&laptop, "ci", &ci)?;
    let ann = laptop.clone().with_env("MILL_CONTEXT", "viewer");
    let pipeline = laptop.clone().with_env("MILL_CONTEXT", "ci");

    pipeline.ok(&["deploy", "-f", "shop.kdl"])?;
    root.ok(&["deploy", "-f", &path_of(&laptop, "blog.kdl")?])?;
    held_to_its_role(&ann, &pipeline)?;
    contexts_are_their_owners(&laptop)?;
    root.ok(&["token", "revoke", "ci"])?;
    let refused = pipeline.run(&["status"])?;
    said(&refused, 4, "it was revoked", "a revoked token opens nothing")?;
    audited(&root, &[&viewer, &ci])?;
    way_back(&root, &laptop)?;
    locked_out(&laptop, &viewer)
}

/// Makes a token as root, over the node's socket; answers it.
fn made(root: &Mill, options: &[&str]) -> Result<String, Failed> {
    let made = root.json(&[&["token", "create"], options].concat())?;
    let token = made.text("/token")?.to_owned();
    expect(token.starts_with("mill_t_") && made.is("/created_by", "local"), "a token made by root", &made)?;
    Ok(token)
}

/// Logs in with a token from a file that only its owner can read.
fn login(mill: &Mill, name: &str, token: &str) -> Result<(), Failed> {
    let file = mill.home().join("token");
    fs::write(&file, format!("{token}\n")).or_fail("a token's file")?;
    let ran = mill.ok(&["login", API, "--name", name, "--token-file", "token"])?;
    fs::remove_file(file).or_fail("a token's file")?;
    expect(ran.out.contains(&format!("context `{name}` is in use")), "login says where it is", &ran)?;
    expect(!ran.all().contains(token), "login shows no token", &ran)
}

fn path_of(mill: &Mill, name: &str) -> Result<String, Failed> {
    mill.home().join(name).to_str().map(str::to_owned).or_fail("a path that is text")
}

fn said(ran: &Ran, code: i32, words: &str, what: &str) -> Result<(), Failed> {
    let right = ran.code == code && ran.err.contains(words) && ran.err.contains("hint: ");
    expect(right && ran.out.is_empty(), what, ran)
}

fn held_to_its_role(ann: &Mill, pipeline: &Mill) -> Result<(), Failed> {
    let seen = |mill: &Mill| -> Result<Vec<String>, Failed> {
        let services = mill.json(&["services"])?;
        let services = services.as_array().map(Vec::as_slice).unwrap_or_default();
        services.iter().map(|service| service.text("/project").map(str::to_owned)).collect()
    };
    expect(seen(ann)? == ["blog", "shop"], "a viewer sees every project", seen(ann)?)?;
    expect(seen(pipeline)? == ["shop"], "a deployer of one sees one", seen(pipeline)?)?;
    for (mill, args, words) in [
        (ann, &["deploy", "-f", "shop.kdl"][..], "token `ann` may not do this"),
        (ann, &["scale", "shop/web", "2"], "its role is viewer"),
        (ann, &["token", "list"], "is for admins"),
        (pipeline, &["deploy", "-f", "blog.kdl"], "this is about `blog`"),
        (pipeline, &["token", "create", "--role", "admin"], "is for admins"),
        (pipeline, &["events", "--audit"], "is for admins"),
        (pipeline, &["logs", "blog/web"], "blog"),
        (pipeline, &["actors"], "that isn't held to some projects"),
    ] {
        said(&mill.run(args)?, 4, words, &format!("`mill {}` is refused", args.join(" ")))?;
    }
    let left = ann.json(&["services"])?;
    let all = left.as_array().map(Vec::as_slice).unwrap_or_default();
    let healthy: Result<Vec<u64>, Failed> = all.iter().map(|service| service.number("/healthy")).collect();
    expect(healthy? == [1, 1], "what was refused changed nothing", left)?;
    ann.ok(&["logs", "blog/web", "-n", "1"])?;
    ann.ok(&["events", "-n", "3"]).map(drop)
}

fn contexts_are_their_owners(laptop: &Mill) -> Result<(), Failed> {
    let list = laptop.ok(&["context", "list"])?;
    expect(list.out.contains("ci") && list.out.contains("viewer"), "both contexts are there", &list)?;
    let shown = laptop.ok(&["context", "show", "ci"])?;
    expect(shown.out.contains(API) && !shown.out.contains("mill_t_"), "a context shows no token", &shown)?;
    laptop.ok(&["context", "use", "viewer"])?;
    let file = laptop.home().join(".config/mill/contexts.json");
    set_mode(&file, 0o644)?;
    said(
        &laptop.run(&["status", "--context", "viewer"])?,
        2,
        "others than its owner may read it",
        "an open file is refused",
    )?;
    set_mode(&file, 0o600)
}

fn set_mode(file: &Path, mode: u32) -> Result<(), Failed> {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).or_fail("the contexts' mode")
}

/// Whoever guesses is told to wait; whoever was let in before isn't.
fn locked_out(laptop: &Mill, viewer: &str) -> Result<(), Failed> {
    let (_, ca) = viewer.rsplit_once('_').or_fail("a token with two parts")?;
    let wrong = laptop.clone().with_env("MILL_TOKEN", &format!("mill_t_{}_{ca}", "0".repeat(40)));
    let mut last = wrong.run(&["status", "--addr", API])?;
    for _ in 1..GUESSES_MAX {
        if last.code == 3 {
            break;
        }
        said(&last, 4, "the cluster knows no such token", "a guess is refused")?;
        last = wrong.run(&["status", "--addr", API])?;
    }
    said(&last, 3, "too many authentications from this address have failed", "who guesses is locked out")?;
    laptop.ok(&["status", "--context", "viewer"]).map(drop)
}

/// Every write that was done is there, with who did it, and nothing that proves who they are.
fn audited(root: &Mill, tokens: &[&str]) -> Result<(), Failed> {
    let audit = root.json(&["events", "--audit"])?;
    let records = audit.as_array().map(Vec::as_slice).unwrap_or_default();
    let has = |token: &str, from: &str, what: &str, made: &str| {
        let is = |record: &&Value| {
            record.is("/token", token)
                && record.is("/from", from)
                && record.is("/what", what)
                && record.pointer("/made").and_then(Value::as_str).unwrap_or_default() == made
        };
        records.iter().any(|record| is(&record))
    };
    for (token, from, what, made) in [
        ("local", "local socket", "POST /v1/tokens", "token ci: deployer of shop"),
        ("ci", "127.0.0.1", "POST /v1/deploys", "deploy #1 of shop"),
        ("local", "local socket", "POST /v1/deploys", "deploy #2 of blog"),
        ("local", "local socket", "DELETE /v1/tokens/ci", ""),
    ] {
        expect(has(token, from, what, made), &format!("a record of {what} by {token}"), &audit)?;
    }
    expect(!records.iter().any(|record| record.is("/token", "ann")), "nothing that was refused", &audit)?;
    let text = audit.to_string();
    let shown =
        tokens.iter().any(|token| token.split('_').nth(2).is_some_and(|secret| text.contains(secret)));
    expect(!shown, "no token", &audit)
}

/// The last admin token is lost: who is root on the node makes another.
fn way_back(root: &Mill, laptop: &Mill) -> Result<(), Failed> {
    let by_token = root.clone().with_env("MILL_CONTEXT", "alpha");
    said(&by_token.run(&["token", "revoke", "init"])?, 4, "last admin token", "it isn't revoked from afar")?;
    root.ok(&["token", "revoke", "init"])?;
    said(&by_token.run(&["status"])?, 4, "it was revoked", "nor is it good for anything after that")?;
    let again = root.run(&["init"])?;
    said(&again, 4, "mill token create --role admin", "init says how to come in again")?;
    let admin = made(root, &["--role", "admin"])?;
    login(laptop, "admin", &admin)?;
    let tokens = laptop.json(&["token", "list"])?;
    let names: Vec<&Value> =
        tokens.as_array().into_iter().flatten().filter_map(|token| token.get("name")).collect();
    expect(names == ["ann", "admin-1"], "these are the tokens", &tokens)?;
    laptop.ok(&["logout"])?;
    let gone = laptop.run(&["status", "--context", "admin"])?;
    expect(gone.code == 2, "who logged out has no context", &gone)
}
