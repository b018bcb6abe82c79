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

use mill_model::AllocId;
use thiserror::Error;

pub use disk::DiskRecords;
pub use fake::FakeRecords;

/// A node's records of its allocs.
pub trait Records: Clone + Send + Sync + 'static {
    /// Keeps `bytes` in place of what was kept before; on disk for good when it returns.
    fn write(&self, alloc: &AllocId, bytes: Vec<u8>)
    -> impl Future<Output = Result<(), RecordsError>> + Send;

    /// What was written last; `None`: nothing.
    fn read(&self, alloc: &AllocId) -> impl Future<Output = Result<Option<Vec<u8>>, RecordsError>> + Send;

    /// Every alloc that has a record, with its bytes or why they can't be had.
    fn list(&self) -> impl Future<Output = Result<Vec<Listed>, RecordsError>> + Send;

    /// Removes what was kept. None there is as good.
    fn remove(&self, alloc: &AllocId) -> impl Future<Output = Result<(), RecordsError>> + Send;
}

/// One record of [`Records::list`].
#[derive(Debug)]
pub struct Listed {
    /// Whose.
    pub alloc: AllocId,
    /// Its bytes.
    pub bytes: Result<Vec<u8>, RecordsError>,
}

/// Why a record can't be kept or had.
#[derive(Debug, Error)]
pub enum RecordsError {
    /// The disk refuses.
    #[error("failed to {doing} {}", path.display())]
    Disk {
        /// What was tried: `write`, `read`, `list`, `remove`.
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
    /// Whether the file is there and useless, for good.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}
