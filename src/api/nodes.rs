//! `GET /v1/nodes`

use std::net::IpAddr;

use mill_model::{Advice, Bytes, Millicores, NodeId, NodeName, Resources, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A machine of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Its id, for ever.
    pub id: NodeId,
    /// What people call it.
    pub name: NodeName,
    /// Where other machines and mapped ports are reached.
    pub advertise: IpAddr,
    /// Whether it takes work.
    pub state: NodeState,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// Whether it leads the cluster.
    pub leader: bool,
    /// Version of its binary.
    pub version: String,
    /// What it has for containers.
    pub capacity: Resources,
    /// What its allocs have reserved.
    pub reserved: Resources,
    /// What its allocs use now; `None` where that isn't measured yet.
    #[serde(default)]
    pub used: Option<Usage>,
    /// Allocs that live on it.
    pub allocs: u32,
}

/// Whether a node takes work.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It takes work.
    #[default]
    Ready,
    /// It is being emptied.
    Draining,
    /// Its peers hear nothing from it: no new traffic, not yet given up.
    Suspect,
    /// Given up: its work is placed elsewhere.
    Down,
}

mill_model::every!(NodeState: Ready, Draining, Suspect, Down);

impl NodeState {
    /// What it means, and what to do about it.
    pub const fn advice(self) -> Advice {
        match self {
            Self::Ready => Advice::fine("it takes work"),
            Self::Draining => Advice::fine("it is being emptied, and takes no work"),
            Self::Suspect => Advice::mend(
                "its peers hear nothing from it: it gets no new traffic, and isn't given up yet",
                "is the machine up, and does `systemctl status mill` on it say so?",
            ),
            Self::Down => Advice::mend(
                "it was given up: its work is placed elsewhere",
                "bring it back, or remove it from the cluster",
            ),
        }
    }

    /// As people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

/// What containers use at the moment, as the node last measured it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Processor time per time.
    pub cpu: Millicores,
    /// Memory, page cache that can be dropped not counted.
    pub memory: Bytes,
}

impl Usage {
    /// The sum, at most the largest number.
    #[must_use]
    pub fn plus(self, other: &Self) -> Self {
        Self {
            cpu: Millicores(self.cpu.0.saturating_add(other.cpu.0)),
            memory: Bytes(self.memory.0.saturating_add(other.memory.0)),
        }
    }
}
