//! A tour: a node, a service, an update, a bad update, and what can be seen of it all.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::guard::Guard;
use crate::house::House;
use crate::install;
use crate::shell::{About as _, Shell, Trouble, say};

/// What is deployed. Its image is the registry's at the usual port; another port is told by `--image`.
const CONFIG: &str = "config-examples/hello.kdl";
const PROJECT: &str = "hello";
const SERVICE: &str = "web";
const REGISTRY_PORT: u16 = 5000;

/// How long a part of the demo may take to come up, and to go away.
const UP_WITHIN: Duration = Duration::from_secs(30);
const GONE_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where the demo keeps everything that it makes.
struct Place {
    folder: PathBuf,
    mill: PathBuf,
}

impl Place {
    fn of(house: &House) -> Self {
        let folder =
            std::env::var_os("MILL_DEMO_DIR").map_or_else(|| house.target.join("demo"), PathBuf::from);
        Self { folder, mill: house.mill() }
    }

    fn mill(&self, args: &[&str]) -> Shell {
        Shell::new(&self.mill).args(args)
    }

    /// Starts a program that stays when this one ends, out of reach of the terminal's Ctrl-C.
    fn start(&self, name: &str, shell: Shell) -> Result<(), Trouble> {
        let log = self.log(name);
        let file = fs::File::create(&log).about(&log)?;
        let program = shell.shown().to_owned();
        let mut command = shell.command();
        command.stdin(Stdio::null()).stdout(file.try_clone().about(&log)?).stderr(file).process_group(0);
        command.spawn().map_err(|source| Trouble::CantRun { program, source }).map(drop)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }
}

pub(crate) fn run(house: &House) -> Result<(), Trouble> {
    install::must_be_root()?;
    say("── what this machine lacks is installed, and Mill is built");
    install::packages()?;
    house.build()?;
    let place = Place::of(house);
    if place.folder.exists() {
        say("── an earlier demo is taken down first");
        stop(house)?;
    }
    fs::create_dir_all(&place.folder).about(&place.folder)?;
    let guard = Guard::begin()?;
    let registry = start_registry(house, &place)?;
    start_node(&place)?;
    tour(house, &place, registry)?;
    guard.keep();
    farewell(&place);
    Ok(())
}

fn start_registry(house: &House, place: &Place) -> Result<SocketAddr, Trouble> {
    say("\n── a registry on the loopback, and a small image in it");
    let usual = TcpListener::bind((Ipv4Addr::LOCALHOST, REGISTRY_PORT));
    let listener = match usual {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).about(&place.folder)?,
    };
    let address = listener.local_addr().about(&place.folder)?;
    drop(listener);
    let (config, storage) = (place.folder.join("registry.yml"), place.folder.join("registry"));
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: \"{}\"}}}}\nhttp: {{addr: \"{address}\"}}\n",
        storage.display()
    );
    fs::write(&config, text).about(&config)?;
    place.start("registry", Shell::new("docker-registry").args(["serve"]).args([&config]))?;
    until("the registry", &place.log("registry"), || TcpStream::connect(address).is_ok())?;
    Shell::new(house.runner())
        .args(["images", "--registry", &address.to_string(), "--apps"])
        .args([house.apps()?])
        .args(["--folder"])
        .args([place.folder.join("images")])
        .run()?;
    say(&format!("{address}/hello has the tags v1, v2 and broken"));
    Ok(address)
}

fn start_node(place: &Place) -> Result<(), Trouble> {
    say("\n── a node: daemon and cluster in one command");
    let data = place.folder.join("mill");
    let shell = place.mill(&["dev", "--data-dir"]).args([&data]);
    say(&format!("$ {} &", shell.shown()));
    place.start("mill", shell)?;
    until("the node", &place.log("mill"), || place.mill(&["status"]).succeeds())
}

fn tour(house: &House, place: &Place, registry: SocketAddr) -> Result<(), Trouble> {
    let image = |tag: &str| format!("{SERVICE}={registry}/hello:{tag}");
    let config = house.top.join(CONFIG);
    let config = config.to_string_lossy();
    let deploy = |tag: &str| show(place, &["deploy", "-f", &config, "--image", &image(tag)]);

    say("\n── a deploy");
    succeed(deploy("v1")?)?;
    succeed(show(place, &["status"])?)?;
    curl(place, "v1")?;

    say("\n── an update: each new replica is healthy before an old one goes");
    succeed(deploy("v2")?)?;
    curl(place, "v2")?;

    say("\n── a bad update: it crashes, and the old version stays");
    let failed = deploy("broken")?;
    if failed {
        return Err(Trouble::Unexpected {
            what: "a broken version to be rolled back",
            seen: "a success".to_owned(),
        });
    }
    curl(place, "v2")?;
    succeed(show(place, &["history", PROJECT])?)?;

    say("\n── what it wrote, and what Mill is made of");
    succeed(show(place, &["logs", SERVICE, "-n", "5"])?)?;
    succeed(show(place, &["actors"])?)
}

/// Shows a command and what it prints; whether it succeeded.
fn show(place: &Place, args: &[&str]) -> Result<bool, Trouble> {
    let shell = place.mill(args);
    say(&format!("$ {}", shell.shown()));
    shell.status().map(|status| status.success())
}

fn succeed(good: bool) -> Result<(), Trouble> {
    if good {
        Ok(())
    } else {
        Err(Trouble::Unexpected { what: "that to succeed", seen: "a failure".to_owned() })
    }
}

/// Asks one healthy replica, and expects this version to answer.
fn curl(place: &Place, version: &str) -> Result<(), Trouble> {
    let services = place.mill(&["services", "--json"]).read()?;
    let address = first_address(&services);
    let address =
        address.ok_or(Trouble::Unexpected { what: "the address of a healthy replica", seen: services })?;
    say(&format!("$ curl http://{address}/"));
    let answer = get(address).about(Path::new(&format!("http://{address}/")))?;
    say(&answer);
    match answer.contains(&format!("hello from {version}")) {
        true => Ok(()),
        false => Err(Trouble::Unexpected { what: "the new version to answer", seen: answer }),
    }
}

/// The first `"address": "HOST:PORT"` in a JSON document.
fn first_address(json: &str) -> Option<SocketAddr> {
    let (_, rest) = json.split_once("\"address\"")?;
    rest.split('"').nth(1)?.parse().ok()
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&address, UP_WITHIN)?;
    connection.set_read_timeout(Some(UP_WITHIN))?;
    write!(connection, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map_or(answer.clone(), |(_, body)| body.trim_end().to_owned()))
}

fn until(what: &'static str, log: &Path, mut holds: impl FnMut() -> bool) -> Result<(), Trouble> {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > UP_WITHIN {
            return Err(Trouble::NotUp { what, log: log.to_owned() });
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn farewell(place: &Place) {
    let mill = place.mill.display();
    say(&format!(
        "
── it keeps running. What to try next:
  alias mill={mill}
  mill status
  mill logs {SERVICE} -f
  mill scale {SERVICE} 3
  mill rollback {PROJECT}
  mill events
  mill inspect {SERVICE}
  cargo demo stop        ends it and removes all that it made"
    ));
}

/// Ends what a demo left running and removes what it made. Nothing to do is no error.
pub(crate) fn stop(house: &House) -> Result<(), Trouble> {
    let place = Place::of(house);
    if !place.folder.exists() {
        say("no demo is there");
        return Ok(());
    }
    if place.mill(&["status"]).succeeds() {
        place.mill(&["undeploy", PROJECT, "--yes"]).succeeds();
    }
    for signal in ["TERM", "KILL"] {
        let begun = Instant::now();
        let own = processes_of(&place.folder, PROGRAMS);
        own.iter().for_each(|pid| kill(*pid, signal));
        while !processes_of(&place.folder, PROGRAMS).is_empty() && begun.elapsed() < GONE_WITHIN {
            thread::sleep(LOOK_EVERY);
        }
    }
    // Containers outlive their daemon, and so does a containerd of Mill's own.
    let data = place.folder.join("mill");
    if data.exists() && place.mill.exists() {
        let cleaned = place.mill(&["clean", "--yes", "--data", "--data-dir"]).args([&data]).succeeds();
        if !cleaned {
            say(&format!("not all is gone: `mill clean --data --data-dir {}` says what", data.display()));
        }
    }
    fs::remove_dir_all(&place.folder).about(&place.folder)?;
    say("the demo is gone");
    Ok(())
}

/// What a demo leaves running: registry, daemon and plane. What those started is Mill's own to find.
const PROGRAMS: &[&str] = &["docker-registry", "mill"];

/// Processes of these programs that name the demo's folder on their command line.
fn processes_of(folder: &Path, programs: &[&str]) -> Vec<u32> {
    let folder = folder.as_os_str().as_encoded_bytes();
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let names_it = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let is_one = programs.iter().any(|program| program.as_bytes() == name);
        is_one && line.windows(folder.len()).any(|window| window == folder)
    };
    pids.filter(names_it).collect()
}

fn kill(pid: u32, signal: &str) {
    // std can't send signals; the shell can
    Shell::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).succeeds();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_with_and_without_blanks() {
        let expected = "127.0.0.1:20001".parse().ok();
        for json in [
            r#"[{"endpoints":[{"port":"8080","address":"127.0.0.1:20001"}]}]"#,
            r#"[ { "endpoints": [ { "address": "127.0.0.1:20001" }, { "address": "127.0.0.1:20002" } ] } ]"#,
        ] {
            assert_eq!(first_address(json), expected);
        }
        assert_eq!(first_address(r#"[{"endpoints":[]}]"#), None);
    }

    #[test]
    fn a_process_is_found_by_the_folder_it_names() {
        let folder = std::env::temp_dir().join(format!("mill-xtask-{}", std::process::id()));
        let mut child = Shell::new("sh")
            .args(["-c", "read line; exit 0"])
            .args([&folder])
            .command()
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        until("the process", &folder, || processes_of(&folder, &["sh"]) == [child.id()]).unwrap();
        assert!(processes_of(&folder, PROGRAMS).is_empty(), "another program is left alone");
        kill(child.id(), "KILL");
        child.wait().unwrap();
        assert!(processes_of(&folder, &["sh"]).is_empty());
    }
}
