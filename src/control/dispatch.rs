//! What a leader and a node say to each other about allocs, and about images that they will need ([`crate::fetch`]).
//!
//! # How a session goes
//! 1. The leader opens it with its term. The node answers its [`Inventory`], or refuses an older term.
//! 2. The leader compares, and sends an [`Order`] for each difference, then says that this was all:
//!    the node has caught up. Only from then on does it clear away containers that belong to nothing.
//! 3. Orders follow as they arise; each is answered with an [`Ack`]. The node sends a [`Batch`] whenever
//!    something changed, one at a time; the leader acknowledges it once it is committed.
//!
//! # Why
//! Imperative and idempotent (architecture §3): an order may come twice, or after its effect; a lost one is
//! found by the next inventory. A status replaces the earlier one whole, so that a batch can be sent again.

use std::sync::Arc;

use mill_alloc::{Assignment, Heard};
use mill_model::{AllocId, AllocStatus, DeployId, SpecHash, Term, Workload};
use thiserror::Error;

use crate::fetch::{Fetched, Fetches};

/// What a leader wants of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Run this alloc.
    Run {
        /// Of the leader.
        term: Term,
        /// What is to run.
        assignment: Arc<Assignment>,
        /// What was last heard of it: nothing, for a new one.
        heard: Heard,
    },
    /// Stop it, remove its container, keep its logs.
    Stop {
        /// Of the leader.
        term: Term,
        /// Which.
        alloc: AllocId,
    },
    /// It is over and no longer listed: remove its logs and all that is known of it.
    Forget {
        /// Of the leader.
        term: Term,
        /// Which.
        alloc: AllocId,
    },
    /// Get these images before allocs need them, and let go of all others.
    Fetch {
        /// Of the leader.
        term: Term,
        /// All that are wanted now.
        images: Fetches,
    },
}

impl Order {
    /// Of the leader that gave it.
    pub const fn term(&self) -> Term {
        match self {
            Self::Run { term, .. }
            | Self::Stop { term, .. }
            | Self::Forget { term, .. }
            | Self::Fetch { term, .. } => *term,
        }
    }

    /// The alloc that it is about; `None`: it is about images.
    pub fn alloc(&self) -> Option<&AllocId> {
        match self {
            Self::Run { assignment, .. } => Some(&assignment.alloc),
            Self::Stop { alloc, .. } | Self::Forget { alloc, .. } => Some(alloc),
            Self::Fetch { .. } => None,
        }
    }
}

/// A node's answer to an [`Order`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Which alloc; `None`: the order was about images.
    pub alloc: Option<AllocId>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is under way; reports follow.
    Accepted,
    /// It was so, or under way, already.
    Already,
    /// The node has no such alloc: for `Stop` and `Forget` as good as done.
    Unknown,
    /// It isn't done.
    Refused(Refusal),
}

/// Why a node doesn't do what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Another leader was elected since.
    #[error("the order is of term {given}, this node has seen term {seen}")]
    StaleTerm {
        /// The order's.
        given: Term,
        /// The latest that the node has seen.
        seen: Term,
    },
    /// The id stands for something else here.
    #[error("alloc runs spec {} here", runs.short())]
    OtherSpec {
        /// The hash of what it runs.
        runs: SpecHash,
    },
    /// The pool of mapped ports is empty.
    #[error("the node has no mapped port left")]
    NoPorts(#[source] mill_alloc::ports::Exhausted),
    /// It can't be forgotten while it lives.
    #[error("the alloc hasn't ended")]
    NotEnded,
}

/// What a node has: all its allocs, ended ones too until they are forgotten.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// By id.
    pub allocs: Vec<Held>,
    /// Images that it was told to get.
    pub fetches: Fetches,
}

/// One alloc in an [`Inventory`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whose instance it is.
    pub workload: Workload,
    /// The spec that it runs.
    pub hash: SpecHash,
    /// The deploy that placed it.
    pub deploy: DeployId,
    /// Its latest status.
    pub status: AllocStatus,
    /// Whether it was told to stop.
    pub stopping: bool,
}

/// What a node says by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// How allocs are. To be acknowledged.
    Statuses(Batch),
    /// How images are that it was told to get. In place of what it said of them before.
    Images(Fetched),
}

/// Statuses that changed since they were last acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// To be named in the acknowledgement.
    pub sequence: u64,
    /// The latest of each alloc that changed.
    pub statuses: Vec<AllocStatus>,
}
