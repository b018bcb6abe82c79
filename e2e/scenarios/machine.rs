//! The machine that stories are told on does what they lean on: shown by `ctr`, without Mill.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::{Pace, Story, Tell};
use crate::harness::containerd::{self, ctr};
use crate::harness::failed::expect;
use crate::harness::leaks::Held;
use crate::harness::{Context as _, Failed, Look, Machine, http, processes, space, until};

pub(super) const ITSELF: Story =
    Story { name: "a_machine_of_its_own", pace: Pace::Brisk, tell: Tell::Machine(itself) };

/// A container's program may take this long to listen.
const UP_WITHIN: Duration = Duration::from_secs(20);

fn itself(machine: &mut Machine) -> Result<(), Failed> {
    let interfaces = fs::read_to_string("/proc/net/dev").or_fail("/proc/net/dev")?;
    let names: Vec<&str> =
        interfaces.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    expect(names == ["lo"], "a network with a loopback only", &names)?;
    let before = Held::now(&machine.folder)?;

    let cgroup = format!("{}/hello", space::cgroup_parent()?);
    run(machine, "hello:v1", "hello", &["--env", "PORT=20100", "--cgroup", &cgroup])?;
    let answer = answers(20_100, "/version")?;
    expect(answer == "v1", "our program answers in its container", &answer)?;
    let told = before.differences(&Held::now(&machine.folder)?).concat();
    for kind in ["containers", "tasks", "snapshots", "cgroups", "mounts", "fifos", "ports"] {
        expect(
            told.contains(&format!(" {kind}, before ")),
            &format!("{kind} of a container are noticed"),
            &told,
        )?;
    }
    machine.containerd.kill_and_restart()?;
    containerd::ready()?;
    let answer = answers(20_100, "/version")?;
    expect(answer == "v1", "containers outlive containerd", &answer)?;

    run(machine, "nginx-light:debian", "nginx", &[])?;
    let page = answers(80, "/")?;
    expect(page.contains("Welcome to nginx"), "Debian's nginx serves its first page", &page)?;
    run(machine, "redis-server:debian", "redis", &[])?;
    until("Debian's redis answers", UP_WITHIN, || {
        ping().map(|answer| Look::at(answer == "+PONG\r\n+OK\r\n", answer))
    })?;

    for name in ["hello", "nginx", "redis"] {
        ctr(&["tasks", "kill", "--signal", "SIGKILL", name])?;
        until("its end", UP_WITHIN, || ctr(&["tasks", "delete", name]).map(Look::Yes))?;
        ctr(&["containers", "delete", name])?;
    }
    Held::comes_back(&before, &machine.folder)?;
    let shims = processes::all().into_iter().filter(|process| process.args.iter().any(|arg| arg == "hello"));
    expect(shims.count() == 0, "no process of a container is left", processes::all().len())?;
    expect(Path::new("/proc/1/exe").exists(), "the first process is ours", fs::read_link("/proc/1/exe"))
}

/// Pulls an image of the local registry and runs it on the machine's network.
fn run(machine: &Machine, image: &str, name: &str, options: &[&str]) -> Result<(), Failed> {
    let image = machine.image(image);
    ctr(&["images", "pull", "--plain-http", &image])?;
    ctr(&[&["run", "--detach", "--net-host"], options, &[&image, name]].concat()).map(drop)
}

fn answers(port: u16, path: &str) -> Result<String, Failed> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    until("an answer", UP_WITHIN, || http::get(address, path).map(|answer| Look::Yes(answer.body)))
}

fn ping() -> Result<String, Failed> {
    let mut redis = TcpStream::connect((Ipv4Addr::LOCALHOST, 6379)).or_fail("redis")?;
    redis.write_all(b"PING\r\nQUIT\r\n").or_fail("redis")?;
    let mut answer = String::new();
    redis.read_to_string(&mut answer).or_fail("redis")?;
    Ok(answer)
}
