//! What a node keeps on its disk about its allocs: opaque bytes, one file each, `ID/record` in one directory.
//!
//! # Why not the log
//! It is the node's own knowledge, written at each turn of an alloc's life and of no meaning elsewhere. A file per
//! alloc is replaced whole: a crash leaves the old one or the new one, and a bad block costs one alloc its memory,
//! not all.

mod disk;
mod fake;

use std::future::Future;
use std::io;
use std::path::PathBuf;

use mill_model::{AllocId, Phase};
use thiserror::Error;

pub use disk::DiskRecords;
pub use fake::FakeRecords;

const READ: &str = "read";

/// A node's records of its allocs.
pub trait Records: Clone + Send + Sync + 'static {
    /// Keeps `bytes` in place of what was kept before; on disk for good when it returns.
    fn write(&self, alloc: &AllocId, bytes: Vec<u8>)
    -> impl Future<Output = Result<(), RecordsError>> + Send;

    /// Notes that an alloc has ended for good in this phase, where that can't be written any more. Works on a full
    /// disk. The next write replaces it; where nothing was ever kept there is nothing to note.
    fn mark_over(
        &self,
        alloc: &AllocId,
        phase: Phase,
    ) -> impl Future<Output = Result<(), RecordsError>> + Send;

    /// What was written last; `None`: nothing.
    fn read(&self, alloc: &AllocId) -> impl Future<Output = Result<Option<Kept>, RecordsError>> + Send;

    /// Every alloc that has a record, with its bytes or why they can't be had.
    fn list(&self) -> impl Future<Output = Result<Vec<Listed>, RecordsError>> + Send;

    /// Removes what was kept. None there is as good.
    fn remove(&self, alloc: &AllocId) -> impl Future<Output = Result<(), RecordsError>> + Send;
}

/// What is kept of one alloc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// As they were written.
    pub bytes: Vec<u8>,
    /// How it has ended since, if the bytes don't say so.
    pub over: Option<Phase>,
}

/// One record of [`Records::list`].
#[derive(Debug)]
pub struct Listed {
    /// Whose.
    pub alloc: AllocId,
    /// What it holds.
    pub kept: Result<Kept, RecordsError>,
}

/// Why a record can't be kept or had.
#[derive(Debug, Error)]
pub enum RecordsError {
    /// The disk refuses.
    #[error("failed to {doing} {}", path.display())]
    Disk {
        /// What was tried: `write`, `mark`, `read`, `list`, `remove`.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the disk says.
        source: io::Error,
    },
    /// The file isn't what was written: its checksum says so.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl RecordsError {
    /// Whether the file is there and useless, for good: not what was written, or on a bad block.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Disk { doing, source, .. } => *doing == READ && crate::files::is_damage(source),
        }
    }
}
