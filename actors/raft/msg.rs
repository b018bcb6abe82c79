//! What other rooms may ask of the log, and what it publishes.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use mill_fsm::{Cluster, Command, Done, Halt, Rejected};
use mill_model::{NodeId, Term};
use thiserror::Error;
use tokio::sync::watch;

use super::Stamps;
use crate::kit::{Message, Reply};

/// What the log is told and asked.
#[derive(Debug)]
pub enum Msg {
    /// Write a command and answer when it is applied here.
    Propose {
        /// The command.
        command: Command,
        /// What became of it.
        reply: Reply<Result<Done, ProposeError>>,
    },
    /// A tick of Raft's clock.
    Tick,
    /// The disk has carried out what it was given, or couldn't.
    Written(super::Written),
    /// The state was written down.
    SnapshotMade {
        /// As of this index.
        index: u64,
        /// The state.
        data: Result<Vec<u8>, super::NotMade>,
    },
    /// Time to try a snapshot again that found no room.
    Snapshot,
}

impl Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Propose { .. } => "propose",
            Self::Tick => "tick",
            Self::Written(_) => "written",
            Self::SnapshotMade { .. } => "snapshot_made",
            Self::Snapshot => "snapshot",
        }
    }
}

/// Why a command wasn't carried out, or isn't known to have been.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// The state machine refused it.
    #[error("the command was refused")]
    Rejected(#[source] Rejected),
    /// This node doesn't lead; in order 3 the write is forwarded.
    #[error("this node is not the leader")]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<NodeId>,
    },
    /// More commands wait than may.
    #[error("too many writes are waiting")]
    Overloaded,
    /// Longer than an entry of the log may be.
    #[error("the write has {length} bytes, more than the {limit} that one may have")]
    TooLong {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// Leadership was lost before it was committed: it may or may not be carried out.
    #[error("leadership was lost before the write was committed; it may still be carried out")]
    Uncertain,
    /// Entries above this binary's level: nothing is applied any more.
    #[error("this node no longer applies the log: it needs a newer version of mill")]
    Halted,
}

/// What this node is in Raft.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// The current term.
    pub term: Term,
    /// Who leads, if that is known.
    pub leader: Option<NodeId>,
    /// Whether that is this node, and it has applied everything from before its reign.
    pub is_leading: bool,
}

/// What the log publishes; outlives a crash of its actor.
#[derive(Debug, Clone)]
pub struct Published {
    /// The state after the last applied batch.
    pub cluster: watch::Sender<Arc<Cluster>>,
    /// The log's index as of which that is.
    pub(super) index: Arc<AtomicU64>,
    /// This node's role.
    pub role: watch::Sender<Role>,
    /// Why this node applies nothing more; `None`: it does.
    pub halted: watch::Sender<Option<Halt>>,
    /// Why the log can't be read or written at the moment: its disk is full, say. `None`: it can.
    pub trouble: watch::Sender<Option<String>>,
    /// The time of commands and deadlines.
    pub stamps: Stamps,
}

impl Default for Published {
    fn default() -> Self {
        Self {
            cluster: watch::Sender::new(Arc::default()),
            index: Arc::default(),
            role: watch::Sender::new(Role::default()),
            halted: watch::Sender::new(None),
            trouble: watch::Sender::new(None),
            stamps: Stamps::default(),
        }
    }
}
