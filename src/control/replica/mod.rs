//! One replica of the replicated log: consensus and the log on disk, put together as one machine.
//!
//! Inputs go in by methods, what must be done comes out by [`Replica::effects`]. Nothing here waits: the owner
//! hands [`Effects::write`] to a disk and says [`Replica::persisted`] when it is done; meanwhile it may go on
//! with everything else. What the entries mean is not known here; the state machine is the owner's.
//!
//! # Order
//!
//! - A vote, an acknowledgement of entries and anything else that others rely on is sent only when what it
//!   rests on is durable; a leader's entries are sent at once, and its own disk counts when it is done.
//! - Of what is committed only what is durable *here* is handed out.
//! - One batch is with the disk at a time. What comes meanwhile gathers: one sync covers it all.
//! - A snapshot from the leader is stored, then handed out to be installed, then the entries after it.
//! - The log before a snapshot is removed when the snapshot is durable, not before.
//!
//! # When the disk fails
//!
//! After an error of any batch nothing is known about the disk, nor about what a page cache shows of it. The
//! owner drops the replica and the directory, opens the directory anew and recovers; that is also how it starts.

use bytes::Bytes;
use mill_consensus as consensus;
use mill_consensus::{
    Change, ChangeRefused, Committed, Machine, Membership, Outgoing, ProposeError, Proposed, ReadError,
    ReadReady, Restored, Role, Settings, StepError, Unusable, Work,
};
use mill_wal as wal;
use mill_wal::{Batch, EntryView, Limits, Oversized, Recovered, Writer};
use thiserror::Error;

mod machine;
#[cfg(test)]
mod tests;

/// A snapshot is made when the log after the last one has grown to this many bytes: a restart applies no more
/// than that again, well below a second of work. If the last snapshot was larger than this, its size counts, so
/// that snapshots never cost more writing than the log itself.
pub const SNAPSHOT_AFTER_BYTES: u64 = 8 << 20;

/// One replica.
pub struct Replica {
    machine: Machine,
    writer: Writer,
    id: u64,
    /// What the next batch is for.
    gathered: Gathered,
    /// What the batch that the disk works on is for.
    out: Option<(u64, Gathered)>,
    /// State that came with a message, until raft-rs says whether it wants it.
    incoming: Option<(u64, Vec<u8>)>,
    effects: Effects,
    said: (Role, u64),
    /// The owner was asked for a snapshot and hasn't made one.
    asked: bool,
    last_snapshot_bytes: u64,
    snapshot_after_bytes: u64,
}

/// What becomes true with a batch.
#[derive(Debug, Default)]
struct Gathered {
    work: Option<u64>,
    messages: Vec<Outgoing>,
    install: Option<Snapshot>,
    compact: Option<consensus::Mark>,
}

/// The state up to an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Last index in it.
    pub index: u64,
    /// The state; its owner knows the encoding.
    pub data: Vec<u8>,
}

/// What must be done, in this order as far as the order matters.
#[derive(Debug, Default)]
pub struct Effects {
    /// Messages to send. Losing some is allowed.
    pub send: Vec<Outgoing>,
    /// Orders for the disk. When all are done say [`Replica::persisted`].
    pub write: Option<Batch>,
    /// Takes the place of the state; before `apply`. Then say [`Replica::applied`].
    pub install: Option<Snapshot>,
    /// To apply. Then say [`Replica::applied`].
    pub apply: Vec<Committed>,
    /// Reads whose index is known.
    pub reads: Vec<ReadReady>,
    /// This node's role and term, when they changed.
    pub role: Option<(Role, u64)>,
    /// Make a snapshot of what is applied and hand it to [`Replica::snapshot_made`]. Asked once until then.
    pub snapshot_wanted: bool,
    /// The replica stands still.
    pub fault: Option<Fault>,
}

/// Why a replica can't go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The log can't take an entry that the consensus let in: their limits differ.
    #[error(transparent)]
    Oversized(#[from] Oversized),
    /// The consensus wants a state installed that didn't come with the message that announced it.
    #[error("the state as of index {index} is to be installed and isn't there")]
    NoState {
        /// Its last index.
        index: u64,
    },
}

/// Why a log can't be gone on with.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The consensus finds that it contradicts itself.
    #[error("the recovered log can't be used")]
    Unusable {
        /// Why.
        source: Unusable,
    },
    /// A record that this binary doesn't know.
    #[error("entry {index} of the log is of unknown kind {kind}")]
    Kind {
        /// Its index.
        index: u64,
        /// Its kind.
        kind: u8,
    },
    /// The snapshot names members that contradict each other.
    #[error("the members in the snapshot at index {index} can't be read")]
    Members {
        /// Its index.
        index: u64,
    },
}

/// Why a message was not taken in.
#[derive(Debug, Error)]
pub enum MessageError {
    /// The consensus refused it.
    #[error("the message was refused")]
    Refused {
        /// Why.
        source: StepError,
    },
    /// It announces a snapshot and came without its state.
    #[error("the message announces the snapshot at index {index} but brings no state")]
    WithoutState {
        /// Which.
        index: u64,
    },
}

/// How a replica runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The consensus's settings.
    pub consensus: Settings,
    /// The log's sizes.
    pub log: Limits,
    /// See [`SNAPSHOT_AFTER_BYTES`].
    pub snapshot_after_bytes: u64,
}

impl Config {
    /// For a node with this id; `seed` is what its election timeouts are drawn from.
    pub fn new(id: u64, seed: u64) -> Self {
        let consensus = Settings { entry_bytes_max: wal::ENTRY_BYTES_MAX, ..Settings::new(id, seed) };
        Self { consensus, log: Limits::default(), snapshot_after_bytes: SNAPSHOT_AFTER_BYTES }
    }
}

/// Index of the snapshot that a new cluster starts with. Its log has no entry before that, so that whoever joins
/// with an empty log needs a snapshot and gets the members with it.
pub const FIRST_INDEX: u64 = 1;
