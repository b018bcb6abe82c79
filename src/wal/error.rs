//! Why a log can't be read, and why a thing can't be written.

use thiserror::Error;

use crate::FileName;

/// Why a log is refused. None of these is healed by trying again; a node with other members restores itself
/// from them.
#[derive(Debug, Error)]
pub enum WalError<E: std::error::Error + 'static> {
    /// The disk could not be read.
    #[error("failed to read the log")]
    Read {
        /// The disk's word.
        source: E,
    },
    /// Bytes that were whole once are not any more.
    #[error("{file} is damaged at byte {offset}: {damage}")]
    Damaged {
        /// The file.
        file: FileName,
        /// Where the damaged piece (header, record or chunk) starts.
        offset: u64,
        /// What is wrong with it.
        damage: Damage,
    },
    /// Written by a later Mill.
    #[error("{file} has format version {found}, this binary knows {known} at most")]
    Version {
        /// The file.
        file: FileName,
        /// Its version.
        found: u32,
        /// The latest that this binary reads.
        known: u32,
    },
    /// A file between two others is gone.
    #[error("{file} is missing from the log")]
    Missing {
        /// The file that should be there.
        file: FileName,
    },
    /// A file of some other log.
    #[error("{file} belongs to log {found:016x}, not to {expected:016x}")]
    Foreign {
        /// The file.
        file: FileName,
        /// The log that it names.
        found: u64,
        /// The log that the first segment names.
        expected: u64,
    },
    /// Snapshots without a log: somebody removed the segments.
    #[error("the directory has {file} but no segment of the log")]
    OnlySnapshots {
        /// One of them.
        file: FileName,
    },
    /// Entries between snapshot and log are gone.
    #[error("the log starts at index {first}, its snapshot ends at {snapshot}")]
    Gap {
        /// Last index of the snapshot.
        snapshot: u64,
        /// First index in the segments.
        first: u64,
    },
    /// The hard state names a committed index that no segment has.
    #[error("index {commit} is committed, but the log ends at {last}")]
    CommitBeyondEnd {
        /// The hard state's word.
        commit: u64,
        /// Last index found.
        last: u64,
    },
}

/// What is wrong with a piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Damage {
    /// The header of a segment or snapshot.
    #[error("the file's header fails its checksum")]
    FileHeader,
    /// A record's header.
    #[error("a record's header fails its checksum")]
    RecordHeader,
    /// A record's payload.
    #[error("a record's content fails its checksum")]
    RecordContent,
    /// Synced bytes aren't there any more.
    #[error("the file ends before byte {expected}, up to which it was synced")]
    CutShort {
        /// Where it ended.
        expected: u64,
    },
    /// A sound record that doesn't make sense.
    #[error("a record's checksum is right but its content isn't")]
    Nonsense,
    /// A sound record that doesn't follow the one before it.
    #[error("entry {found} follows entry {last}")]
    Order {
        /// Last index before.
        last: u64,
        /// Index that came.
        found: u64,
    },
    /// The end of a segment isn't the one that the next segment remembers.
    #[error("its last record isn't the one that the next segment follows")]
    Chain,
    /// A chunk of a snapshot.
    #[error("a chunk of the snapshot fails its checksum")]
    SnapshotContent,
    /// A sound snapshot, but not the one that the log means.
    #[error("the snapshot isn't the one that the log names")]
    SnapshotDiffers,
}

/// An entry above [`crate::ENTRY_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an entry has at most {} bytes, this has {length}", crate::ENTRY_BYTES_MAX)]
pub struct Oversized {
    /// Its length.
    pub length: usize,
}
