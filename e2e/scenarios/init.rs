//! A cluster of a daemon that waited for it, and the way to it over TLS (product.md §7).

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::cli::{Mill, Ran};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::node::Node;
use crate::harness::processes;
use crate::harness::{Context as _, Failed, Machine};

pub(super) const INIT: Story =
    Story { name: "init_and_tls", pace: Pace::Brisk, tell: Tell::Machine(init_and_tls) };

const API: &str = "https://127.0.0.1:4400";

fn init_and_tls(machine: &mut Machine) -> Result<(), Failed> {
    let root = machine.mill.clone();
    let nobody = root.run(&["init"])?;
    expect(nobody.code == 3 && nobody.err.contains("mill daemon"), "init wants a daemon", &nobody)?;
    let mut node = Node::start_idle(&root, &machine.folder, "alpha")?;
    while_idle(&root)?;

    let token = made(&root, "alpha")?;
    node.ready()?;
    let again = root.run(&["init"])?;
    expect(
        again.code == 4 && again.err.contains("belongs to a cluster already"),
        "one cluster only",
        &again,
    )?;

    let laptop = root.of_another(&machine.folder.join("laptop"))?;
    over_tls(&root, &laptop, &token)?;
    wrong_ways(&laptop, &token, &machine.registry().to_string())?;
    token_stays_secret(&laptop.clone().with_env("MILL_TOKEN", &token), node.data(), &token)?;

    // Another cluster at the same address, as if somebody sat between.
    node.end()?;
    node.end_plane()?;
    let stranger = root.of_another(&machine.folder.join("stranger"))?;
    let _another = Node::start_idle(&stranger, &machine.folder, "beta")?;
    made(&stranger, "beta")?;
    for refused in [
        root.run(&["status", "--context", "alpha"])?,
        laptop.with_env("MILL_TOKEN", &token).run(&["status", "--addr", API])?,
    ] {
        let told = refused.err.contains("isn't the cluster that the token is for");
        expect(refused.code == 4 && told, "another cluster's certificate is refused", &refused)?;
        expect(refused.err.contains("hint: ") && refused.out.is_empty(), "with a hint", &refused)?;
    }
    Ok(())
}

/// A daemon that belongs to no cluster says so, and what to do, whatever it is asked.
fn while_idle(root: &Mill) -> Result<(), Failed> {
    for command in ["status", "nodes", "actors", "services"] {
        let refused = root.run(&[command])?;
        let told = refused.err.contains("belongs to no cluster") && refused.err.contains("`mill init`");
        expect(refused.code == 3 && told, "an idle daemon says what it waits for", &refused)?;
    }
    Ok(())
}

/// Makes a cluster; answers the admin token, which nobody else may read.
fn made(mill: &Mill, name: &str) -> Result<String, Failed> {
    let made = mill.ok(&["init", "--name", name, "--json"])?;
    let answer: Value = serde_json::from_str(&made.out).or_fail(&made.out)?;
    let token = answer.text("/admin_token")?.to_owned();
    expect(answer.is("/node", name) && answer.is("/url", API), "it says who and where", &made)?;
    expect(token.starts_with("mill_t_") && !made.err.contains(&token), "the token is an answer", &made)?;
    let contexts = mill.home().join(".config/mill/contexts.json");
    let kept = fs::read_to_string(&contexts).or_fail("the contexts")?;
    expect(kept.contains(&token), "the context has the token", &kept)?;
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&contexts).or_fail("the contexts")?);
    expect(mode & 0o777 == 0o600, "the context is its owner's only", format!("{mode:o}"))?;
    Ok(token)
}

/// By the context that `init` wrote, and from another home by address and token.
fn over_tls(root: &Mill, laptop: &Mill, token: &str) -> Result<(), Failed> {
    let local = root.json(&["status"])?;
    let by_context = root.json(&["status", "--context", "alpha"])?;
    let remote = laptop.clone().with_env("MILL_TOKEN", token);
    let by_address = remote.json(&["status", "--addr", API])?;
    for status in [&by_context, &by_address] {
        let same = status.text("/node")? == "alpha" && status.at("/leader")? == local.at("/leader")?;
        expect(same, "the same cluster over TLS", status)?;
    }
    let elsewhere = laptop.run(&["status", "--context", "alpha"])?;
    expect(elsewhere.code == 2, "another home has no such context", &elsewhere)?;
    let init = root.run(&["init", "--context", "alpha"])?;
    expect(init.code == 4 && init.err.contains("local socket only"), "no init from afar", &init)
}

fn wrong_ways(laptop: &Mill, token: &str, registry: &str) -> Result<(), Failed> {
    // another secret of the same cluster: all digits of the first part are others
    let (secret, ca) = token.rsplit_once('_').or_fail("a token with two parts")?;
    let other: String =
        secret.replace("mill_t_", "").chars().map(|c| if c == '0' { '1' } else { '0' }).collect();
    let wrong = format!("mill_t_{other}_{ca}");
    let plain = format!("https://{registry}");
    let http = API.replace("https", "http");
    let nowhere = "https://127.0.0.1:4499";
    for (what, token, address, code, says) in [
        ("a wrong token", Some(wrong.as_str()), API, 4, "the cluster knows no such token"),
        ("half a token", Some("mill_t_12"), API, 2, "the token can't be used"),
        ("no token", None, API, 2, "there is no token for"),
        ("a port that speaks no TLS", Some(token), plain.as_str(), 3, "doesn't speak TLS"),
        ("an address without TLS", Some(token), http.as_str(), 2, "isn't `https`"),
        ("an address where nobody is", Some(token), nowhere, 3, "can't be reached"),
    ] {
        let asking =
            token.map_or_else(|| laptop.clone(), |token| laptop.clone().with_env("MILL_TOKEN", token));
        for json in [false, true] {
            let args = if json {
                &["status", "--addr", address, "--json"][..]
            } else {
                &["status", "--addr", address]
            };
            let refused = asking.run(args)?;
            told(what, &refused, code, says, json)?;
        }
    }
    Ok(())
}

/// Refused with this code, in words and with a hint, and without an answer.
fn told(what: &str, refused: &Ran, code: i32, says: &str, json: bool) -> Result<(), Failed> {
    let expected = format!("{what}: {code}, `{says}` and a hint");
    if !json {
        let right = refused.code == code && refused.err.contains(says) && refused.err.contains("hint: ");
        return expect(right && refused.out.is_empty(), &expected, refused);
    }
    let answer: Value =
        serde_json::from_str(&refused.out).or_fail(format_args!("{what}: {}", refused.out))?;
    let same = answer.pointer("/error/exit_code") == Some(&code.into()) && refused.code == code;
    let hinted = answer.text("/error/hint").is_ok_and(|hint| !hint.is_empty());
    expect(same && hinted && refused.out.contains(says), &expected, refused)
}

/// Neither what `ps` shows nor what the node keeps and logs holds the token's secret.
fn token_stays_secret(remote: &Mill, data: &Path, token: &str) -> Result<(), Failed> {
    let follower = remote.begin(&["events", "-f", "--addr", API])?;
    follower.says("node_registered")?;
    let secret = token.split('_').nth(2).or_fail("a token with two parts")?;
    let shown = processes::all();
    expect(shown.iter().any(|process| process.pid.unsigned_abs() == follower.pid()), "ps shows it", &shown)?;
    let telling = shown.iter().find(|process| process.args.iter().any(|arg| arg.contains(secret)));
    expect(telling.is_none(), "no command line holds the token", telling)?;
    let bytes: Vec<u8> = (0..secret.len() / 2)
        .filter_map(|at| u8::from_str_radix(secret.get(2 * at..2 * at + 2)?, 16).ok())
        .collect();
    expect(bytes.len() == 20, "the secret is read", &bytes)?;
    let log = data.with_file_name("mill.log");
    for needle in [secret.as_bytes(), &bytes] {
        let holders = holding(needle, data)?;
        expect(holders.is_empty(), "no file of the node holds the token", holders)?;
        expect(!holds(&log, needle)?, "nor does its log", &log)?;
    }
    Ok(())
}

/// Files below `folder` with `needle` in them.
fn holding(needle: &[u8], folder: &Path) -> Result<Vec<std::path::PathBuf>, Failed> {
    let (mut found, mut looked) = (vec![], 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).or_fail("the node's data")?.filter_map(Result::ok) {
            let (path, kind) = (entry.path(), entry.file_type().or_fail("the node's data")?);
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                looked += 1;
                if holds(&path, needle)? {
                    found.push(path);
                }
            }
        }
    }
    expect(looked > 0, "the node has files", folder)?;
    Ok(found)
}

fn holds(file: &Path, needle: &[u8]) -> Result<bool, Failed> {
    let bytes = fs::read(file).or_fail(format_args!("{}", file.display()))?;
    Ok(bytes.windows(needle.len()).any(|window| window == needle))
}
