//! Capture and reading on real pipes and files.

mod bounds;
mod capture;
mod reading;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mill_model::{AllocId, Incarnation, Timestamp};

use super::layout::Bounds;
use super::*;

/// Logs in a directory of their own, with a clock that tests set.
struct Rig {
    directory: tempfile::TempDir,
    now: Arc<AtomicU64>,
    bounds: Bounds,
}

impl Rig {
    fn new() -> Self {
        Self::bounded(Bounds::default())
    }

    fn bounded(bounds: Bounds) -> Self {
        let now = Arc::new(AtomicU64::new(1));
        Self { directory: tempfile::tempdir().unwrap(), now, bounds }
    }

    fn logs(&self) -> FileLogs {
        let now = Arc::clone(&self.now);
        let now: Now = Arc::new(move || Timestamp(now.load(Ordering::SeqCst)));
        FileLogs::new(self.directory.path().to_owned(), now, Duration::from_millis(1)).bounded(self.bounds)
    }

    fn at(&self, now: u64) {
        self.now.store(now, Ordering::SeqCst);
    }

    async fn all(&self) -> Vec<Line> {
        self.read(Query::default()).await
    }

    async fn read(&self, query: Query) -> Vec<Line> {
        self.logs().read(&alloc(), query).await.unwrap().collect().await.unwrap()
    }

    /// Files under the directory, without pipes.
    fn files(&self) -> Vec<(String, u64)> {
        let logs = layout::directory(self.directory.path(), &alloc());
        let entries = std::fs::read_dir(logs).unwrap().map(|entry| entry.unwrap());
        let named = entries.map(|e| (e.file_name().into_string().unwrap(), e.metadata().unwrap().len()));
        let mut files: Vec<_> =
            named.filter(|(name, _)| !name.ends_with(".fifo") && !name.ends_with(".removed")).collect();
        files.sort();
        files
    }
}

/// A container's end of a stream, its holder, and its capture.
struct Running {
    name: StreamName,
    writer: std::fs::File,
    _held: Held,
    capture: FifoCapture,
}

impl Running {
    async fn begin(rig: &Rig, incarnation: u32, stream: Stream) -> Self {
        let name = name(incarnation, stream);
        let logs = rig.logs();
        let held = logs.hold(&name).await.unwrap();
        let fifo = logs.fifo(&name);
        let writer = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        let capture = logs.capture(&name, &fifo).await.unwrap();
        Self { name, writer, _held: held, capture }
    }

    /// Prints, and has it captured.
    async fn print(&mut self, text: &str) -> Moved {
        self.writer.write_all(text.as_bytes()).unwrap();
        self.capture.drain().await.unwrap()
    }

    /// The capture is killed and begun anew.
    async fn restart(self, rig: &Rig) -> Self {
        let Self { name, writer, _held, capture } = self;
        drop(capture);
        let logs = rig.logs();
        let capture = logs.capture(&name, &logs.fifo(&name)).await.unwrap();
        Self { name, writer, _held, capture }
    }
}

fn alloc() -> AllocId {
    "web-7k2f".parse().unwrap()
}

fn name(incarnation: u32, stream: Stream) -> StreamName {
    StreamName { alloc: alloc(), incarnation: Incarnation(incarnation), stream }
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

/// Polls until `so` holds.
async fn until(what: &str, so: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never came: {what}");
}

async fn next(lines: &mut Lines) -> Line {
    let next = tokio::time::timeout(Duration::from_secs(30), lines.next()).await;
    next.expect("no line came").expect("the lines ended").unwrap()
}
