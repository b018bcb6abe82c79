//! The replicated log and the state that follows from it.
//!
//! - owns: this node's replica of the log, its directory, the state
//! - told by: whoever wants something written; its clock; the disk
//! - fails when: the disk fails, or the log on it can't be trusted
//! - restarted by: the node's root; it recovers from disk, which is also how it starts
//!
//! # Why
//! - The disk is written by a blocking task that takes the directory along and brings it back: one batch at a
//!   time, and the actor never waits. If the actor crashes meanwhile, the directory's lock keeps the next life
//!   out until the write has ended.
//! - A disk that is full, read-only or broken isn't given up: the log is opened again and again, what was published
//!   stays, and writes are refused with the disk's word meanwhile. A log that can't be trusted is given up.
//! - A snapshot is begun only when there is room for it: one that breaks off would take the log down with it, which may
//!   have room of its own, set aside.
//! - The state is published after each batch and before its proposers are answered, so that one reads what one
//!   wrote. None is published that is older than the last one: another life of the actor begins with what its log
//!   knows to be committed.

mod msg;
mod stamps;
mod state;

pub use msg::{Msg, ProposeError, Published, Role};
pub use stamps::{Jump, Stamps};
pub use state::State;

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use mill_drivers::clock::Clock;
use mill_drivers::disk::{Disk, DiskError};
use mill_model::NodeId;

use crate::kit::{Actor, Crash, Me, TaskPanicked};

/// Keeps the log.
pub struct Raft<K, C>(PhantomData<fn() -> (K, C)>);

/// What the log needs.
#[derive(Debug, Clone)]
pub struct Args<K, C> {
    /// Where it is kept.
    pub disk: K,
    /// Its directory.
    pub directory: PathBuf,
    /// Wall time, for the stamps.
    pub clock: C,
    /// This node.
    pub node: NodeId,
    /// Tells this cluster's log from others.
    pub log: u64,
    /// Whether this node had state before: an empty directory is then a loss, not a beginning.
    pub had_state: bool,
    /// Where election timeouts are drawn from.
    pub seed: u64,
    /// Where the state and the role are published.
    pub published: Published,
}

/// What came of a batch: its number and the directory, brought back.
pub struct Written {
    pub(super) number: u64,
    pub(super) result: Result<Box<dyn std::any::Any + Send>, NotWritten>,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Written({})", self.number)
    }
}

/// Why a batch isn't on disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWritten {
    #[error("failed to write the log")]
    Disk(#[from] DiskError),
    #[error("the task that writes the log has ended")]
    Task(#[from] TaskPanicked),
    #[error("the thread that writes the log has ended")]
    Join(#[from] tokio::task::JoinError),
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// The task was ended by a panic.
    #[error("the task that writes the state down has ended")]
    Task(#[from] TaskPanicked),
    /// Its thread was.
    #[error("the thread that writes the state down has ended")]
    Join(#[from] tokio::task::JoinError),
    /// It wouldn't fit on the disk.
    #[error("the state takes {bytes} bytes, and {} has {free} left", directory.display())]
    NoRoom {
        /// What it takes.
        bytes: u64,
        /// What there is.
        free: u64,
        /// Where.
        directory: PathBuf,
    },
    /// The disk doesn't say what there is.
    #[error("failed to see how much room the log has")]
    Disk(#[from] DiskError),
}

impl NotWritten {
    /// The crash that it means.
    pub(super) fn into_crash(self) -> Crash {
        match self {
            Self::Disk(_) => Crash::from_outside(self),
            Self::Task(_) | Self::Join(_) => self.into(),
        }
    }
}

impl<K: Disk, C: Clock> Actor for Raft<K, C> {
    type Msg = Msg;
    type Args = Args<K, C>;
    type State = State<K, C>;
    /// Writes that may wait: more than a whole cluster's nodes and clients send while one sync lasts.
    const MAILBOX_MAX: usize = 4096;

    async fn start(me: &Me<Self>, args: Args<K, C>) -> Result<Self::State, Crash> {
        let trouble = args.published.trouble.clone();
        State::open(me, args).await.inspect_err(|crash| {
            trouble.send_replace(Some(crash.to_string()));
        })
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut Self::State) -> Result<(), Crash> {
        match msg {
            Msg::Propose { command, reply } => state.propose(command, me.tempo(), reply),
            Msg::Tick => state.tick(me),
            Msg::Written(written) => state.written(written)?,
            Msg::SnapshotMade { index, data } => state.snapshot_made(me, index, data)?,
            Msg::Snapshot => state.make_snapshot(me),
        }
        state.go_on(me)
    }

    fn observe(state: &Self::State) -> serde_json::Value {
        state.observe()
    }
}
