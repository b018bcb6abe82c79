//! What Mill refuses, it refuses whole, with the reason, and is none the worse for it (product.md P10, P11).

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{Pace, Story, Tell};
use crate::harness::failed::expect;
use crate::harness::{Context as _, Failed, World};

pub(super) const CONFIGS: Story = Story { name: "bad_configs", pace: Pace::Brisk, tell: Tell::Node(configs) };
pub(super) const REQUESTS: Story =
    Story { name: "bad_requests", pace: Pace::Brisk, tell: Tell::Node(requests) };

const GOOD: &str = r#"project "shop"
service "web" {
    image IMAGE(hello:v1)
    port 3000
    replicas 1
    cpu 0.1
    memory "32M"
    health path="/health" interval="1s"
}
"#;

/// What must not change by being asked for nonsense.
fn state(world: &World) -> Result<(Value, Value), Failed> {
    world.settled("shop", "web", 1)?;
    let allocs = world.allocs("shop", "web")?;
    let ids: Vec<&Value> = allocs.iter().filter_map(|alloc| alloc.pointer("/id")).collect();
    Ok((serde_json::json!(ids), world.mill.json(&["history", "shop"])?))
}

/// The config crate's golden table of bad inputs.
fn golden() -> Result<Vec<std::path::PathBuf>, Failed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/config/golden");
    let entries = fs::read_dir(&folder).or_fail(format_args!("{}", folder.display()))?;
    let files = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut bad: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "kdl")).collect();
    bad.sort();
    Ok(bad)
}

/// Files of the table that are bad by what they are called or where they lie, which here is otherwise.
const BAD_ELSEWHERE: &[&str] =
    &["no-project-name.kdl", "no-project-name-in-directory.kdl", "project-renamed.kdl"];

fn configs(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(GOOD)?;
    let before = state(world)?;
    let bad = golden()?;
    expect(bad.len() >= 80, "a table of bad inputs", bad.len())?;
    for path in &bad {
        let path = path.to_str().or_fail("a path that is text")?;
        let name = path.rsplit('/').next().unwrap_or(path);
        // a plan may accept what can't be deployed yet; it only has to end in order
        let planned = world.mill.run(&["plan", "-f", path])?;
        expect((0..=4).contains(&planned.code), "a plan with an answer", (path, &planned))?;
        if BAD_ELSEWHERE.contains(&name) {
            continue;
        }
        let ran = world.mill.run(&["deploy", "-f", path])?;
        // some are right but for an image that no registry has: that was tried, so it is a failure
        let wanted = if ran.err.contains("error[no-digest]") { 1 } else { 2 };
        expect(ran.code == wanted, "it is refused before anything changes", (path, &ran))?;
        expect(ran.err.contains(name), "the complaint says in which file", (path, &ran))?;
        let json = world.mill.run(&["deploy", "-f", path, "--json"])?;
        let document =
            [&json.out, &json.err].into_iter().any(|text| serde_json::from_str::<Value>(text).is_ok());
        expect(json.code == wanted && document, "the same for programs", (path, &json))?;
    }
    expect(state(world)? == before, "nothing changed", &before)
}

/// Longest wait for the end of an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that begin a request and never end it.
const IDLERS: usize = 200;

/// Requests that make no sense, and what the answer may begin with; nothing: the connection may just be closed.
fn nonsense() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let post = |path: &str, body: &[u8]| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes();
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    vec![
        ("no HTTP", b"\x00\xff\xfe nonsense \r\n\r\n".to_vec(), &["HTTP/1.1 4", ""]),
        ("no such path", get("/v1/teapots"), &["HTTP/1.1 404"]),
        ("no such thing", get("/v1/inspect/nothing-here"), &["HTTP/1.1 404"]),
        ("a path that climbs", get("/v1/../../etc/passwd"), &["HTTP/1.1 4"]),
        ("broken percent signs", get("/v1/inspect/%zz%"), &["HTTP/1.1 4"]),
        ("a long path", get(&format!("/v1/inspect/{}", "a".repeat(60_000))), &["HTTP/1.1 4", ""]),
        (
            "a wrong method",
            b"BREW /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
            &["HTTP/1.1 4"],
        ),
        ("no body", post("/v1/deploys", b""), &["HTTP/1.1 4"]),
        ("no JSON", post("/v1/deploys", b"{"), &["HTTP/1.1 4"]),
        ("no UTF-8", post("/v1/deploys", b"{\"source\": \"\xff\"}"), &["HTTP/1.1 4"]),
        (
            "wrong types",
            post("/v1/deploys", b"{\"source\": 7, \"file\": [], \"default_project\": {}}"),
            &["HTTP/1.1 4"],
        ),
        ("deep nesting", post("/v1/deploys", &deep), &["HTTP/1.1 4"]),
        ("a large body", post("/v1/deploys", &vec![b' '; 64 << 20]), &["HTTP/1.1 4", ""]),
        (
            "a length that lies",
            b"POST /v1/deploys HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n{}"
                .to_vec(),
            &["HTTP/1.1 4", ""],
        ),
        (
            "many replicas",
            post("/v1/projects/shop/services/web/scale", b"{\"replicas\": 4294967295}"),
            &["HTTP/1.1 4"],
        ),
        (
            "fewer than none",
            post("/v1/projects/shop/services/web/scale", b"{\"replicas\": -1}"),
            &["HTTP/1.1 4"],
        ),
        ("an unknown project", post("/v1/projects/none/rollback", b"{}"), &["HTTP/1.1 404"]),
        ("an unknown deploy", post("/v1/deploys/999999/cancel", b"{}"), &["HTTP/1.1 404"]),
        ("an unknown actor", post("/v1/actors/restart", b"{\"path\": \"daemon/nobody\"}"), &["HTTP/1.1 404"]),
    ]
}

fn requests(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(GOOD)?;
    let before = state(world)?;
    let (daemon, restarts) = (world.node.daemon(), world.node.actor_restarts()?);
    for (what, request, allowed) in nonsense() {
        let answer = ask_socket(&request).or_fail(what)?;
        let right = allowed
            .iter()
            .any(|start| if start.is_empty() { answer.is_empty() } else { answer.starts_with(start) });
        expect(right, &format!("{what}: an answer like {allowed:?}"), first_line(&answer))?;
    }
    // the port speaks TLS to those with the cluster's CA; what doesn't is hung up on
    let mut plain = TcpStream::connect((Ipv4Addr::LOCALHOST, 4400)).or_fail("the API's port")?;
    plain.set_read_timeout(Some(PATIENCE)).or_fail("the API's port")?;
    plain.write_all(b"GET /v1/status HTTP/1.1\r\n\r\n").or_fail("the API's port")?;
    let mut answer = vec![];
    let ended = plain.read_to_end(&mut answer);
    let leaks = String::from_utf8_lossy(&answer).contains("services");
    expect(!leaks && !is_timeout(&ended), "plain HTTP gets no answer, and no wait", (&ended, answer.len()))?;

    let idlers: Result<Vec<UnixStream>, Failed> = (0..IDLERS).map(|_| begin_and_wait()).collect();
    let status = world.mill.ok(&["status"])?;
    expect(status.took < PATIENCE, "others are served while some dawdle", status.took)?;
    drop(idlers?);

    expect(state(world)? == before, "nothing changed", &before)?;
    expect(world.node.daemon() == daemon, "the daemon lives", daemon)?;
    let after = world.node.actor_restarts()?;
    expect(after == restarts, "no actor crashed over it", (restarts, after))
}

fn socket() -> Result<UnixStream, Failed> {
    let socket = UnixStream::connect("/run/mill/mill.sock").or_fail("the local socket")?;
    socket.set_read_timeout(Some(PATIENCE)).or_fail("the local socket")?;
    socket.set_write_timeout(Some(PATIENCE)).or_fail("the local socket")?;
    Ok(socket)
}

fn ask_socket(request: &[u8]) -> Result<String, Failed> {
    let mut socket = socket()?;
    // a server that has read enough may close before all is written
    let _ = socket.write_all(request);
    let mut answer = vec![];
    let ended = socket.read_to_end(&mut answer);
    expect(!is_timeout(&ended), "an answer, or the end of the connection", &ended)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn begin_and_wait() -> Result<UnixStream, Failed> {
    let mut socket = socket()?;
    socket.write_all(b"GET /v1/status HTTP/1.1\r\nHo").or_fail("the local socket")?;
    Ok(socket)
}

fn is_timeout(ended: &io::Result<usize>) -> bool {
    ended
        .as_ref()
        .is_err_and(|error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
}

fn first_line(answer: &str) -> &str {
    answer.lines().next().unwrap_or_default()
}
