//! A disk in memory that loses power, tears, fails, fills up and lies, all from one seed.
//!
//! A handle is shared: tests keep one clone to break what the other clone's user relies on. No time, no
//! threads, no runtime: the simulation uses it too.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Action, Directory, Disk, DiskError};

mod folder;

use folder::Folder;

/// What a crash leaves of what wasn't synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Only the process died: the page cache lives on, all is there.
    Process,
    /// Power was lost and nothing that wasn't synced had been written out.
    Forgetful,
    /// Power was lost while the disk was writing: of each sector of 512 bytes any version since the last sync
    /// is there, files have any length that they had, and creations, renames and removals happened or didn't.
    Torn,
}

/// What a sync does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Syncs {
    /// What it says.
    #[default]
    Honest,
    /// Answers at once and does nothing: a later honest one makes up for it.
    Deferred,
    /// Answers, does nothing, and forgets that there was anything to do: only writing again helps.
    Lying,
}

/// An error to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk reports an error. A failed sync drops what wasn't written, as Linux does: the pages read back
    /// as written, but are never written out.
    Broken,
    /// No space left; of a write any part was made.
    Full,
    /// The file system has become read-only.
    ReadOnly,
}

/// The disk.
#[derive(Debug, Clone)]
pub struct FakeDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    folders: BTreeMap<PathBuf, Folder>,
    locked: BTreeSet<PathBuf>,
    /// Counts crashes: a directory opened before one is of a dead process.
    life: u64,
    /// Changes and syncs asked for so far.
    ops: u64,
    fault: Option<(u64, Fault)>,
    syncs: Syncs,
    capacity: u64,
    read_only: bool,
    random: Random,
}

/// splitmix64, by Sebastiano Vigna, in the public domain.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        usize::try_from(z % (bound.max(1) as u64)).unwrap_or_default()
    }
}

impl FakeDisk {
    /// An empty disk without end that does what it is told.
    pub fn new(seed: u64) -> Self {
        let state = State {
            folders: BTreeMap::new(),
            locked: BTreeSet::new(),
            life: 0,
            ops: 0,
            fault: None,
            syncs: Syncs::Honest,
            capacity: u64::MAX,
            read_only: false,
            random: Random(seed),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Ends the process that uses the disk, and takes its power away if `crash` says so. Open directories
    /// answer with errors from now on; faults that were set are forgotten, read-only and capacity stay.
    pub fn crash(&self, crash: Crash) {
        let mut state = self.state();
        state.life += 1;
        state.locked.clear();
        state.fault = None;
        state.syncs = Syncs::Honest;
        let State { folders, random, .. } = &mut *state;
        for folder in folders.values_mut() {
            folder.crash(crash, random);
        }
    }

    /// How many changes and syncs were asked for so far.
    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// Makes the change or sync of this number, as [`Self::ops`] counts, fail, once.
    pub fn fail_at(&self, op: u64, fault: Fault) {
        self.state().fault = Some((op, fault));
    }

    /// How syncs behave from now on.
    pub fn set_syncs(&self, syncs: Syncs) {
        self.state().syncs = syncs;
    }

    /// Bytes that are in use, with what is set aside.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Bytes that fit, with what is set aside.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Whether changes are refused from now on.
    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// Flips a bit on the disk itself, synced or not. Nothing if there is no such bit.
    pub fn flip(&self, directory: &Path, file: &str, bit: usize) {
        if let Some(folder) = self.state().folders.get_mut(directory) {
            folder.flip(file, bit);
        }
    }

    /// What a reader sees of a directory now.
    pub fn files(&self, directory: &Path) -> BTreeMap<String, Vec<u8>> {
        self.state().folders.get(directory).map(Folder::files).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test's panic elsewhere doesn't make the bytes wrong.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn used(&self) -> u64 {
        self.folders.values().map(Folder::used).sum()
    }

    /// Counts a change and finds out whether it fails.
    fn next(&mut self) -> Option<Fault> {
        let number = self.ops;
        self.ops += 1;
        let fault = self.fault.take_if(|(at, _)| *at == number).map(|(_, fault)| fault);
        if self.read_only { Some(Fault::ReadOnly) } else { fault }
    }
}

impl Disk for FakeDisk {
    type Directory = FakeDirectory;

    fn open(&self, path: &Path) -> Result<FakeDirectory, DiskError> {
        let mut state = self.state();
        if !state.locked.insert(path.to_owned()) {
            return Err(DiskError::Locked { path: path.to_owned(), holder: None });
        }
        state.folders.entry(path.to_owned()).or_default();
        Ok(FakeDirectory { disk: self.clone(), path: path.to_owned(), life: state.life })
    }

    fn free(&self, _path: &Path) -> Result<u64, DiskError> {
        let state = self.state();
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

/// An open directory of the fake disk.
#[derive(Debug)]
pub struct FakeDirectory {
    disk: FakeDisk,
    path: PathBuf,
    life: u64,
}

impl Drop for FakeDirectory {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locked.remove(&self.path);
        }
    }
}

impl FakeDirectory {
    fn error(&self, action: Action, file: &str, kind: io::ErrorKind) -> DiskError {
        DiskError::new(action, self.path.join(file), kind.into())
    }

    /// Looks at the directory, if the process that opened it still lives.
    fn look<T>(
        &self,
        action: Action,
        file: &str,
        call: impl FnOnce(&mut State, &Path) -> io::Result<T>,
    ) -> Result<T, DiskError> {
        let mut state = self.disk.state();
        if state.life != self.life {
            return Err(self.error(action, file, io::ErrorKind::NotConnected));
        }
        call(&mut state, &self.path).map_err(|source| DiskError::new(action, self.path.join(file), source))
    }

    /// Changes something, unless it is time for a fault.
    fn change(
        &self,
        action: Action,
        file: &str,
        call: impl FnOnce(&mut Folder) -> io::Result<()>,
    ) -> Result<(), DiskError> {
        self.look(action, file, |state, path| {
            if let Some(fault) = state.next() {
                return Err(fault.into());
            }
            call(state.folders.entry(path.to_owned()).or_default())
        })
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Broken => io::Error::other("input/output error"),
            Fault::Full => io::ErrorKind::StorageFull.into(),
            Fault::ReadOnly => io::ErrorKind::ReadOnlyFilesystem.into(),
        }
    }
}

impl Directory for FakeDirectory {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        self.look(Action::List, "", |state, path| {
            Ok(state.folders.get(path).map(Folder::names).unwrap_or_default())
        })
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, DiskError> {
        self.look(Action::Read, file, |state, path| {
            let found = state.folders.get(path).and_then(|folder| folder.content(file));
            found.ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn create(&mut self, file: &str) -> Result<(), DiskError> {
        self.change(Action::Create, file, |folder| {
            folder.create(file);
            Ok(())
        })
    }

    fn reserve(&mut self, file: &str, length: u64) -> Result<(), DiskError> {
        self.look(Action::Reserve, file, |state, path| {
            let used = state.used();
            let (fault, capacity) = (state.next(), state.capacity);
            let folder = state.folders.entry(path.to_owned()).or_default();
            let more = length.saturating_sub(folder.length(file)?);
            match fault {
                Some(fault) => Err(fault.into()),
                None if used + more > capacity => Err(Fault::Full.into()),
                None => folder.extend(file, length),
            }
        })
    }

    fn write(&mut self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.look(Action::Write, file, |state, path| {
            let used = state.used();
            let fault = state.next();
            let folder = state.folders.entry(path.to_owned()).or_default();
            let more = (offset + bytes.len() as u64).saturating_sub(folder.length(file)?);
            let lacking = (used + more).saturating_sub(state.capacity);
            let fits = bytes.len().saturating_sub(usize::try_from(lacking).unwrap_or(usize::MAX));
            match fault {
                None if lacking == 0 => folder.write(file, offset, bytes),
                Some(Fault::ReadOnly) => Err(Fault::ReadOnly.into()),
                fault => {
                    let part = if lacking == 0 { state.random.below(bytes.len()) } else { fits };
                    folder.write(file, offset, bytes.get(..part).unwrap_or_default())?;
                    Err(fault.unwrap_or(Fault::Full).into())
                }
            }
        })
    }

    fn truncate(&mut self, file: &str, length: u64) -> Result<(), DiskError> {
        self.change(Action::Truncate, file, |folder| folder.cut(file, length))
    }

    fn sync(&mut self, file: &str) -> Result<(), DiskError> {
        self.look(Action::Sync, file, |state, path| {
            let (fault, syncs) = (state.next(), state.syncs);
            let folder = state.folders.entry(path.to_owned()).or_default();
            match (fault, syncs) {
                (Some(fault), _) => {
                    folder.forget(file)?;
                    Err(fault.into())
                }
                (None, Syncs::Honest) => folder.sync(file),
                (None, Syncs::Deferred) => folder.length(file).map(|_| ()),
                (None, Syncs::Lying) => folder.forget(file),
            }
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.change(Action::Rename, from, |folder| folder.rename(from, to))
    }

    fn remove(&mut self, file: &str) -> Result<(), DiskError> {
        self.change(Action::Remove, file, |folder| {
            folder.remove(file);
            Ok(())
        })
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        self.look(Action::Sync, "", |state, path| {
            if let Some(fault) = state.next() {
                return Err(fault.into());
            }
            let syncs = state.syncs;
            let folder = state.folders.entry(path.to_owned()).or_default();
            match syncs {
                Syncs::Honest => folder.sync_names(),
                Syncs::Deferred | Syncs::Lying => {}
            }
            Ok(())
        })
    }
}
