//! A plane as a real process: killed at any moment, and weighed.
//!
//! The plane's process is this test program again, told by its environment to be a plane.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mill_drivers::logs::{FileLogs, Logs as _, Query, Stream, StreamName};
use mill_model::{AllocId, Incarnation, Timestamp};
use mill_rpc::v1;
use mill_rpc::v1::plane_client::PlaneClient;
use tonic::transport::{Channel, Endpoint};

use super::*;

/// Names the directory of the plane that this process is to be.
const BE_A_PLANE: &str = "MILL_TEST_PLANE_DIRECTORY";

fn logs(node: &Path) -> FileLogs {
    FileLogs::new(node.join("allocs"), Arc::new(|| Timestamp(1)), Duration::from_millis(1))
}

/// In the plane's process: is a plane, until it is killed.
fn be_a_plane_if_told() {
    let Some(node) = std::env::var_os(BE_A_PLANE) else { return };
    let node = PathBuf::from(node);
    let config = Config { data: node.join("plane"), socket: node.join("plane.sock") };
    runtime(&Tempo::default()).unwrap().block_on(async {
        let plane = start(config, logs(&node), Arc::new(Tempo::default())).await.unwrap();
        panic!("the plane ended: {:?}", plane.ended().await);
    });
}

/// A process, killed when the test is done with it.
struct Killed(Child);

impl Killed {
    fn now(mut self) {
        self.0.kill().unwrap();
        let status = self.0.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it ended by itself before: {status}");
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn plane(node: &Path, test: &str) -> Killed {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("plane::process_tests::{test}"), "--nocapture"]);
    Killed(command.env(BE_A_PLANE, node).stdout(Stdio::null()).spawn().unwrap())
}

async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..60_000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never came: {what}");
}

async fn client(node: &Path) -> PlaneClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix:{}/plane.sock", node.display())).unwrap();
    let mut reached = None;
    until("the plane is reached", async || {
        reached = endpoint.connect().await.ok();
        reached.is_some()
    })
    .await;
    PlaneClient::new(reached.unwrap())
}

fn name(alloc: &str) -> StreamName {
    StreamName { alloc: alloc.parse().unwrap(), incarnation: Incarnation(1), stream: Stream::Stdout }
}

fn tables(revision: u64, names: &[StreamName], ended: bool, logs: &FileLogs) -> v1::SetTablesRequest {
    let stream = |name: &StreamName| LogStream { name: name.clone(), fifo: logs.fifo(name), ended };
    let tables = Tables { revision, streams: names.iter().map(stream).collect() };
    v1::SetTablesRequest { tables: Some((&tables).into()) }
}

/// Bytes in an alloc's logs.
fn captured(node: &Path, alloc: &AllocId) -> u64 {
    let entries = std::fs::read_dir(node.join("allocs").join(alloc.as_str()).join("logs")).unwrap();
    let sizes = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"));
    sizes.map(|entry| entry.metadata().unwrap().len()).sum()
}

#[test]
fn thirty_kills_of_the_plane_lose_no_line_and_double_none() {
    be_a_plane_if_told();
    let directory = tempfile::tempdir().unwrap();
    let node = directory.path();
    runtime(&Tempo::default()).unwrap().block_on(async {
        let (logs, name) = (logs(node), name("web-7k2f"));
        let _held = logs.hold(&name).await.unwrap();
        let this = "thirty_kills_of_the_plane_lose_no_line_and_double_none";
        let mut running = plane(node, this);
        client(node).await.set_tables(tables(1, std::slice::from_ref(&name), false, &logs)).await.unwrap();
        // A container that prints numbers, some at a time.
        let script = "i=0; while :; do echo $i; i=$((i+1)); [ $((i % 1000)) -ne 0 ] || sleep 0.005; done";
        let fifo = std::fs::OpenOptions::new().write(true).open(logs.fifo(&name)).unwrap();
        let container = Killed(Command::new("/bin/sh").args(["-c", script]).stdout(fifo).spawn().unwrap());

        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..30 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Sooner or later after it went on: in the middle of catching up, or of keeping up.
            let grown = captured(node, &name.alloc) + random % 60_000;
            until("it goes on", async || captured(node, &name.alloc) > grown).await;
            running.now();
            running = plane(node, this);
        }
        container.now();
        let mut client = client(node).await;
        let mut statuses = client.status(v1::StatusRequest {}).await.unwrap().into_inner();
        client.set_tables(tables(2, std::slice::from_ref(&name), true, &logs)).await.unwrap();
        while statuses.message().await.unwrap().unwrap().drained.is_empty() {}

        let lines = logs.read(&name.alloc, Query::default()).await.unwrap().collect().await.unwrap();
        assert!(lines.len() > 30_000, "only {} lines", lines.len());
        for (number, line) in lines.iter().enumerate() {
            assert_eq!(line.text, number.to_string(), "of {} lines", lines.len());
        }
    });
}

#[test]
fn a_plane_with_a_hundred_idle_streams_is_small() {
    be_a_plane_if_told();
    let directory = tempfile::tempdir().unwrap();
    let node = directory.path();
    runtime(&Tempo::default()).unwrap().block_on(async {
        let logs = logs(node);
        let names: Vec<StreamName> = (0..100).map(|number| name(&format!("web-x{number}"))).collect();
        let mut held = vec![];
        for name in &names {
            held.push(logs.hold(name).await.unwrap());
        }
        let running = plane(node, "a_plane_with_a_hundred_idle_streams_is_small");
        client(node).await.set_tables(tables(1, &names, false, &logs)).await.unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.0.id())).unwrap();
        let of =
            |field: &str| status.lines().find_map(|line| line.strip_prefix(field)).unwrap().trim().to_owned();
        println!("100 idle streams: RSS {}, of it anonymous {}", of("VmRSS:"), of("RssAnon:"));
        let anonymous: u64 = of("RssAnon:").trim_end_matches(" kB").parse().unwrap();
        // What is mapped from the program is another matter: this program is all tests, unoptimized.
        assert!(anonymous < 12 << 10, "{anonymous} kB");
        let threads: u32 = of("Threads:").parse().unwrap();
        assert!(threads < 10, "{threads} threads");
        running.now();
    });
}
