//! A plane as the daemon sees it, over its socket, with real pipes and files.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use mill_drivers::logs::{FileLogs, Held, Logs as _, Query, Stream, StreamName};
use mill_model::{Incarnation, Timestamp};
use mill_rpc::v1;
use mill_rpc::v1::plane_client::PlaneClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

use super::wire::stream_id;
use super::*;

/// A node's directories.
struct Node {
    directory: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn logs(&self) -> FileLogs {
        FileLogs::new(self.path().join("allocs"), Arc::new(|| Timestamp(1)), Duration::from_millis(1))
    }

    fn config(&self) -> Config {
        Config { data: self.path().join("plane"), socket: self.path().join("plane.sock") }
    }

    async fn plane(&self) -> Tree<Msg> {
        start(self.config(), self.logs(), Arc::new(Tempo::default())).await.unwrap()
    }

    async fn client(&self) -> PlaneClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("unix:{}/plane.sock", self.path().display())).unwrap();
        PlaneClient::new(endpoint.connect().await.unwrap())
    }

    /// A container's stream: its pipe, held, and the container's end of it.
    async fn stream(&self, incarnation: u32) -> Container {
        let name = StreamName {
            alloc: "web-7k2f".parse().unwrap(),
            incarnation: Incarnation(incarnation),
            stream: Stream::Stdout,
        };
        let held = self.logs().hold(&name).await.unwrap();
        let fifo = self.logs().fifo(&name);
        let writer = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        Container { name, fifo, writer, _held: held }
    }

    async fn read(&self) -> Vec<String> {
        let lines = self.logs().read(&"web-7k2f".parse().unwrap(), Query::default()).await.unwrap();
        lines.collect().await.unwrap().into_iter().map(|line| line.text).collect()
    }

    /// Waits until these lines are read.
    async fn reads(&self, wanted: &[&str]) {
        until(&format!("{wanted:?} are read"), async || self.read().await == wanted).await;
    }
}

async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..10_000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never came: {what}");
}

struct Container {
    name: StreamName,
    fifo: PathBuf,
    writer: std::fs::File,
    _held: Held,
}

fn tables(revision: u64, streams: &[(&Container, bool)]) -> v1::SetTablesRequest {
    let stream = |(container, ended): &(&Container, bool)| LogStream {
        name: container.name.clone(),
        fifo: container.fifo.clone(),
        ended: *ended,
    };
    let tables = Tables { revision, streams: streams.iter().map(stream).collect() };
    v1::SetTablesRequest { tables: Some((&tables).into()) }
}

/// The next word of a plane that satisfies.
async fn heard(
    statuses: &mut Streaming<v1::StatusResponse>,
    wanted: impl Fn(&v1::StatusResponse) -> bool,
) -> v1::StatusResponse {
    let hear = async {
        loop {
            let status = statuses.message().await.unwrap().expect("the plane went away");
            if wanted(&status) {
                return status;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), hear).await.expect("never heard")
}

#[tokio::test]
async fn a_plane_captures_what_it_is_told_to_and_says_when_it_is_drained() {
    let node = Node::new();
    let plane = node.plane().await;
    let mut client = node.client().await;
    let mut statuses = client.status(v1::StatusRequest {}).await.unwrap().into_inner();
    let first = heard(&mut statuses, |_| true).await;
    assert_eq!((first.installed_revision, first.pid), (0, std::process::id()));

    let mut container = node.stream(1).await;
    let answer = client.set_tables(tables(1, &[(&container, false)])).await.unwrap().into_inner();
    assert_eq!(answer.installed_revision, 1);
    container.writer.write_all(b"one\n").unwrap();
    node.reads(&["one"]).await;
    container.writer.write_all(b"last words\n").unwrap();
    client.set_tables(tables(2, &[(&container, true)])).await.unwrap();
    let status = heard(&mut statuses, |status| !status.drained.is_empty()).await;
    assert_eq!(status.drained, [stream_id(&container.name)]);
    node.reads(&["one", "last words"]).await;

    client.set_tables(tables(3, &[])).await.unwrap();
    let status = heard(&mut statuses, |status| status.installed_revision == 3).await;
    assert_eq!(status.drained, []);
    let seen = plane.introspect().tree().await;
    assert_eq!(seen.find("plane/logs").unwrap().children, []);
    plane.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_plane_goes_on_after_its_own_restart_without_being_told() {
    let node = Node::new();
    let plane = node.plane().await;
    let mut container = node.stream(1).await;
    node.client().await.set_tables(tables(7, &[(&container, false)])).await.unwrap();
    container.writer.write_all(b"before\n").unwrap();
    node.reads(&["before"]).await;
    plane.stop(Duration::from_secs(5)).await.unwrap();
    drop(plane);
    container.writer.write_all(b"meanwhile\n").unwrap();
    let _plane = node.plane().await;
    node.reads(&["before", "meanwhile"]).await;
    let mut client = node.client().await;
    let mut statuses = client.status(v1::StatusRequest {}).await.unwrap().into_inner();
    heard(&mut statuses, |status| status.installed_revision == 7).await;
}

#[tokio::test]
async fn older_tables_are_refused_and_the_same_again_are_not() {
    let node = Node::new();
    let _plane = node.plane().await;
    let mut client = node.client().await;
    for (revision, refused) in [(5, None), (5, None), (4, Some(Code::FailedPrecondition)), (6, None)] {
        let answer = client.set_tables(tables(revision, &[])).await;
        assert_eq!(answer.err().map(|status| status.code()), refused, "revision {revision}");
    }
    let nothing = client.set_tables(v1::SetTablesRequest { tables: None }).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
    let mut odd = tables(7, &[]);
    odd.tables.as_mut().unwrap().streams.push(v1::LogStream::default());
    let refused = client.set_tables(odd).await.unwrap_err();
    assert_eq!(refused.message(), "the tables can't be understood: a stream has no name");
}

#[tokio::test]
async fn a_second_plane_on_the_same_directory_is_refused() {
    let node = Node::new();
    let plane = node.plane().await;
    let second = start(node.config(), node.logs(), Arc::new(Tempo::default())).await;
    let error = second.map(|_| ()).unwrap_err();
    assert!(matches!(error, PlaneError::Directory { source: ProcessError::Locked { .. } }), "{error:?}");
    // The first one's socket is untouched.
    node.client().await.set_tables(tables(1, &[])).await.unwrap();
    let mode = std::fs::metadata(node.config().socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    plane.stop(Duration::from_secs(5)).await.unwrap();
    drop(plane);
    node.plane().await;
}

#[tokio::test]
async fn damaged_tables_are_passed_over() {
    let node = Node::new();
    std::fs::create_dir_all(node.config().data).unwrap();
    std::fs::write(node.config().data.join("tables"), "garbage").unwrap();
    let _plane = node.plane().await;
    node.client().await.set_tables(tables(1, &[])).await.unwrap();
}

#[tokio::test]
async fn rooms_that_crash_catch_up_by_themselves() {
    let node = Node::new();
    let plane = node.plane().await;
    let mut container = node.stream(1).await;
    node.client().await.set_tables(tables(1, &[(&container, false)])).await.unwrap();
    let look = plane.introspect();
    for (round, path) in
        ["plane/logs/web-7k2f.1.stdout", "plane/logs", "plane/tables", "plane"].into_iter().enumerate()
    {
        look.restart(path).await.unwrap();
        container.writer.write_all(format!("{round}\n").as_bytes()).unwrap();
        let lines: Vec<String> = (0..=round).map(|round| round.to_string()).collect();
        node.reads(&lines.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let mut client = node.client().await;
    let mut statuses = client.status(v1::StatusRequest {}).await.unwrap().into_inner();
    client.set_tables(tables(2, &[(&container, true)])).await.unwrap();
    heard(&mut statuses, |status| !status.drained.is_empty()).await;
}

#[tokio::test]
async fn a_stream_begun_anew_under_its_name_is_captured_again() {
    let node = Node::new();
    let _plane = node.plane().await;
    let mut client = node.client().await;
    let mut statuses = client.status(v1::StatusRequest {}).await.unwrap().into_inner();
    let mut container = node.stream(1).await;
    client.set_tables(tables(1, &[(&container, true)])).await.unwrap();
    heard(&mut statuses, |status| !status.drained.is_empty()).await;
    client.set_tables(tables(2, &[(&container, false)])).await.unwrap();
    heard(&mut statuses, |status| status.installed_revision == 2 && status.drained.is_empty()).await;
    container.writer.write_all(b"second try\n").unwrap();
    node.reads(&["second try"]).await;
}
