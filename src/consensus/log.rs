//! The log's tail in memory: what raft-rs reads entries from. What is durable is somebody else's business.

use std::cell::Cell;
use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry as RaftEntry, EntryType, HardState as RaftState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState as Initial, Storage, StorageError};

use crate::{Entry, HardState, Kind, Mark, Membership, Restored, Unusable};

/// Entries that stay in memory behind a snapshot, so that a follower that is only a little late needs no
/// snapshot. As many bytes at most as one message of entries has.
const KEPT_BYTES: usize = 1 << 20;

pub(crate) struct Log {
    hard_state: RaftState,
    members: ConfState,
    /// Index and term before the first entry.
    base: (u64, u64),
    entries: VecDeque<RaftEntry>,
    mark: Option<Mark>,
    /// A follower needs a newer snapshot than there is.
    wanted: Cell<bool>,
}

impl Log {
    pub(crate) fn new(restored: Restored) -> Result<Self, Unusable> {
        let base = restored.mark.as_ref().map_or((0, 0), |mark| (mark.index, mark.term));
        let mut last = base.0;
        for entry in &restored.entries {
            if entry.index != last + 1 {
                return Err(Unusable::Order { last, found: entry.index });
            }
            last = entry.index;
        }
        let HardState { term, vote, commit } = restored.hard_state;
        if commit < base.0 || commit > last {
            return Err(Unusable::Commit { commit, first: base.0, last });
        }
        let mut hard_state = RaftState::default();
        (hard_state.term, hard_state.vote, hard_state.commit) = (term, vote, commit);
        Ok(Self {
            hard_state,
            members: restored.mark.as_ref().map(|mark| mark.members.to_proto()).unwrap_or_default(),
            base,
            entries: restored.entries.into_iter().map(to_raft).collect(),
            mark: restored.mark,
            wanted: Cell::new(false),
        })
    }

    pub(crate) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    pub(crate) fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// Whether a newer snapshot was asked for since the last call.
    pub(crate) fn take_wanted(&self) -> bool {
        self.wanted.take()
    }

    /// Takes entries in; they replace those from the first's index on.
    pub(crate) fn append(&mut self, entries: &[RaftEntry]) {
        let Some(first) = entries.first() else { return };
        let kept = usize::try_from(first.index.saturating_sub(self.base.0 + 1)).unwrap_or(usize::MAX);
        self.entries.truncate(kept);
        self.entries.extend(entries.iter().cloned());
    }

    /// A snapshot from the leader takes the place of everything.
    pub(crate) fn install(&mut self, mark: Mark) {
        self.entries.clear();
        self.base = (mark.index, mark.term);
        self.mark = Some(mark);
    }

    /// A snapshot made here lets go of what it contains, save a few entries.
    pub(crate) fn compact(&mut self, mark: Mark) {
        let mut room = KEPT_BYTES;
        let contained = self.entries.partition_point(|entry| entry.index <= mark.index);
        let mut gone = contained;
        while let Some(entry) = gone.checked_sub(1).and_then(|at| self.entries.get(at)) {
            let Some(left) = room.checked_sub(size(entry)) else { break };
            (room, gone) = (left, gone - 1);
        }
        if let Some(last) = self.entries.drain(..gone).next_back() {
            self.base = (last.index, last.term);
        }
        self.mark = Some(mark);
    }

    /// Bytes of entries in memory.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.entries.iter().map(size).sum()
    }

    fn at(&self, index: u64) -> Option<&RaftEntry> {
        let place = index.checked_sub(self.base.0 + 1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }
}

/// What an entry costs in a message or in memory, more or less.
fn size(entry: &RaftEntry) -> usize {
    entry.data.len() + 32
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<Initial> {
        Ok(Initial { hard_state: self.hard_state.clone(), conf_state: self.members.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<RaftEntry>> {
        if low <= self.base.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let mut room = max_size.into().unwrap_or(u64::MAX);
        let mut found = vec![];
        for index in low..high {
            let entry = self.at(index).ok_or(Error::Store(StorageError::Unavailable))?;
            let left = room.checked_sub(size(entry) as u64);
            // One entry at least, however long.
            if left.is_none() && !found.is_empty() {
                break;
            }
            room = left.unwrap_or_default();
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.0 {
            return Ok(self.base.1);
        }
        if index < self.base.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.at(index).map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// Only the mark: the state travels beside the message. A node ignores a snapshot of a time when it was no
    /// member yet.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        match &self.mark {
            Some(mark) if mark.index >= request_index && mark.members.contains(to) => Ok(to_snapshot(mark)),
            _ => {
                self.wanted.set(true);
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

pub(crate) fn to_snapshot(mark: &Mark) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = mark.index;
    metadata.term = mark.term;
    metadata.set_conf_state(mark.members.to_proto());
    snapshot
}

/// Nothing if the members contradict each other.
pub(crate) fn to_mark(snapshot: &Snapshot) -> Option<Mark> {
    let metadata = snapshot.get_metadata();
    let members = Membership::from_proto(metadata.get_conf_state())?;
    Some(Mark { index: metadata.index, term: metadata.term, members })
}

pub(crate) fn to_raft(entry: Entry) -> RaftEntry {
    let mut raft = RaftEntry::default();
    raft.set_entry_type(match entry.kind {
        Kind::Command => EntryType::EntryNormal,
        Kind::Members => EntryType::EntryConfChangeV2,
    });
    (raft.index, raft.term, raft.data) = (entry.index, entry.term, entry.data);
    raft
}

pub(crate) fn from_raft(entry: &RaftEntry) -> Entry {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => Kind::Command,
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => Kind::Members,
    };
    Entry { index: entry.index, term: entry.term, kind, data: Bytes::clone(&entry.data) }
}
