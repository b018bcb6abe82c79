//! The link with a plane in the same process, real pipes and a real socket.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mill_control::node::Node;
use mill_drivers::containers::ContainerName;
use mill_drivers::logs::{FileLogs, Query};
use mill_model::{AllocId, Incarnation, Tempo, Timestamp};

use super::*;
use crate::alloc::Pipes;
use crate::kit::{Address, Reply, Tree};
use crate::plane;

/// A plane that is "started" in this process, and can be killed.
#[derive(Clone)]
struct Planes {
    directory: Arc<tempfile::TempDir>,
    running: Arc<Mutex<Option<Tree<plane::Msg>>>>,
    started: Arc<AtomicUsize>,
    ended: Arc<tokio::sync::Notify>,
}

impl Planes {
    fn new() -> Self {
        Self {
            directory: Arc::new(tempfile::tempdir().unwrap()),
            running: Arc::default(),
            started: Arc::default(),
            ended: Arc::default(),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn socket(&self) -> PathBuf {
        self.path().join("plane.sock")
    }

    fn logs(&self) -> FileLogs {
        FileLogs::new(self.path().join("allocs"), Arc::new(|| Timestamp(1)), Duration::from_millis(1))
    }

    fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    async fn start(&self) {
        let config = plane::Config { data: self.path().join("plane"), socket: self.socket() };
        let tree = plane::start(config, self.logs(), Arc::new(Tempo::default())).await.unwrap();
        *self.running.lock().unwrap() = Some(tree);
    }

    fn kill(&self) {
        drop(self.running.lock().unwrap().take());
        self.ended.notify_waiters();
    }
}

impl Other for Planes {
    async fn run(&self) -> Result<Ended, ProcessError> {
        let ended = self.ended.notified();
        self.started.fetch_add(1, Ordering::SeqCst);
        self.start().await;
        ended.await;
        Ok(Ended::Fake)
    }

    async fn keep_small(&self) -> Result<(), ProcessError> {
        Ok(())
    }
}

async fn link(planes: &Planes) -> Tree<Msg> {
    let args = Args { logs: planes.logs(), plane: planes.clone(), socket: planes.socket() };
    let tempo = Arc::new(Tempo::default());
    Tree::start::<PlaneLink<FileLogs, Planes>>("plane-link", args, tempo).await.unwrap()
}

fn name(incarnation: u32) -> ContainerName {
    ContainerName { alloc: alloc_id(), incarnation: Incarnation(incarnation) }
}

fn alloc_id() -> AllocId {
    "web-7k2f".parse().unwrap()
}

async fn open(link: &Address<Msg>, incarnation: u32) -> Pipes {
    let (reply, pipes) = Reply::channel();
    link.tell(Msg::Streams(alloc::Streams::Open { name: name(incarnation), reply })).unwrap();
    pipes.await.unwrap().unwrap()
}

fn ended(link: &Address<Msg>, incarnation: u32) {
    link.tell(Msg::Streams(alloc::Streams::Ended { name: name(incarnation) })).unwrap();
}

/// A container's end of a pipe, and something printed.
fn print(pipe: &Path, text: &str) -> File {
    let mut writer = File::options().write(true).open(pipe).unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    writer
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

/// The node compares: it has containers of these runs, and knows the alloc or doesn't.
fn compare(link: &Tree<Msg>, runs: &[u32], known: bool) {
    let (mut node, term) = (Node::new(20_000), mill_model::Term(1));
    node.open(term).unwrap();
    if !known {
        let _ = node.caught_up(term).unwrap();
    }
    let containers: Vec<_> = runs.iter().map(|run| (alloc_id(), Incarnation(*run))).collect();
    link.root().tell(Msg::Streams(alloc::Streams::All(node.outputs(&containers)))).unwrap();
}

async fn read(planes: &Planes) -> Vec<String> {
    use mill_drivers::logs::Logs as _;
    let lines = planes.logs().read(&alloc_id(), Query::default()).await.unwrap();
    lines.collect().await.unwrap().into_iter().map(|line| line.text).collect()
}

async fn observed(link: &Tree<Msg>) -> Value {
    link.introspect().tree().await.observed
}

#[tokio::test]
async fn a_containers_output_is_captured_from_its_start_to_its_last_word() {
    let planes = Planes::new();
    let link = link(&planes).await;
    let pipes = open(&link.root(), 1).await;
    assert_eq!((pipes.stdout.exists(), pipes.stderr.exists()), (true, true));
    let container = print(&pipes.stdout, "hello\n");
    until("it is read", async || read(&planes).await == ["hello"]).await;
    drop(print(&pipes.stderr, "panic\n"));
    drop(container);
    ended(&link.root(), 1);
    until("its pipes are removed", async || !pipes.stdout.exists() && !pipes.stderr.exists()).await;
    assert_eq!(read(&planes).await, ["hello", "panic"]);
    until("the plane has forgotten it", async || observed(&link).await["streams"] == 0).await;
    assert_eq!(planes.started(), 1);
}

#[tokio::test]
async fn a_plane_that_dies_is_started_again_and_nothing_is_lost() {
    let planes = Planes::new();
    let link = link(&planes).await;
    let pipes = open(&link.root(), 1).await;
    let mut container = print(&pipes.stdout, "0\n");
    for round in 1..=3 {
        planes.kill();
        writeln!(container, "{round}").unwrap();
        let wanted: Vec<String> = (0..=round).map(|round| round.to_string()).collect();
        until("it is read", async || read(&planes).await == wanted).await;
        assert_eq!(planes.started(), round + 1);
    }
}

#[tokio::test]
async fn output_of_a_container_that_ends_while_no_plane_runs_is_kept() {
    let planes = Planes::new();
    let link = link(&planes).await;
    until("the plane is found", async || !observed(&link).await["plane"].is_null()).await;
    planes.kill();
    let pipes = open(&link.root(), 1).await;
    drop(print(&pipes.stdout, "short life\n"));
    ended(&link.root(), 1);
    until("it is drained", async || !pipes.stdout.exists()).await;
    assert_eq!(read(&planes).await, ["short life"]);
}

#[tokio::test]
async fn a_daemon_that_comes_back_finds_the_plane_and_its_pipes() {
    let planes = Planes::new();
    let first = link(&planes).await;
    let pipes = open(&first.root(), 1).await;
    let gone = open(&first.root(), 2).await;
    let mut container = print(&pipes.stdout, "before\n");
    until("it is read", async || read(&planes).await == ["before"]).await;
    let revision = observed(&first).await["revision"].as_u64().unwrap();
    drop(first);
    container.write_all(b"meanwhile\n").unwrap();
    until("it is read", async || read(&planes).await == ["before", "meanwhile"]).await;

    let second = link(&planes).await;
    until("it has told the plane", async || {
        observed(&second).await["acknowledged"].as_u64().unwrap() > revision
    })
    .await;
    assert_eq!((planes.started(), observed(&second).await["streams"].as_u64()), (1, Some(4)));
    compare(&second, &[1], true);
    until("what belongs to no container is drained", async || !gone.stdout.exists()).await;
    assert!(pipes.stdout.exists());
    container.write_all(b"after\n").unwrap();
    until("it is read", async || read(&planes).await == ["before", "meanwhile", "after"]).await;
}

#[tokio::test]
async fn a_stream_that_an_earlier_daemon_ended_is_let_go() {
    let planes = Planes::new();
    planes.start().await;
    let first = link(&planes).await;
    let pipes = open(&first.root(), 1).await;
    until("the plane has it", async || {
        let seen = observed(&first).await;
        seen["streams"] == 2 && seen["revision"] != 0 && seen["acknowledged"] == seen["revision"]
    })
    .await;
    ended(&first.root(), 1);
    // Killed before it hears that it is drained, more often than not.
    drop(first);
    let second = link(&planes).await;
    compare(&second, &[], true);
    until("its pipes are removed", async || !pipes.stdout.exists() && !pipes.stderr.exists()).await;
    assert_eq!(planes.started(), 0);
}

#[tokio::test]
async fn a_start_that_is_tried_again_under_its_name_is_captured() {
    let planes = Planes::new();
    let link = link(&planes).await;
    for round in 0..20 {
        let pipes = open(&link.root(), 1).await;
        drop(print(&pipes.stdout, &format!("{round}\n")));
        ended(&link.root(), 1);
    }
    let wanted: Vec<String> = (0..20).map(|round| round.to_string()).collect();
    until("all are read", async || read(&planes).await == wanted).await;
    until("the pipes are removed", async || observed(&link).await["streams"] == 0).await;
}

#[tokio::test]
async fn a_forgotten_allocs_logs_are_gone() {
    let planes = Planes::new();
    let link = link(&planes).await;
    let pipes = open(&link.root(), 1).await;
    let _container = print(&pipes.stdout, "x\n");
    until("it is read", async || read(&planes).await == ["x"]).await;
    link.root().tell(Msg::Streams(alloc::Streams::Forget { alloc: alloc_id() })).unwrap();
    until("nothing is left", async || !planes.path().join("allocs/web-7k2f").exists()).await;
    until("the plane has heard", async || {
        let seen = observed(&link).await;
        seen["streams"] == 0 && seen["acknowledged"] == seen["revision"]
    })
    .await;
    assert!(!planes.path().join("allocs/web-7k2f").exists());
}

#[tokio::test]
async fn what_was_told_to_a_link_that_was_down_is_made_up_for() {
    let planes = Planes::new();
    let link = link(&planes).await;
    let (kept, gone) = (open(&link.root(), 2).await, open(&link.root(), 1).await);
    drop(print(&gone.stdout, "last word\n"));
    compare(&link, &[2], true);
    until("the pipes of the run that is gone are removed", async || !gone.stdout.exists()).await;
    assert_eq!((kept.stdout.exists(), read(&planes).await), (true, vec!["last word".to_owned()]));

    compare(&link, &[], false);
    until("nothing is left", async || !planes.path().join("allocs/web-7k2f").exists()).await;
    until("the plane has heard", async || {
        let seen = observed(&link).await;
        seen["streams"] == 0 && seen["acknowledged"] == seen["revision"]
    })
    .await;
    assert!(!planes.path().join("allocs/web-7k2f").exists());
}

#[tokio::test]
async fn a_plane_that_can_not_keep_its_tables_follows_them_and_is_not_hurried() {
    let planes = Planes::new();
    let link = link(&planes).await;
    until("the plane has tables", async || observed(&link).await["acknowledged"] != 0).await;
    // what a full disk does, for root as well: nothing can be put in the file's place
    let tables = planes.path().join("plane/tables");
    std::fs::remove_file(&tables).unwrap();
    std::fs::create_dir_all(tables.join("in-the-way")).unwrap();
    let pipes = open(&link.root(), 1).await;
    let _container = print(&pipes.stdout, "hello\n");
    until("it is read all the same", async || read(&planes).await == ["hello"]).await;
    until("its pauses grow", async || observed(&link).await["attempts"].as_u64() >= Some(2)).await;
    assert_eq!(planes.started(), 1);
    std::fs::remove_dir_all(&tables).unwrap();
    until("the tables are kept", async || observed(&link).await["attempts"] == 0).await;
    assert!(tables.is_file());
}
