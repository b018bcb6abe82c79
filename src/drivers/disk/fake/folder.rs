//! A directory of the fake disk: what its users see, what is on the platter, and what lies between.

use std::collections::BTreeMap;
use std::io;

use super::{Crash, Random};

/// What a power loss leaves whole or untouched.
const SECTOR: usize = 512;

type Id = u64;

#[derive(Debug, Default)]
pub(super) struct Folder {
    next: Id,
    files: BTreeMap<Id, Inode>,
    now: BTreeMap<String, Id>,
    durable: BTreeMap<String, Id>,
    /// Changes of names since the last sync.
    pending: Vec<NameChange>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Set(String, Id),
    Rename { from: String, to: String, id: Id },
    Remove(String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Id>) {
        match self {
            Self::Set(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Rename { from, to, id } => {
                if names.get(from) == Some(id) {
                    names.remove(from);
                }
                names.insert(to.clone(), *id);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Changes since the last sync.
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Change {
    /// Applies what touches `from..to`; the length follows on its own.
    fn apply(&self, content: &mut [u8], from: usize, to: usize) {
        let (offset, bytes) = match self {
            Self::Write { offset, bytes } => (*offset, bytes.as_slice()),
            Self::Length(length) => {
                if let Some(cut) = content.get_mut((*length).clamp(from, to)..to) {
                    cut.fill(0);
                }
                return;
            }
        };
        for (at, byte) in (offset..).zip(bytes).filter(|(at, _)| (from..to).contains(at)) {
            if let Some(place) = content.get_mut(at) {
                *place = *byte;
            }
        }
    }

    fn length(&self, before: usize) -> usize {
        match self {
            Self::Write { offset, bytes } => before.max(offset + bytes.len()),
            Self::Length(length) => *length,
        }
    }
}

impl Inode {
    fn change(&mut self, change: Change) {
        let length = change.length(self.now.len());
        self.now.resize(length, 0);
        change.apply(&mut self.now, 0, length);
        self.pending.push(change);
    }

    fn crash(&mut self, random: &mut Random) {
        let pending = std::mem::take(&mut self.pending);
        let mut lengths = vec![self.durable.len()];
        for change in &pending {
            lengths.push(change.length(lengths.last().copied().unwrap_or_default()));
        }
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let mut content = self.durable.clone();
        content.resize(longest, 0);
        for from in (0..longest).step_by(SECTOR) {
            let reached = random.below(pending.len() + 1);
            for change in pending.iter().take(reached) {
                change.apply(&mut content, from, (from + SECTOR).min(longest));
            }
        }
        content.truncate(lengths.get(random.below(lengths.len())).copied().unwrap_or_default());
        self.durable = content;
    }
}

impl Folder {
    pub(super) fn names(&self) -> Vec<String> {
        self.now.keys().cloned().collect()
    }

    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.now.keys().filter_map(|name| Some((name.clone(), self.content(name)?))).collect()
    }

    pub(super) fn used(&self) -> u64 {
        self.now.values().filter_map(|id| self.files.get(id)).map(|file| file.now.len() as u64).sum()
    }

    pub(super) fn content(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.files.get(self.now.get(name)?)?.now.clone())
    }

    pub(super) fn length(&self, name: &str) -> io::Result<u64> {
        let found = self.now.get(name).and_then(|id| self.files.get(id));
        found.map(|file| file.now.len() as u64).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn create(&mut self, name: &str) {
        self.next += 1;
        self.files.insert(self.next, Inode::default());
        self.rename_as(NameChange::Set(name.to_owned(), self.next));
    }

    pub(super) fn extend(&mut self, name: &str, length: u64) -> io::Result<()> {
        let longer = length.max(self.length(name)?);
        self.cut(name, longer)
    }

    pub(super) fn cut(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.file(name)?.change(Change::Length(place(length)));
        Ok(())
    }

    pub(super) fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.change(Change::Write { offset: place(offset), bytes: bytes.to_vec() });
        Ok(())
    }

    pub(super) fn sync(&mut self, name: &str) -> io::Result<()> {
        let file = self.file(name)?;
        // What an earlier failed or lying sync forgot stays forgotten: only pending changes are written out.
        for change in std::mem::take(&mut file.pending) {
            let length = change.length(file.durable.len());
            file.durable.resize(length, 0);
            change.apply(&mut file.durable, 0, length);
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, name: &str) -> io::Result<()> {
        let file = self.file(name)?;
        file.pending.clear();
        // The length is metadata: the file system's journal keeps it although the data never came.
        file.durable.resize(file.now.len(), 0);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let id = *self.now.get(from).ok_or(io::ErrorKind::NotFound)?;
        self.rename_as(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), id });
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.rename_as(NameChange::Remove(name.to_owned()));
    }

    pub(super) fn sync_names(&mut self) {
        self.pending.clear();
        self.durable = self.now.clone();
        self.files.retain(|id, _| self.durable.values().any(|named| named == id));
    }

    pub(super) fn flip(&mut self, name: &str, bit: usize) {
        let Ok(file) = self.file(name) else { return };
        for content in [&mut file.now, &mut file.durable] {
            if let Some(byte) = content.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    pub(super) fn crash(&mut self, crash: Crash, random: &mut Random) {
        if crash == Crash::Process {
            return;
        }
        let mut names = std::mem::take(&mut self.durable);
        for change in std::mem::take(&mut self.pending) {
            if crash == Crash::Torn && random.below(2) == 1 {
                change.apply(&mut names);
            }
        }
        for file in self.files.values_mut() {
            if crash == Crash::Torn {
                file.crash(random);
            }
            file.pending.clear();
            file.now = file.durable.clone();
        }
        self.files.retain(|id, _| names.values().any(|named| named == id));
        self.durable = names.clone();
        self.now = names;
    }

    fn rename_as(&mut self, change: NameChange) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    fn file(&mut self, name: &str) -> io::Result<&mut Inode> {
        let id = self.now.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.files.get_mut(id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
