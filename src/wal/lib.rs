//! The log on disk: its format, what to order from a disk, and how to read it back. Bytes only, no I/O.
//!
//! # Files
//!
//! One flat directory. `00000000000000000007.log` is a segment, `00000000000000004711.snapshot` the state at
//! that index, `….snapshot.draft` one that is being written. A segment is a header and records; a record is
//! a 24-byte header and a payload: entries, Raft's hard state, or a mark (the log before this index is in
//! that snapshot). Every segment opens with the mark and the hard state of its time, so older ones can go.
//!
//! # Torn or rotten
//!
//! After a power loss the end of a log is in disorder, and that is fine: nobody was told that it is safe. A
//! damaged byte before that point is a catastrophe that must not pass as the former. What tells them apart:
//!
//! 1. Each record carries how far its segment was known to be synced when it was written. Damage before that
//!    point is rot, and so is damage in any segment that has a successor (whose header names the end and the
//!    last checksum of the one before it).
//! 2. The last synced batch has no successor that vouches for it. But a write that a power loss tore differs
//!    from a whole one in whole sectors: a sector is there, or it is what it was before (zeros, or past the
//!    end of the file). Payloads are masked so that no written sector is all zeros, and records end with a
//!    byte that isn't zero. So a record that fails its checksum although each of its sectors was written is
//!    rot too.
//! 3. Everything else is a torn tail: cut, the place reported, the cut made durable before the log goes on.
//!
//! Rot is refused with file, byte and reason; nothing after it is used, nothing is skipped.
//!
//! What can't be seen: a disk that loses whole sectors *at the end* of what it had confirmed, with nothing
//! written after them. It looks as if those writes had never been made.
//!
//! # After a failed sync
//!
//! The kernel may have dropped the pages that it could not write and call the rest clean, so repeating the
//! sync proves nothing. Whoever gets an error for a [`Batch`] throws the [`Writer`] away and recovers:
//! recovery writes all bytes that it can't prove synced once more before it goes on.

mod error;
mod file;
mod frame;
mod payload;
mod read;
mod recover;
mod segment;
mod snapshot;
mod verdict;
mod writer;

#[cfg(test)]
mod tests;

pub use error::{Damage, Oversized, WalError};
pub use file::{FileName, Op};
pub use recover::{Cut, Recovered, Recovery, Source, recover};
pub use snapshot::Snapshot;
pub use writer::{Batch, Limits, Writer};

/// Longest data of one entry. A whole project's spec is at most a mebibyte of text and grows a little when
/// encoded; more than this is refused before it can stall followers and recovery.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;

/// An entry of the log, as recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place, counted from 1.
    pub index: u64,
    /// Term of the leader that made it.
    pub term: u64,
    /// What its data are; the consensus knows.
    pub kind: u8,
    /// Opaque here.
    pub data: Vec<u8>,
}

impl Entry {
    /// This, borrowed.
    pub fn view(&self) -> EntryView<'_> {
        EntryView { index: self.index, term: self.term, kind: self.kind, data: &self.data }
    }
}

/// An entry to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryView<'a> {
    /// Its place, counted from 1. Writing an index again drops what was there and everything after it.
    pub index: u64,
    /// Term of the leader that made it.
    pub term: u64,
    /// What its data are; the consensus knows.
    pub kind: u8,
    /// Opaque here.
    pub data: &'a [u8],
}

/// What Raft must not forget (its paper's figure 2), and how far it knew the log to be committed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct HardState {
    /// Latest term seen.
    pub term: u64,
    /// Whom this node voted for in that term; 0 for nobody.
    pub vote: u64,
    /// Highest index known to be committed. May lag: it is learnt again.
    pub commit: u64,
}

/// Up to where the log is replaced by a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Last index that the snapshot contains.
    pub index: u64,
    /// Term of the entry at that index.
    pub term: u64,
    /// Members of the cluster as of that index; the consensus knows the encoding.
    pub members: Vec<u8>,
}
