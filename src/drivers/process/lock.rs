//! One of a kind: a lock on a file or directory (flock(2)). The kernel lets go of it with its process, however that
//! ends.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{ProcessError, failed};

/// Attempts to lock the file that is at a path: after each of them somebody had removed it in that very moment.
const ATTEMPTS_MAX: u32 = 8;

/// A lock, for as long as this lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock `path`, a file; it and its directory are made if need be.
    ///
    /// # Errors
    /// [`ProcessError::Locked`] when another has it; else the disk's.
    pub fn take(path: &Path) -> Result<Self, ProcessError> {
        if let Some(directory) = path.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(failed("make", directory))?;
        }
        for _ in 0..ATTEMPTS_MAX {
            let mut options = OpenOptions::new();
            let file = options.create(true).write(true).truncate(false).mode(0o600).open(path);
            match Self::on(file.map_err(failed("open", path))?).map_err(failed("lock", path))? {
                Ok(lock) if lock.is_at(path) => return Ok(lock),
                // Whoever had it has removed it: whoever comes next would make another.
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Err(ProcessError::Locked { path: path.to_owned() })
    }

    /// Locks an open file or directory; gives it back if another has the lock.
    ///
    /// # Errors
    /// The system's own.
    pub fn on(file: File) -> io::Result<Result<Self, File>> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Ok(Self { file })),
            Err(Errno::WOULDBLOCK) => Ok(Err(file)),
            Err(errno) => Err(errno.into()),
        }
    }

    fn is_at(&self, path: &Path) -> bool {
        let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let (mine, there) = (self.file.metadata().map(id), std::fs::metadata(path).map(id));
        matches!((mine, there), (Ok(mine), Ok(there)) if mine == there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_locked_a_file_that_was_removed_has_locked_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = Lock::take(&path).unwrap();
        assert!(lock.is_at(&path));
        assert!(Lock::on(File::open(&path).unwrap()).unwrap().is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(!lock.is_at(&path));
        let next = Lock::take(&path).unwrap();
        assert!(next.is_at(&path) && !lock.is_at(&path));
    }
}
