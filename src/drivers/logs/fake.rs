//! Logs in memory, for tests: they can be told to fail, be slow, forget, and lie.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mill_model::{AllocId, Timestamp};
use tokio::sync::{Notify, mpsc};

use super::{Capture, Line, Lines, LogError, Logs, Moved, Query, Runs, Stream, StreamName};

/// Logs in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct FakeLogs {
    inner: Arc<Mutex<Inner>>,
    /// Rung on every change.
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    pipes: BTreeMap<StreamName, Vec<u8>>,
    made: BTreeSet<StreamName>,
    held: BTreeMap<StreamName, usize>,
    captured: BTreeSet<StreamName>,
    lines: Vec<Line>,
    /// Up to when lines were forgotten.
    removed: BTreeMap<(AllocId, Stream), Timestamp>,
    now: Timestamp,
    failing: bool,
    dropping: bool,
    slow: Duration,
}

/// A pipe held in memory.
#[derive(Debug)]
pub struct FakeHeld {
    logs: FakeLogs,
    name: StreamName,
}

/// A capture in memory.
#[derive(Debug)]
pub struct FakeCapture {
    logs: FakeLogs,
    name: StreamName,
}

impl FakeLogs {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner());
        self.changed.notify_waiters();
    }

    /// A container writes whole lines. They are lost if nobody holds or captures the pipe, as the kernel has it.
    pub fn write(&self, name: &StreamName, text: &str) {
        self.change(|inner| {
            if inner.held.contains_key(name) || inner.captured.contains(name) {
                inner.pipes.entry(name.clone()).or_default().extend_from_slice(text.as_bytes());
            }
        });
    }

    /// Lines captured from now on are of this time.
    pub fn set_now(&self, now: Timestamp) {
        self.change(|inner| inner.now = now);
    }

    /// Whether everything fails from now on.
    pub fn fail(&self, failing: bool) {
        self.change(|inner| inner.failing = failing);
    }

    /// How long everything takes from now on.
    pub fn slow(&self, slow: Duration) {
        self.change(|inner| inner.slow = slow);
    }

    /// Whether the disk is full from now on.
    pub fn fill(&self, full: bool) {
        self.change(|inner| inner.dropping = full);
    }

    /// Forgets the oldest lines but `kept`, as rotation does.
    pub fn forget(&self, kept: usize) {
        self.change(|inner| {
            let gone = inner.lines.len().saturating_sub(kept);
            let gone: Vec<Line> = inner.lines.drain(..gone).collect();
            for line in gone {
                let until = inner.removed.entry((line.alloc, line.stream)).or_default();
                *until = line.at.max(*until);
            }
        });
    }

    /// Lies: puts a line into the log that no container wrote.
    pub fn lie(&self, line: Line) {
        self.change(|inner| inner.lines.push(line));
    }

    /// Which pipes are held open by somebody.
    pub fn held(&self) -> Vec<StreamName> {
        self.inner().held.keys().cloned().collect()
    }

    /// Which streams are captured.
    pub fn captured(&self) -> Vec<StreamName> {
        self.inner().captured.iter().cloned().collect()
    }

    async fn answer(&self, path: PathBuf) -> Result<(), LogError> {
        let (slow, failing) = {
            let inner = self.inner();
            (inner.slow, inner.failing)
        };
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        match failing {
            true => Err(LogError::Open { path, source: io::ErrorKind::Other.into() }),
            false => Ok(()),
        }
    }

    async fn follow(
        self,
        wanted: impl Fn(&Line) -> bool,
        mut next: usize,
        to: mpsc::Sender<Result<Line, LogError>>,
    ) {
        loop {
            let changed = self.changed.notified();
            let new: Vec<Line> = {
                let inner = self.inner();
                let lines = inner.lines.get(next..).unwrap_or_default();
                next = inner.lines.len();
                lines.iter().filter(|line| wanted(line)).cloned().collect()
            };
            for line in new {
                if to.send(Ok(line)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = changed => {}
                () = to.closed() => return,
            }
        }
    }
}

impl Drop for FakeHeld {
    fn drop(&mut self) {
        self.logs.change(|inner| {
            if let Some(count) = inner.held.get_mut(&self.name) {
                *count -= 1;
                if *count == 0 {
                    inner.held.remove(&self.name);
                }
            }
            inner.lose_what_nobody_holds();
        });
    }
}

impl Drop for FakeCapture {
    fn drop(&mut self) {
        self.logs.change(|inner| {
            inner.captured.remove(&self.name);
            inner.lose_what_nobody_holds();
        });
    }
}

impl Inner {
    fn lose_what_nobody_holds(&mut self) {
        let (held, captured) = (&self.held, &self.captured);
        self.pipes.retain(|name, _| held.contains_key(name) || captured.contains(name));
    }

    fn capture(&mut self, name: &StreamName) -> Moved {
        let bytes = self.pipes.get_mut(name).map(std::mem::take).unwrap_or_default();
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if bytes.is_empty() {
            return Moved::default();
        }
        let line = |text: String, dropped| Line {
            at: self.now,
            alloc: name.alloc.clone(),
            incarnation: name.incarnation,
            stream: name.stream,
            text,
            dropped,
        };
        if self.dropping {
            self.lines.push(line(format!("[{count} bytes dropped]"), Some(count)));
            return Moved { kept: 0, dropped: count };
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<Line> = text.lines().map(|text| line(text.to_owned(), None)).collect();
        self.lines.extend(lines);
        Moved { kept: count, dropped: 0 }
    }
}

impl Logs for FakeLogs {
    type Held = FakeHeld;
    type Capture = FakeCapture;

    fn fifo(&self, name: &StreamName) -> PathBuf {
        Path::new("/fake").join(name.to_string())
    }

    async fn pipes(&self) -> Result<Vec<StreamName>, LogError> {
        self.answer(PathBuf::from("/fake")).await?;
        Ok(self.inner().made.iter().cloned().collect())
    }

    async fn allocs(&self) -> Result<Vec<AllocId>, LogError> {
        self.answer(PathBuf::from("/fake")).await?;
        let inner = self.inner();
        let named =
            inner.made.iter().map(|name| &name.alloc).chain(inner.lines.iter().map(|line| &line.alloc));
        let allocs: BTreeSet<AllocId> = named.cloned().collect();
        Ok(allocs.into_iter().collect())
    }

    async fn hold(&self, name: &StreamName) -> Result<FakeHeld, LogError> {
        self.answer(self.fifo(name)).await?;
        self.change(|inner| {
            inner.made.insert(name.clone());
            *inner.held.entry(name.clone()).or_default() += 1;
        });
        Ok(FakeHeld { logs: self.clone(), name: name.clone() })
    }

    async fn release(&self, name: &StreamName) -> Result<(), LogError> {
        self.answer(self.fifo(name)).await?;
        self.change(|inner| {
            inner.made.remove(name);
        });
        Ok(())
    }

    async fn capture(&self, name: &StreamName, fifo: &Path) -> Result<FakeCapture, LogError> {
        self.answer(fifo.to_owned()).await?;
        let mut free = false;
        self.change(|inner| free = inner.captured.insert(name.clone()));
        match free {
            true => Ok(FakeCapture { logs: self.clone(), name: name.clone() }),
            false => Err(LogError::Taken { path: fifo.to_owned() }),
        }
    }

    async fn read(&self, alloc: &AllocId, query: Query) -> Result<Lines, LogError> {
        self.answer(Path::new("/fake").join(alloc.as_str())).await?;
        let (sender, receiver) = mpsc::channel(64);
        let (removed_of, alloc, runs) = (alloc.clone(), alloc.clone(), query.runs);
        let since = query.since.unwrap_or_default();
        let wanted = move |line: &Line| {
            let run = match runs {
                Runs::All => true,
                Runs::Only(incarnation) => line.incarnation == incarnation,
            };
            line.alloc == alloc && line.at >= since && run
        };
        let (there, next, removed) = {
            let inner = self.inner();
            let there: Vec<Line> = inner.lines.iter().filter(|line| wanted(line)).cloned().collect();
            let of = |stream| Some((stream, *inner.removed.get(&(removed_of.clone(), stream))?));
            (there, inner.lines.len(), Stream::ALL.into_iter().filter_map(of).collect())
        };
        let skip = query.tail.map_or(0, |tail| there.len().saturating_sub(tail));
        let logs = self.clone();
        tokio::spawn(async move {
            for line in there.into_iter().skip(skip) {
                if sender.send(Ok(line)).await.is_err() {
                    return;
                }
            }
            if query.follow {
                logs.follow(wanted, next, sender).await;
            }
        });
        Ok(Lines { lines: receiver, removed })
    }

    async fn remove(&self, alloc: &AllocId) -> Result<(), LogError> {
        self.answer(Path::new("/fake").join(alloc.as_str())).await?;
        self.change(|inner| {
            inner.lines.retain(|line| line.alloc != *alloc);
            inner.made.retain(|name| name.alloc != *alloc);
        });
        Ok(())
    }
}

impl Capture for FakeCapture {
    async fn pump(&mut self) -> Result<Moved, LogError> {
        loop {
            let changed = self.logs.changed.notified();
            self.logs.answer(self.logs.fifo(&self.name)).await?;
            let mut moved = Moved::default();
            {
                let mut inner = self.logs.inner();
                if inner.pipes.get(&self.name).is_some_and(|pipe| !pipe.is_empty()) {
                    moved = inner.capture(&self.name);
                }
            }
            if moved != Moved::default() {
                self.logs.changed.notify_waiters();
                return Ok(moved);
            }
            changed.await;
        }
    }

    async fn drain(&mut self) -> Result<Moved, LogError> {
        self.logs.answer(self.logs.fifo(&self.name)).await?;
        let mut moved = Moved::default();
        self.logs.change(|inner| moved = inner.capture(&self.name));
        Ok(moved)
    }
}
