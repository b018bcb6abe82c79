//! Files of a node in wrong hands: a copy without its keys, and keys that others could have read (product.md P8, §7).

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Pace, Story, Tell};
use crate::harness::cli::Mill;
use crate::harness::failed::expect;
use crate::harness::node::Node;
use crate::harness::search;
use crate::harness::tool::Tool;
use crate::harness::{Context as _, Failed, Machine};

pub(super) const STOLEN: Story =
    Story { name: "stolen_files", pace: Pace::Brisk, tell: Tell::Machine(stolen_files) };

/// What the secret is called: no secret.
const KEY: &str = "shared-api.key";

fn stolen_files(machine: &mut Machine) -> Result<(), Failed> {
    let root = machine.mill.clone();
    let mut node = Node::start_idle(&root, &machine.folder, "alpha")?;
    root.ok(&["init", "--name", "alpha"])?;
    node.ready()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).or_fail("the clock")?.as_nanos();
    let value = format!("stolen-{now:x}-{:x}", now.rotate_left(23));
    root.feed(&["secret", "set", KEY, "--shared", "-"], &value)?;
    let made = root.json(&["token", "create", "--role", "admin"])?;
    let token =
        made.pointer("/token").and_then(|token| token.as_str()?.split('_').nth(2)).or_fail("a token")?;

    node.end()?;
    node.end_plane()?;
    let thief = machine.folder.join("thief");
    Tool::new("cp").args(["--archive"]).args([node.data(), &thief]).run()?;
    fs::remove_dir_all(thief.join("keys")).or_fail("the copy's keys")?;
    let since = machine.folder.join("containerd.toml");
    let places = search::Places { roots: &[&thief], since: &since, entitled: &[] };
    let found = search::traces(&[value.as_bytes(), token.as_bytes()], places)?;
    expect(found.at.is_empty(), "the copy tells no secret and no token", &found)?;
    let known = search::traces(&[KEY.as_bytes()], places)?;
    let seen = known.at.iter().any(|at| at.starts_with("the replicated log"));
    expect(seen, "the same search sees what the secret is called", &known)?;
    refused(&root, &thief, "is missing", &thief.join("keys"))?;

    let keys = private_keys(node.data())?;
    expect(keys.len() == 3, "the keys of the CA, of the node, and of the cluster's secrets", &keys)?;
    for key in keys {
        for mode in [0o644, 0o640, 0o604] {
            set_mode(&key, mode)?;
            refused(&root, node.data(), &format!("can be read by others (mode {mode:o})"), &key)?;
        }
        set_mode(&key, 0o600)?;
        chown(&key, Some(1000), None).or_fail("a key's owner")?;
        refused(&root, node.data(), "belongs to", &key)?;
        chown(&key, Some(0), None).or_fail("a key's owner")?;
    }

    node.start_again()?;
    let kept = root.ok(&["secret", "get", KEY, "--shared"])?;
    expect(kept.out == value, "nothing is lost once the keys are the node's own again", kept.out.len())
}

/// A daemon on that directory ends at once, with what is wrong, where, and what to do.
fn refused(mill: &Mill, data: &Path, says: &str, place: &Path) -> Result<(), Failed> {
    let data = data.to_str().or_fail("a path that is text")?;
    let ran = mill.run(&["daemon", "--data-dir", data])?;
    let place = place.to_string_lossy();
    let told = ran.err.contains(says) && ran.err.contains(&*place) && ran.err.contains("hint: ");
    expect(ran.code != 0 && told, &format!("a daemon refuses {place}: {says}"), &ran)
}

/// All that a node keeps to itself.
fn private_keys(data: &Path) -> Result<Vec<PathBuf>, Failed> {
    let entries = fs::read_dir(data.join("keys")).or_fail("the keys")?;
    let mut keys: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "key"))
        .collect();
    keys.sort();
    Ok(keys)
}

fn set_mode(file: &Path, mode: u32) -> Result<(), Failed> {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).or_fail("a key's mode")
}
