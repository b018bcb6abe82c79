//! `GET /v1/top`: what nodes and allocs use, read from the kernel when it is asked.
//!
//! # Why
//! Processor time is answered as a counter with the moment at which it was read: whoever looks makes rates of two
//! answers, over as long as it likes, and the node remembers nobody who looks.

use mill_model::{AllocId, NodeName, Phase, Resources, Timestamp, Workload};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::nodes::NodeState;

/// One look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Top {
    /// The node that looked: what others' containers use isn't in it.
    pub node: NodeName,
    /// When, by its wall clock.
    pub at: Timestamp,
    /// When, in microseconds of a clock that is never set. Two answers with the same number are one look.
    pub at_us: u64,
    /// Why nothing is known of what containers use; absent: it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The nodes, by name.
    pub nodes: Vec<TopNode>,
    /// The allocs that live, by workload and number.
    pub allocs: Vec<TopAlloc>,
}

/// A node and what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopNode {
    /// What it is called.
    pub name: NodeName,
    /// Whether it takes work.
    pub state: NodeState,
    /// What it has for containers.
    pub capacity: Resources,
}

/// An alloc and what it uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopAlloc {
    /// Its id.
    pub id: AllocId,
    /// What it is an instance of.
    pub workload: Workload,
    /// Where it is.
    pub node: NodeName,
    /// Where it is in its life.
    pub phase: Phase,
    /// Times that it was started again after a failure. Another number means another container: its counter begins
    /// at nothing.
    pub restarts: u32,
    /// What it can't exceed.
    pub limit: Resources,
    /// What its container has used and uses; absent: it has none, or that isn't known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
}

/// What a container has used and uses.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Spent {
    /// Processor time since its start, in microseconds.
    pub cpu_us: u64,
    /// Memory in bytes, page cache that can be dropped not counted.
    pub memory: u64,
}
