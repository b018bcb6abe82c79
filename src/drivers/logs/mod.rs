//! The output of containers: captured so that no crash of Mill loses any of it, kept within bounds, read back by time.
//!
//! # Why
//!
//! A container writes into a FIFO (its shim does; architecture §7). Whoever reads it must neither lose bytes when it
//! is killed nor make the container wait:
//!
//! - **A kill loses nothing.** The capture opens the FIFO for reading and writing, so it never sees an end, and moves
//!   bytes with `splice(2)` straight into a file, at an offset it keeps: bytes leave the pipe exactly when they are in
//!   the file, in one system call that a signal can't cut between the two. (`O_APPEND` files refuse splice, hence the
//!   offset.) A `read` and a `write` would lose what lies between them. Seen to work on ext4 and tmpfs (Linux 6.18);
//!   where a file system refuses splice (`EINVAL`), it is read and written, and a kill between the two can lose up to
//!   64 KB; the capture says so once in the log.
//! - **Time stands beside, not inside.** A log file holds the container's bytes and nothing else. Its *index* gets a
//!   record after each splice: up to which offset, and when. After a crash the length of the log is the truth: what
//!   no record covers gets the time of the restart, and a torn record is cut off.
//! - **A full disk never blocks a container.** What can't be written is read and dropped, counted, and shown to
//!   readers as a gap. The count survives a kill: it is overwritten in place, in a block that the index has had since
//!   it was made.
//! - **Somebody always holds the pipe.** A pipe's bytes vanish with the last process that has it open. While the plane
//!   is dead and the container ends, that is the daemon's [`Logs::hold`], until the plane reports the stream drained;
//!   while both are dead, it is systemd, in whose store the plane keeps captured pipes ([`crate::systemd`]).
//!
//! # Files
//!
//! `<data>/allocs/<ALLOC>/logs/`: `stdout.3.fifo`, `stdout.3.0.log`, `stdout.3.0.index`, `stdout.3.1.log` … (stream,
//! incarnation, number of the segment). A segment takes `limits::LOG_SEGMENT_BYTES` with its index, a stream of an
//! alloc three of them over all its incarnations; the oldest goes first, and `stdout.removed` says up to when. Readers
//! need no capture: they work while it is down and while files go away under them.

mod capture;
mod cursor;
mod fake;
mod files;
mod index;
mod layout;
mod merge;
mod pipe;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mill_model::{AllocId, Incarnation, Timestamp};
use thiserror::Error;
use tokio::sync::mpsc;

pub use capture::FifoCapture;
pub use fake::{FakeCapture, FakeLogs};
pub use files::FileLogs;
pub use pipe::Held;

/// Wall time, for the index.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One of a container's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// `stdout` or `stderr`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An output of one run of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName {
    /// Whose.
    pub alloc: AllocId,
    /// Of which run.
    pub incarnation: Incarnation,
    /// Which output.
    pub stream: Stream,
}

impl fmt::Display for StreamName {
    /// `web-7k2f.3.stdout`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.alloc, self.incarnation, self.stream)
    }
}

/// A line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When its first byte was captured, by the node's clock.
    pub at: Timestamp,
    /// Whose.
    pub alloc: AllocId,
    /// Of which run.
    pub incarnation: Incarnation,
    /// Which output.
    pub stream: Stream,
    /// Without its line feed; what is no UTF-8 is replaced; a long line comes in pieces.
    pub text: String,
    /// Bytes that were dropped here because they couldn't be written; the text says so too.
    pub dropped: Option<u64>,
}

/// Which runs are read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// All that are kept.
    #[default]
    All,
    /// One of them. Which one is the last or the one before is the alloc's to say: a run that printed nothing has no
    /// files.
    Only(Incarnation),
}

/// What is read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Query {
    /// Only the last so many lines of those already there.
    pub tail: Option<usize>,
    /// Only lines since then.
    pub since: Option<Timestamp>,
    /// Which runs.
    pub runs: Runs,
    /// Whether to go on with what is written from now on.
    pub follow: bool,
}

/// Lines, in order of time, as they are read. Dropped, it ends the reading.
#[derive(Debug)]
pub struct Lines {
    lines: mpsc::Receiver<Result<Line, LogError>>,
    /// Up to when lines of each output were removed to make room, as far as some were.
    removed: BTreeMap<Stream, Timestamp>,
}

impl Lines {
    /// The next line; `None` when all are read. Never `None` while following.
    pub async fn next(&mut self) -> Option<Result<Line, LogError>> {
        self.lines.recv().await
    }

    /// Up to which moment lines of an output, or of either, had been removed to make room when the reading began;
    /// `None`: none had.
    pub fn removed_until(&self, stream: Option<Stream>) -> Option<Timestamp> {
        match stream {
            Some(stream) => self.removed.get(&stream).copied(),
            None => self.removed.values().max().copied(),
        }
    }

    /// The rest of them.
    ///
    /// # Errors
    /// The first that reading met.
    pub async fn collect(mut self) -> Result<Vec<Line>, LogError> {
        let mut lines = vec![];
        while let Some(line) = self.next().await {
            lines.push(line?);
        }
        Ok(lines)
    }
}

impl futures::Stream for Lines {
    type Item = Result<Line, LogError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.lines.poll_recv(context)
    }
}

/// What one go of a capture did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Bytes now in the log.
    pub kept: u64,
    /// Bytes that couldn't be written and were dropped.
    pub dropped: u64,
}

/// Why something about logs failed.
#[derive(Debug, Error)]
pub enum LogError {
    /// A pipe or directory couldn't be made.
    #[error("failed to make {}", path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A pipe or file couldn't be opened.
    #[error("failed to open {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something else lies where the pipe should.
    #[error("{} is no pipe", path.display())]
    NoPipe {
        /// Which.
        path: PathBuf,
    },
    /// Another capture has the pipe.
    #[error("{} is read by another process", path.display())]
    Taken {
        /// Which.
        path: PathBuf,
    },
    /// A file couldn't be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file couldn't be removed.
    #[error("failed to remove {}", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The thread that did it is gone; the capture must be made anew.
    #[error("the work was interrupted")]
    Interrupted,
}

/// The output of this node's containers.
pub trait Logs: Clone + Send + Sync + 'static {
    /// What keeps a pipe's bytes alive.
    type Held: Send + Sync + 'static;
    /// What moves bytes from a pipe into the log.
    type Capture: Capture;

    /// Where a stream's pipe is, or will be.
    fn fifo(&self, name: &StreamName) -> PathBuf;

    /// Every pipe that there is: those of runs whose output isn't drained.
    fn pipes(&self) -> impl Future<Output = Result<Vec<StreamName>, LogError>> + Send;

    /// Every alloc that has logs or pipes.
    fn allocs(&self) -> impl Future<Output = Result<Vec<AllocId>, LogError>> + Send;

    /// Makes a stream's pipe, unless it is there already, and holds it open.
    fn hold(&self, name: &StreamName) -> impl Future<Output = Result<Self::Held, LogError>> + Send;

    /// Removes a stream's pipe: it is drained. Nothing happens if it is gone.
    fn release(&self, name: &StreamName) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Begins to capture, or goes on with what an earlier capture left. One capture at a time has a pipe.
    fn capture(
        &self,
        name: &StreamName,
        fifo: &Path,
    ) -> impl Future<Output = Result<Self::Capture, LogError>> + Send;

    /// Lets go of the pipes that are held beyond this process's end, but for those of the streams of these names.
    fn keep_only(&self, _wanted: &BTreeSet<String>) {}

    /// Reads an alloc's log. An alloc without one has no lines.
    fn read(&self, alloc: &AllocId, query: Query) -> impl Future<Output = Result<Lines, LogError>> + Send;

    /// Removes all of an alloc's logs and pipes. Nothing happens if there are none.
    fn remove(&self, alloc: &AllocId) -> impl Future<Output = Result<(), LogError>> + Send;
}

/// A capture under way.
pub trait Capture: Send + 'static {
    /// Waits for output and moves some of it. May be given up at any time: nothing is lost, and what was moved
    /// meanwhile is part of the next answer.
    fn pump(&mut self) -> impl Future<Output = Result<Moved, LogError>> + Send;

    /// Moves what is in the pipe now, until there is nothing more.
    fn drain(&mut self) -> impl Future<Output = Result<Moved, LogError>> + Send;
}
