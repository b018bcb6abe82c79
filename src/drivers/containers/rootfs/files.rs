//! Files below a directory that can't be left.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Bytes read of any one file: passwd files of large sites have some hundred kilobytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A directory that is taken for `/`.
#[derive(Debug)]
pub(super) struct Files {
    root: OwnedFd,
}

impl Files {
    /// Takes `root` for `/`.
    pub(super) fn below(root: &Path) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(root, flags, Mode::empty())? })
    }

    /// What is at a path, links followed within the root.
    pub(super) fn stat(&self, path: &str) -> Result<Stat, Errno> {
        rustix::fs::fstat(self.open(path, OFlags::PATH)?)
    }

    /// The first bytes of a regular file, at most `most`.
    pub(super) fn head(&self, path: &str, most: u64) -> Result<Vec<u8>, Errno> {
        // Without O_NONBLOCK, an image with a FIFO in this place would stop us for good.
        let file = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        if !is_file(&rustix::fs::fstat(&file)?) {
            return Err(Errno::INVAL);
        }
        let mut bytes = Vec::new();
        let read = File::from(file).take(most).read_to_end(&mut bytes);
        read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(bytes)
    }

    /// A text file; nothing if it isn't there. Bytes that aren't text are replaced: they are in nobody's name.
    pub(super) fn text(&self, path: &str) -> Result<String, Errno> {
        match self.head(path, FILE_BYTES_MAX) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(String::new()),
            Err(errno) => Err(errno),
        }
    }

    fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }
}

/// Whether this is a regular file.
pub(super) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}
