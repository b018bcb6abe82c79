//! One process of a kind per directory. The kernel lets go of the lock with its process, however that ends.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{ProcessError, failed};

/// A lock, for as long as this lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock `path`; its directory is made if need be.
    ///
    /// # Errors
    /// [`ProcessError::Locked`] when another has it; else the disk's.
    pub fn take(path: &Path) -> Result<Self, ProcessError> {
        if let Some(directory) = path.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(failed("make", directory))?;
        }
        let mut options = OpenOptions::new();
        let file = options.create(true).write(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(failed("open", path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(ProcessError::Locked { path: path.to_owned() }),
            Err(errno) => Err(failed("lock", path)(errno.into())),
        }
    }
}
