//! A directory of files that must survive power loss: the log's.
//!
//! All calls block; an actor runs them on a thread of its own. Nothing is durable before a sync says so, and a
//! sync that fails says nothing about what is on the disk: the kernel may have dropped what it couldn't write
//! and call the rest clean. After any error the directory is dropped, opened anew and recovered.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use mill_wal::{FileName, Op, Source};
use thiserror::Error;

mod fake;
mod real;

#[cfg(test)]
mod tests;

pub use fake::{Crash, FakeDirectory, FakeDisk, Fault, Syncs};
pub use real::{RealDirectory, RealDisk};

/// Opens directories.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open directory.
    type Directory: Directory;

    /// Opens a directory for this process alone and makes it if need be.
    ///
    /// # Errors
    /// [`DiskError::Locked`] when another process has it open; else the disk's.
    fn open(&self, path: &Path) -> Result<Self::Directory, DiskError>;

    /// Bytes that can still be written to the file system of a directory.
    ///
    /// # Errors
    /// The disk's.
    fn free(&self, path: &Path) -> Result<u64, DiskError>;
}

/// An open directory. Dropping it lets others open it.
pub trait Directory: Send + 'static {
    /// Names of its files, in any order.
    ///
    /// # Errors
    /// The disk's.
    fn list(&self) -> Result<Vec<String>, DiskError>;

    /// All bytes of a file.
    ///
    /// # Errors
    /// The disk's.
    fn read(&self, file: &str) -> Result<Vec<u8>, DiskError>;

    /// Makes an empty file; one of that name is emptied.
    ///
    /// # Errors
    /// The disk's.
    fn create(&mut self, file: &str) -> Result<(), DiskError>;

    /// Makes a file at least this long, with zeros, and sets the space aside where the file system can.
    ///
    /// # Errors
    /// The disk's; being unable to set space aside is none.
    fn reserve(&mut self, file: &str, length: u64) -> Result<(), DiskError>;

    /// Writes all of `bytes` at `offset`. After an error any part of them may have been written.
    ///
    /// # Errors
    /// The disk's.
    fn write(&mut self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Cuts a file to this length.
    ///
    /// # Errors
    /// The disk's.
    fn truncate(&mut self, file: &str, length: u64) -> Result<(), DiskError>;

    /// Returns when what was written to the file is durable.
    ///
    /// # Errors
    /// The disk's; then nothing is known.
    fn sync(&mut self, file: &str) -> Result<(), DiskError>;

    /// Gives a file another name; one of that name is replaced.
    ///
    /// # Errors
    /// The disk's.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file; that it isn't there is no error.
    ///
    /// # Errors
    /// The disk's.
    fn remove(&mut self, file: &str) -> Result<(), DiskError>;

    /// Returns when creations, renames and removals are durable.
    ///
    /// # Errors
    /// The disk's; then nothing is known.
    fn sync_directory(&mut self) -> Result<(), DiskError>;

    /// Carries out one of the log's orders.
    ///
    /// # Errors
    /// The disk's.
    fn perform(&mut self, op: &Op) -> Result<(), DiskError> {
        match op {
            Op::Create { file } => self.create(&file.to_string()),
            Op::Reserve { file, length } => self.reserve(&file.to_string(), *length),
            Op::Write { file, offset, bytes } => self.write(&file.to_string(), *offset, bytes),
            Op::Truncate { file, length } => self.truncate(&file.to_string(), *length),
            Op::Sync { file } => self.sync(&file.to_string()),
            Op::Rename { from, to } => self.rename(&from.to_string(), &to.to_string()),
            Op::Remove { file } => self.remove(&file.to_string()),
            Op::SyncDirectory => self.sync_directory(),
        }
    }
}

/// A directory as the log's recovery reads it.
#[derive(Debug)]
pub struct LogFiles<'a, D>(pub &'a D);

impl<D: Directory> Source for LogFiles<'_, D> {
    type Error = DiskError;

    fn list(&self) -> Result<Vec<FileName>, DiskError> {
        Ok(self.0.list()?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn read(&self, file: FileName) -> Result<Vec<u8>, DiskError> {
        self.0.read(&file.to_string())
    }
}

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Opening or making the directory.
    Open,
    /// Listing it.
    List,
    /// Reading a file.
    Read,
    /// Making a file.
    Create,
    /// Setting space aside.
    Reserve,
    /// Writing.
    Write,
    /// Cutting.
    Truncate,
    /// Syncing a file or the directory.
    Sync,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::List => "list",
            Self::Read => "read",
            Self::Create => "create",
            Self::Reserve => "set space aside for",
            Self::Write => "write",
            Self::Truncate => "truncate",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
        })
    }
}

/// Why a disk didn't do what it was asked to.
#[derive(Debug, Error)]
pub enum DiskError {
    /// No space, or the quota is used up. Goes away when something is removed.
    #[error("no space left to {action} {}", path.display())]
    Full {
        /// What was being done.
        action: Action,
        /// To which file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The file system is read-only, often because the kernel gave up on a failing disk.
    #[error("can't {action} {}: its file system is read-only", path.display())]
    ReadOnly {
        /// What was being done.
        action: Action,
        /// To which file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Another process has the directory open.
    #[error("{} is in use by {}", path.display(), holder.map_or("another process".into(), |pid| format!("process {pid}")))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who, if it said so.
        holder: Option<u32>,
    },
    /// Anything else.
    #[error("failed to {action} {}", path.display())]
    Failed {
        /// What was being done.
        action: Action,
        /// To which file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

impl DiskError {
    /// Sorts a system error.
    pub fn new(action: Action, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { action, path, source },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { action, path, source },
            _ => Self::Failed { action, path, source },
        }
    }

    /// Whether freeing space would help.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}
