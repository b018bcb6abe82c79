//! A registry that lets in only whom it knows: credentials are given once, kept sealed, and used by every deploy and pull
//! (product.md §7).

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::registry::Registry;
use crate::harness::{Context as _, Failed, World};

pub(super) const LOGIN: Story =
    Story { name: "registry_login", pace: Pace::Brisk, tell: Tell::Node(registry_login) };

const LOCKED: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5001);
const PASSWORD: &str = "hunter2-5000";
/// `PASSWORD`, as htpasswd(1) writes it with bcrypt.
const HTPASSWD: &str = "ann:$2y$05$abcdefghijklmnopqrstuu6eBJreeWWI7.HKZAbcJlWinHP6Zdmky\n";

fn config(version: &str) -> String {
    format!(
        "project \"locked\"\nservice \"web\" {{\n image \"{LOCKED}/hello:{version}\"\n port 8080\n cpu 0.1\n memory \"32M\"\n}}\n"
    )
}

fn registry_login(world: &mut World) -> Result<(), Failed> {
    let folder = world.machine.folder.join("locked");
    fs::create_dir_all(&folder).or_fail("a folder for a registry")?;
    let _registry = Registry::locked(&folder, &world.machine.folder.join("registry"), LOCKED, HTPASSWD)?;
    let host = LOCKED.to_string();

    let refused = world.deploy(&config("v1"))?;
    let told = refused.err.contains("without credentials") && refused.err.contains("mill registry login");
    expect(refused.code == 1 && told, "who isn't known to it is told what to do", &refused)?;
    login(world, &host, "wrong-password")?;
    let refused = world.deploy(&config("v1"))?;
    expect(refused.code == 1 && refused.err.contains("as `ann`"), "a wrong password is refused", &refused)?;
    login(world, &host, PASSWORD)?;
    world.deploy_ok(&config("v1"))?;
    world.settled("locked", "web", 1)?;

    let listed = world.mill.json(&["registry", "list"])?;
    expect(listed.pointer("/0/user").and_then(Value::as_str) == Some("ann"), "it is listed", &listed)?;
    expect(!listed.to_string().contains(PASSWORD), "without its password", &listed)?;
    let data = world.node.data().to_owned();
    let holders = holding(PASSWORD, &data)?;
    expect(holders.is_empty(), "no file of the node holds the password", &holders)?;

    world.node.kill_daemon()?;
    world.node.ready()?;
    world.deploy_ok(&config("v2"))?;
    world.settled("locked", "web", 1)?;
    world.mill.ok(&["registry", "logout", &host])?;
    let refused = world.deploy(&config("broken"))?;
    let told = refused.err.contains("without credentials");
    expect(refused.code == 1 && told, "what was forgotten is shown no more", &refused)?;
    let again = world.mill.run(&["registry", "logout", &host])?;
    expect(again.code == 4 && again.err.contains("no credentials for"), "it is forgotten once", &again)
}

fn login(world: &World, host: &str, password: &str) -> Result<(), Failed> {
    let mill = world.mill.clone().with_env("MILL_REGISTRY_PASSWORD", password);
    let ran = mill.ok(&["registry", "login", host, "--user", "ann"])?;
    expect(!ran.all().contains(password), "the password is shown to nobody", &ran)
}

/// Files below `folder` with `text` in them.
fn holding(text: &str, folder: &Path) -> Result<Vec<std::path::PathBuf>, Failed> {
    let (mut found, mut folders) = (vec![], vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).or_fail("the node's data")?.filter_map(Result::ok) {
            let (path, kind) = (entry.path(), entry.file_type().or_fail("the node's data")?);
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let bytes = fs::read(&path).or_fail("the node's data")?;
                if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
                    found.push(path);
                }
            }
        }
    }
    Ok(found)
}
