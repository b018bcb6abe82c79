//! The file system.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Action, Directory, Disk, DiskError};

/// Files kept open: the segment in use and the snapshot that is being written; two more in the change from
/// one segment to the next. A file is synced through the handle that wrote it, which is the one that learns of
/// a failed write-back.
const HANDLES_MAX: usize = 4;

/// Held by the process that has the directory open. Its content is the holder's process id, for people.
const LOCK: &str = "lock";

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    type Directory = RealDirectory;

    fn open(&self, path: &Path) -> Result<RealDirectory, DiskError> {
        let failed = |source| DiskError::new(Action::Open, path, source);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = lock(path)?;
        let handle = File::open(path).map_err(failed)?;
        Ok(RealDirectory { path: path.to_owned(), handle, files: BTreeMap::new(), _lock: lock })
    }

    fn free(&self, path: &Path) -> Result<u64, DiskError> {
        let seen = rustix::fs::statvfs(path);
        let seen = seen.map_err(|source| DiskError::new(Action::List, path, source.into()))?;
        Ok(seen.f_bavail.saturating_mul(seen.f_frsize))
    }
}

/// An open directory of the file system.
#[derive(Debug)]
pub struct RealDirectory {
    path: PathBuf,
    handle: File,
    files: BTreeMap<String, File>,
    _lock: File,
}

/// Takes the lock. The kernel gives it back when the process ends, however it ends.
fn lock(directory: &Path) -> Result<File, DiskError> {
    let path = directory.join(LOCK);
    let failed = |source| DiskError::new(Action::Open, &path, source);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Only to name the holder; who can't be read is not named.
            let _unread = file.read_to_string(&mut text);
            return Err(DiskError::Locked { path: directory.to_owned(), holder: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

impl RealDirectory {
    fn file(&mut self, action: Action, name: &str) -> Result<&File, DiskError> {
        if !self.files.contains_key(name) {
            let path = self.path.join(name);
            let file = OpenOptions::new().read(true).write(true).open(&path);
            self.keep(name, file.map_err(|source| DiskError::new(action, path, source))?);
        }
        let gone = || DiskError::new(action, self.path.join(name), io::ErrorKind::NotFound.into());
        self.files.get(name).ok_or_else(gone)
    }

    /// The names of segments sort by age: the oldest handle goes.
    fn keep(&mut self, name: &str, file: File) {
        if self.files.len() >= HANDLES_MAX {
            self.files.pop_first();
        }
        self.files.insert(name.to_owned(), file);
    }

    fn on(
        &mut self,
        action: Action,
        name: &str,
        call: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<(), DiskError> {
        call(self.file(action, name)?).map_err(|source| DiskError::new(action, self.path.join(name), source))
    }
}

impl Directory for RealDirectory {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        let failed = |source| DiskError::new(Action::List, &self.path, source);
        let mut names = vec![];
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // What has no readable name isn't ours.
            names.extend(name.to_str().filter(|name| *name != LOCK).map(str::to_owned));
        }
        Ok(names)
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, DiskError> {
        let path = self.path.join(file);
        fs::read(&path).map_err(|source| DiskError::new(Action::Read, path, source))
    }

    fn create(&mut self, file: &str) -> Result<(), DiskError> {
        let path = self.path.join(file);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let handle = options.open(&path).map_err(|source| DiskError::new(Action::Create, path, source))?;
        self.files.remove(file);
        self.keep(file, handle);
        Ok(())
    }

    fn reserve(&mut self, file: &str, length: u64) -> Result<(), DiskError> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        self.on(Action::Reserve, file, |handle| {
            match fallocate(handle, FallocateFlags::empty(), 0, length) {
                // A file system that can't; the file then grows as it is written.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
                Err(errno) => Err(errno.into()),
            }
        })
    }

    fn write(&mut self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.on(Action::Write, file, |handle| handle.write_all_at(bytes, offset))
    }

    fn truncate(&mut self, file: &str, length: u64) -> Result<(), DiskError> {
        self.on(Action::Truncate, file, |handle| handle.set_len(length))
    }

    fn sync(&mut self, file: &str) -> Result<(), DiskError> {
        self.on(Action::Sync, file, File::sync_data)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let (old, new) = (self.path.join(from), self.path.join(to));
        fs::rename(&old, new).map_err(|source| DiskError::new(Action::Rename, old, source))?;
        self.files.remove(to);
        self.files.remove(from);
        Ok(())
    }

    fn remove(&mut self, file: &str) -> Result<(), DiskError> {
        self.files.remove(file);
        let path = self.path.join(file);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(DiskError::new(Action::Remove, path, source))
            }
            _ => Ok(()),
        }
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        self.handle.sync_all().map_err(|source| DiskError::new(Action::Sync, &self.path, source))
    }
}
