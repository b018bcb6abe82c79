//! Mapped ports in the kernel: any image, unmodified, in any number on one node (product.md §4); and the same node where
//! the kernel can't.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::containerd;
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::processes;
use crate::harness::world::{ADDRESS, SETTLES_WITHIN, endpoint};
use crate::harness::{Context as _, Failed, Look, World, http, until};

pub(super) const PORTS: Story =
    Story { name: "mapped_ports", pace: Pace::Brisk, tell: Tell::Addressed(ports) };
pub(super) const NO_BPF: Story = Story { name: "no_bpf", pace: Pace::Brisk, tell: Tell::Unmapped(no_bpf) };

const POOL: std::ops::RangeInclusive<u16> = 20_000..=29_999;
const REPLICAS: usize = 3;
/// It is looked for as soon as it is healthy.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Debian's nginx as its packages are set up: a listener for IPv4 and one for IPv6 alone; one for both; one for IPv6 alone.
/// Debian's redis, which listens on loopback addresses only, asked by its own client on localhost. Debian's
/// postgres, asked likewise. A program with a port over UDP. A program that will be told to bind two more ports than it declares.
const CONFIG: &str = r#"project "ports"
service "nginx" {
    image IMAGE(nginx-light:debian)
    port 80
    replicas 3
    cpu 0.05
    memory "48M"
    health path="/" interval="1s"
}
service "dual" {
    image IMAGE(nginx-light:debian)
    command "-c" "/etc/nginx/dual.conf" "-g" "daemon off;"
    port 80
    replicas 3
    cpu 0.05
    memory "48M"
    health path="/" interval="1s"
}
service "six" {
    image IMAGE(nginx-light:debian)
    command "-c" "/etc/nginx/v6only.conf" "-g" "daemon off;"
    port 80
    replicas 3
    cpu 0.05
    memory "48M"
    health path="/" interval="1s"
}
service "redis" {
    image IMAGE(redis-server:debian)
    port 6379
    replicas 3
    cpu 0.05
    memory "48M"
    health exec="redis-cli -e -h localhost -p 6379 ping" interval="1s"
}
service "postgres" {
    image IMAGE(postgresql:debian)
    port 5432
    replicas 3
    cpu 0.2
    memory "256M"
    health exec="/usr/local/pgsql/bin/pg_isready -h localhost -p 5432" interval="1s"
}
service "echo" {
    image IMAGE(apps:1)
    command "udp-echo"
    port 5353 protocol="udp"
    replicas 3
    cpu 0.05
    memory "32M"
}
service "three" {
    image IMAGE(apps:1)
    command "hello"
    port 8080
    replicas 3
    cpu 0.05
    memory "32M"
    health path="/health" interval="1s"
}
"#;

const SERVICES: [&str; 7] = ["nginx", "dual", "six", "redis", "postgres", "echo", "three"];

fn ports(world: &mut World) -> Result<(), Failed> {
    let held = world.held()?;
    let reserved = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports");
    let reserved = reserved.or_fail("the reserved ports")?;
    expect(reserved.trim() == "20000-29999", "the pool is reserved", &reserved)?;
    expect(finding(world)?.is("/level", "ok"), "doctor says that the kernel maps ports", finding(world)?)?;
    world.deploy_ok(CONFIG)?;
    let runs = runs(world)?;
    all_answer(world)?;
    side_ports(world, 9001)?;

    world.node.kill_plane()?;
    world.node.kill_daemon()?;
    // Nobody is needed for what is mapped: asked before the new daemon can be up.
    all_answer_at(&places(&runs)?)?;
    world.node.ready()?;
    all_answer(world)?;
    side_ports(world, 9101)?;
    let now = self::runs(world)?;
    expect(ids(&now)? == ids(&runs)?, "no container was restarted", (&now, &runs))?;

    refusals(world)?;
    crash(world)?;

    world.mill.ok(&["undeploy", "ports", "--yes"])?;
    world.holds_again(&held)
}

/// The living allocs of all services, each healthy.
fn runs(world: &World) -> Result<Vec<(&'static str, Vec<Value>)>, Failed> {
    SERVICES.into_iter().map(|name| Ok((name, world.settled("ports", name, REPLICAS)?))).collect()
}

fn ids(runs: &[(&str, Vec<Value>)]) -> Result<BTreeSet<(String, u64)>, Failed> {
    let allocs = runs.iter().flat_map(|(_, allocs)| allocs);
    allocs.map(|alloc| Ok((alloc.text("/id")?.to_owned(), alloc.number("/incarnation")?))).collect()
}

/// Where each alloc's port is, save those that speak IPv6 alone: theirs is seen, not known.
fn places(runs: &[(&'static str, Vec<Value>)]) -> Result<Vec<(&'static str, SocketAddr)>, Failed> {
    let of = |(name, allocs): &(&'static str, Vec<Value>)| {
        let name = *name;
        allocs.iter().map(move |alloc| Ok((name, endpoint(alloc)?))).collect::<Vec<_>>()
    };
    runs.iter().filter(|(name, _)| *name != "six").flat_map(of).collect()
}

/// Every replica of every service, where Mill says that it is.
fn all_answer(world: &World) -> Result<(), Failed> {
    for service in SERVICES {
        let found = until(&format!("{service} is seen where it is"), SEEN_WITHIN, || {
            let services = world.mill.json(&["services"])?;
            let all = services.as_array().into_iter().flatten();
            let of_it = all.filter(|one| one["name"] == service).flat_map(|one| one["endpoints"].as_array());
            let addresses: BTreeSet<SocketAddr> =
                of_it.flatten().filter_map(|one| one["address"].as_str()?.parse().ok()).collect();
            let wanted = |at: &SocketAddr| {
                POOL.contains(&at.port())
                    && match at.ip() {
                        IpAddr::V4(_) => service != "six" && at.ip().to_string() == ADDRESS,
                        IpAddr::V6(v6) => service == "six" && v6.to_string().starts_with("fd6d:696c:6c"),
                    }
            };
            match addresses.len() == REPLICAS && addresses.iter().all(wanted) {
                true => Ok(Look::Yes(addresses)),
                false => Ok(Look::No(format!("{addresses:?}"))),
            }
        })?;
        let found: Vec<_> = found.into_iter().map(|address| (service, address)).collect();
        all_answer_at(&found)?;
    }
    Ok(())
}

fn all_answer_at(places: &[(&str, SocketAddr)]) -> Result<(), Failed> {
    for (service, address) in places {
        match *service {
            "redis" => {
                let mut redis = TcpStream::connect(address).or_fail("redis")?;
                // It wants no strangers without a password: what it says then is its own word too.
                redis.write_all(b"PING\r\nQUIT\r\n").or_fail("redis")?;
                let mut answer = String::new();
                let _ = redis.read_to_string(&mut answer);
                let is_its = answer.starts_with("+PONG") || answer.starts_with("-DENIED Redis");
                expect(is_its, "redis answers", &answer)?;
            }
            "postgres" => {
                let answer = ask_postgres(*address).or_fail(format_args!("postgres at {address}"))?;
                expect(answer == "42", "postgres counts", &answer)?;
            }
            "echo" => {
                let socket = UdpSocket::bind((ADDRESS, 0)).or_fail("a socket")?;
                socket.set_read_timeout(Some(ANSWERS_WITHIN)).or_fail("a socket")?;
                socket.send_to(b"hello", address).or_fail("a datagram")?;
                let (_, from) = socket.recv_from(&mut [0; 16]).or_fail(format_args!("echo at {address}"))?;
                expect(from == *address, "the echo comes from where it was asked", (from, address))?;
            }
            "three" => {
                let answer = http::get(*address, "/env/PORT")?;
                expect(answer.body == "8080", "PORT is the declared port", &answer)?;
            }
            _ => {
                let page = http::get(*address, "/")?;
                expect(page.body.contains("Welcome to nginx"), "nginx serves its first page", &page)?;
            }
        }
    }
    Ok(())
}

/// What it says to `SELECT 6 * 7` (PostgreSQL's documentation, "Frontend/Backend Protocol").
fn ask_postgres(address: SocketAddr) -> io::Result<String> {
    let mut postgres = TcpStream::connect(address)?;
    postgres.set_read_timeout(Some(ANSWERS_WITHIN))?;
    let length = |body: &[u8]| u32::try_from(body.len() + 4).unwrap_or_default().to_be_bytes();
    let (hello, query) = (b"\0\x03\0\0user\0postgres\0database\0postgres\0\0", b"SELECT 6 * 7\0");
    postgres.write_all(&[&length(hello)[..], hello, b"Q", &length(query), query].concat())?;
    loop {
        let mut head = [0; 5];
        postgres.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let mut body = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4)];
        postgres.read_exact(&mut body)?;
        match kind {
            // one column: how many there are, how long it is, and it
            b'D' => return Ok(String::from_utf8_lossy(body.get(6..).unwrap_or_default()).into_owned()),
            b'E' => return Err(io::Error::other(String::from_utf8_lossy(&body).into_owned())),
            _ => {}
        }
    }
}

/// Ports that no config declares: each replica its own, and nobody else's.
fn side_ports(world: &World, port: u16) -> Result<(), Failed> {
    let allocs = world.settled("ports", "three", REPLICAS)?;
    for alloc in &allocs {
        // RabbitMQ's lies in the pool.
        for bound in
            [format!("0.0.0.0:{port}"), format!("[::]:{}", port + 1), format!("127.0.0.1:{}", port + 16_571)]
        {
            let came = tries(alloc, &format!("bind/{bound}"))?;
            expect(came == bound, "an undeclared port is bound by all", &came)?;
        }
        for own in [format!("127.0.0.1:{port}"), format!("[::1]:{}", port + 1), "127.0.0.1:8080".to_owned()] {
            let came = tries(alloc, &format!("connect/{own}"))?;
            expect(came == own, "localhost is its own", &came)?;
        }
    }
    for host in ["127.0.0.1", ADDRESS] {
        let reached = TcpStream::connect((host, port));
        expect(reached.is_err(), "an undeclared port isn't reached", &reached)?;
    }
    Ok(())
}

/// One that crashes is mapped again, to the same port.
fn crash(world: &World) -> Result<(), Failed> {
    let [one, ..] = world.settled("ports", "three", REPLICAS)?.try_into().or_fail_three()?;
    let (id, incarnation) = (one.text("/id")?, one.number("/incarnation")?);
    processes::kill_9(containerd::pid_of(&format!("{id}.{incarnation}"))?)?;
    until("another run of it is healthy", SETTLES_WITHIN, || {
        let allocs = world.settled("ports", "three", REPLICAS)?;
        let again = allocs.iter().find(|alloc| alloc.is("/id", id)).cloned().or_fail("the same alloc")?;
        Ok(Look::at(again.number("/incarnation")? > incarnation, again))
    })?;
    let answer = http::get(endpoint(&one)?, "/env/PORT")?;
    expect(answer.body == "8080", "it answers where it did", &answer)
}

/// Each refusal, seen by a program.
fn refusals(world: &World) -> Result<(), Failed> {
    let [one, other, ..] = world.settled("ports", "three", REPLICAS)?.try_into().or_fail_three()?;
    let theirs = endpoint(&other)?.port();
    for (tried, wanted) in [
        (format!("bind/{ADDRESS}:{theirs}"), "PermissionDenied"),
        (format!("bind/{ADDRESS}:4400"), "PermissionDenied"),
        ("bind/10.9.9.9:80".to_owned(), "PermissionDenied"),
        // The story's registry, and the API: the node's own.
        ("connect/127.0.0.1:5000".to_owned(), "ConnectionRefused"),
        ("connect/127.0.0.1:4400".to_owned(), "ConnectionRefused"),
        ("connect/[::1]:5000".to_owned(), "ConnectionRefused"),
        ("connect/169.254.169.254:80".to_owned(), "PermissionDenied"),
    ] {
        let came = tries(&one, &tried)?;
        expect(came == wanted, &format!("{tried} is refused"), &came)?;
    }
    let came = tries(&one, &format!("connect/{ADDRESS}:{theirs}"))?;
    expect(came == format!("{ADDRESS}:{theirs}"), "another's mapped port is there for all", &came)
}

/// Has a program of `three` try something.
fn tries(alloc: &Value, what: &str) -> Result<String, Failed> {
    Ok(http::get(endpoint(alloc)?, &format!("/try/{what}"))?.body)
}

/// What doctor says of mapped ports.
fn finding(world: &World) -> Result<Value, Failed> {
    let report = world.mill.json(&["doctor"])?;
    let found = report.list("/findings")?.iter().find(|one| one.is("/check", "mapped ports")).cloned();
    found.or_fail(format_args!("no finding about mapped ports in {report}"))
}

trait Three {
    fn or_fail_three(self) -> Result<[Value; 3], Failed>;
}

impl Three for Result<[Value; 3], Vec<Value>> {
    fn or_fail_three(self) -> Result<[Value; 3], Failed> {
        self.map_err(|allocs| Failed::because(format!("three allocs, not {}", allocs.len())))
    }
}

fn web(greeting: &str) -> String {
    format!(
        r#"project "plain"
service "web" {{
    image IMAGE(hello:v1)
    port 8080
    replicas 2
    cpu 0.1
    memory "32M"
    env {{ GREETING "{greeting}" }}
    health path="/health" interval="1s"
}}
"#
    )
}

fn no_bpf(world: &mut World) -> Result<(), Failed> {
    let warned = |world: &World| -> Result<bool, Failed> {
        let status = world.mill.json(&["status"])?;
        Ok(status.list("/warnings")?.iter().any(|one| one.to_string().contains("maps no ports")))
    };
    expect(warned(world)?, "status says that the kernel maps no ports", world.mill.json(&["status"])?)?;
    let found = finding(world)?;
    let told = found.is("/level", "warn") && found.text("/what")?.contains("$PORT");
    expect(told, "doctor says it with its reason", &found)?;
    let held = world.held()?;
    world.deploy_ok(&web("mapped by itself"))?;
    let before = told_ports(world, true)?;

    // A kernel that can, from now on: what runs is left alone.
    world.node.let_bpf(true);
    world.node.kill_daemon()?;
    world.node.ready()?;
    let after = told_ports(world, true)?;
    expect(after == before, "what ran before runs on as it was", (&after, &before))?;
    expect(!warned(world)?, "status has nothing to say any more", world.mill.json(&["status"])?)?;
    expect(finding(world)?.is("/level", "ok"), "nor has doctor", finding(world)?)?;
    world.deploy_ok(&web("mapped by the kernel"))?;
    let mapped = told_ports(world, false)?;

    // And one that can't again: what is mapped stays so.
    world.node.let_bpf(false);
    world.node.kill_daemon()?;
    world.node.ready()?;
    let still = told_ports(world, false)?;
    expect(still == mapped, "what was mapped stays mapped", (&still, &mapped))?;
    world.deploy_ok(&web("mapped by itself again"))?;
    told_ports(world, true)?;
    world.node.let_bpf(true);
    world.node.kill_daemon()?;
    world.node.ready()?;
    world.mill.ok(&["undeploy", "plain", "--yes"])?;
    world.holds_again(&held)
}

/// Both replicas answer at their mapped ports, and were told these, or the declared one. Which runs they are.
fn told_ports(world: &World, told_mapped: bool) -> Result<BTreeSet<(String, u64)>, Failed> {
    let allocs = world.settled("plain", "web", 2)?;
    for alloc in &allocs {
        let at = endpoint(alloc)?;
        let told = http::get(at, "/env/PORT")?.body;
        let wanted = if told_mapped { at.port() } else { 8080 };
        expect(told == wanted.to_string(), "PORT is what it can bind", (&told, at))?;
    }
    ids(&[("web", allocs)])
}
