//! Raft, as a machine of ours: what came in goes in, what must be done comes out. No clock, socket or disk.
//!
//! Inside is tikv's raft-rs 0.7.0. Only this crate knows its types and its protobuf: messages leave as bytes,
//! entries and marks as plain structs.
//!
//! # Why a wrapper
//!
//! - **Its panics.** raft-rs trusts its caller and its peers and ends the process where they break a rule.
//!   [`Machine`] checks first ([`StepError`], [`Unusable`]) and refuses.
//! - **Its dice.** It draws election timeouts from the thread's random source. Ours come from a seed, so that a
//!   simulation replays.
//! - **What was fixed after 0.7.0.** `next_idx` behind `matched` after a stale rejection (tikv/raft-rs#557): such
//!   rejections don't get in. Campaigning reads all entries between applied and committed (#530): no campaign
//!   while that is much. Applied beyond persisted (#537, #543, #561): reports are held within both. Forwarded
//!   proposals, whose fate nobody hears of (#552): refused with the leader's id. A joint configuration whose
//!   leader changes is never left: any leader leaves it.
//! - **Elections with entries in flight.** A sole voter that campaigns before its log is persisted hits an
//!   assertion; it waits.

mod check;
mod log;
mod machine;
mod membership;
mod random;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use thiserror::Error;

pub use check::StepError;
pub use machine::{Machine, ProposeError, Proposed, ReadError, announces};
pub use membership::{Change, ChangeRefused, Membership, VOTERS_MAX};

/// How a machine runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// This node's id: not 0, unique in the cluster, never used again.
    pub id: u64,
    /// What its election timeouts are drawn from.
    pub seed: u64,
    /// Ticks without a word from the leader after which a node may ask for an election; up to as many again
    /// are added at random.
    pub election_ticks: usize,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Longest data of an entry: longer proposals, and messages with longer ones, are refused.
    pub entry_bytes_max: usize,
    /// Entries gather in one message up to this many bytes.
    pub message_bytes_max: u64,
    /// Messages with entries that may be on their way to one follower: with the size of one, this bounds the
    /// memory that a slow follower costs.
    pub inflight_max: usize,
    /// Bytes of entries that may be proposed but not committed; then proposals are refused.
    pub uncommitted_bytes_max: u64,
    /// Bytes of committed entries that are handed out at once.
    pub committed_bytes_max: u64,
}

impl Settings {
    /// The settings that production and tests share.
    pub fn new(id: u64, seed: u64) -> Self {
        Self {
            id,
            seed,
            election_ticks: 10,
            heartbeat_ticks: 1,
            entry_bytes_max: 8 << 20,
            message_bytes_max: 1 << 20,
            inflight_max: 64,
            uncommitted_bytes_max: 64 << 20,
            committed_bytes_max: 8 << 20,
        }
    }
}

/// What Raft must not forget.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct HardState {
    /// Latest term seen.
    pub term: u64,
    /// Whom this node voted for in that term; 0 for nobody.
    pub vote: u64,
    /// Highest index known to be committed.
    pub commit: u64,
}

/// What an entry's data are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A command of the state machine; without data it is a new leader's first entry.
    Command,
    /// A change of the members.
    Members,
}

impl Kind {
    /// As a number, for the log on disk.
    pub fn number(self) -> u8 {
        match self {
            Self::Command => 0,
            Self::Members => 1,
        }
    }

    /// From that number.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Command),
            1 => Some(Self::Members),
            _ => None,
        }
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub index: u64,
    /// Term of the leader that made it.
    pub term: u64,
    /// What its data are.
    pub kind: Kind,
    /// The data.
    pub data: Bytes,
}

/// A point of the log that a snapshot stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Last index in the snapshot.
    pub index: u64,
    /// Term of the entry there.
    pub term: u64,
    /// Members as of there.
    pub members: Membership,
}

/// What a node finds on its disk.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The hard state.
    pub hard_state: HardState,
    /// The snapshot that the log starts from; a node that joins has none.
    pub mark: Option<Mark>,
    /// The entries after it.
    pub entries: Vec<Entry>,
}

/// Why what was found can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unusable {
    /// The settings contradict each other.
    #[error("raft settings are inconsistent: {reason}")]
    Settings {
        /// Which.
        reason: &'static str,
    },
    /// Entries don't follow the snapshot, or each other.
    #[error("entry {found} follows entry {last}")]
    Order {
        /// The one before.
        last: u64,
        /// The one found.
        found: u64,
    },
    /// More is committed than there is.
    #[error("index {commit} is committed, but the log has {first} to {last}")]
    Commit {
        /// The hard state's word.
        commit: u64,
        /// Index of the snapshot.
        first: u64,
        /// Last index of the log.
        last: u64,
    },
    /// The members contradict each other.
    #[error("the snapshot's members are inconsistent")]
    Members,
}

/// What a node is to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Follows, or would like to.
    Follower {
        /// Whom, if it knows.
        leader: Option<u64>,
    },
    /// Asks for votes, or whether it would get any.
    Candidate,
    /// Leads.
    Leader,
}

/// A message to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom.
    pub to: u64,
    /// For its [`Machine::step`].
    pub message: Bytes,
    /// The message announces the snapshot of this index: it is of no use without the state, which the sender
    /// adds; then tell [`Machine::snapshot_sent`].
    pub snapshot: Option<u64>,
}

/// An entry that is committed and persisted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its place. No index is left out.
    pub index: u64,
    /// Term of the leader that made it. A proposal whose index comes with another term is lost.
    pub term: u64,
    /// What to apply.
    pub payload: Payload,
}

/// What a committed entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A leader's first entry: nothing.
    Nothing,
    /// A command.
    Command(Bytes),
    /// The members are these from here on. The machine knows already.
    Members(Membership),
}

/// The answer to a [`Machine::read_index`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadReady {
    /// As given.
    pub context: Vec<u8>,
    /// A read is up to date once this index is applied.
    pub index: u64,
}

/// What must be done now.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Work {
    /// For [`Machine::persisted`]. Counts up.
    pub number: u64,
    /// To send at once.
    pub messages: Vec<Outgoing>,
    /// A snapshot from the leader takes the place of log and state: store and install it, then say
    /// [`Machine::applied`]. Comes before `entries`.
    pub install: Option<Mark>,
    /// To append; an index that is there already drops it and all after it.
    pub entries: Vec<Entry>,
    /// To store after the entries.
    pub hard_state: Option<HardState>,
    /// Must be durable before [`Machine::persisted`]; else only what came before must be.
    pub must_sync: bool,
    /// To send once this and everything before it is persisted.
    pub messages_after_persist: Vec<Outgoing>,
    /// To apply, in order.
    pub committed: Vec<Committed>,
    /// Reads that may go on.
    pub reads: Vec<ReadReady>,
}
