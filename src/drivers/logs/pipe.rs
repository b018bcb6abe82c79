//! The pipe between a container and its log: made, held, read.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, mkfifoat, open};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};

use super::LogError;

/// Bytes that a pipe may hold: what a container can write before it waits while nobody reads, so what a restart of
/// the plane may take. The kernel's default is 64 KB; memory is taken only as it fills.
const PIPE_BYTES: usize = 256 << 10;

/// A pipe held open, so that what is in it stays when everyone else is gone.
#[derive(Debug, Clone)]
pub struct Held {
    _pipe: Arc<OwnedFd>,
}

/// Makes a pipe unless it is there.
pub(super) fn make(path: &Path) -> Result<(), LogError> {
    match mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(LogError::Make { path: path.to_owned(), source: errno.into() }),
    }
}

/// Opens a pipe for reading and writing: nothing that others do ends it.
pub(super) fn open_pipe(path: &Path) -> Result<OwnedFd, LogError> {
    let failed = |source: io::Error| LogError::Open { path: path.to_owned(), source };
    let is_pipe = fs::symlink_metadata(path).map_err(failed)?.file_type().is_fifo();
    if !is_pipe {
        return Err(LogError::NoPipe { path: path.to_owned() });
    }
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))
}

pub(super) fn hold(path: &Path) -> Result<Held, LogError> {
    let pipe = open_pipe(path)?;
    // A larger pipe is a comfort: without it a container waits sooner.
    let _ = fcntl_setpipe_size(&pipe, PIPE_BYTES);
    Ok(Held { _pipe: Arc::new(pipe) })
}

/// Claims the right to read a pipe, until the descriptor and its copies are closed. Two readers would write their
/// halves of the output over each other.
pub(super) fn claim(pipe: &OwnedFd, path: &Path) -> Result<(), LogError> {
    flock(pipe, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
        Errno::WOULDBLOCK => LogError::Taken { path: path.to_owned() },
        errno => LogError::Open { path: path.to_owned(), source: errno.into() },
    })
}

/// What moving bytes came to.
#[derive(Debug)]
pub(super) enum Step {
    /// So many bytes left the pipe for the file.
    Moved(u64),
    /// The pipe is empty.
    Empty,
    /// The file's file system knows no splice.
    NoSplice,
    /// The file couldn't be written; nothing left the pipe.
    Refused(io::Error),
}

/// Moves up to `most` bytes into `file` at `offset`, in one system call.
pub(super) fn splice_into(pipe: &OwnedFd, file: &File, offset: u64, most: usize) -> Step {
    loop {
        let mut at = offset;
        let moved = splice(pipe.as_fd(), None, file.as_fd(), Some(&mut at), most, SpliceFlags::NONBLOCK);
        return match moved {
            Ok(0) | Err(Errno::AGAIN) => Step::Empty,
            Ok(moved) => Step::Moved(moved.try_into().unwrap_or(u64::MAX)),
            Err(Errno::INTR) => continue,
            Err(Errno::INVAL | Errno::NOSYS) => Step::NoSplice,
            Err(errno) => Step::Refused(errno.into()),
        };
    }
}

/// Takes up to `buffer`'s length out of the pipe; zero if it is empty.
pub(super) fn take(pipe: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        return match rustix::io::read(pipe, &mut *buffer) {
            Ok(taken) => Ok(taken),
            Err(Errno::AGAIN) => Ok(0),
            Err(Errno::INTR) => continue,
            Err(errno) => Err(errno.into()),
        };
    }
}
