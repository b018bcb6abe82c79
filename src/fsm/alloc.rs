//! Placed instances.

use mill_model::{AllocId, AllocStatus, DeployId, NodeId, Resources, SpecHash, Timestamp, Workload};
use serde::{Deserialize, Serialize};

/// Which text a replica runs. Equal versions need no restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Hash of the spec.
    pub hash: SpecHash,
    /// How many times its service was restarted by hand before: makes the same text a new version.
    pub restarts: u64,
}

/// Why an alloc shall run no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// A newer version took its place.
    Replaced,
    /// Its version failed.
    RolledBack,
    /// Fewer replicas are wanted.
    Surplus,
    /// Its service left the config.
    Removed,
    /// Somebody said so: only tasks are.
    Killed,
}

/// One placed instance of a service or task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alloc {
    /// Its id.
    pub id: AllocId,
    /// What it is an instance of.
    pub workload: Workload,
    /// Whether that is a task.
    pub is_task: bool,
    /// Number of the replica, from 0. Two versions may have the same during an update.
    pub index: u32,
    /// What it runs.
    pub version: Version,
    /// Where.
    pub node: NodeId,
    /// Which deploy placed it.
    pub deploy: DeployId,
    /// When.
    pub placed_at: Timestamp,
    /// What it reserves there while it lives.
    pub resources: Resources,
    /// Set: it shall stop.
    pub stop: Option<StopReason>,
    /// What its node last said.
    pub status: AllocStatus,
}

impl Alloc {
    /// Whether it shall run and may still do so.
    pub fn is_wanted(&self) -> bool {
        self.stop.is_none() && !self.status.phase.is_terminal()
    }

    /// Whether it takes room on its node.
    pub fn is_live(&self) -> bool {
        !self.status.phase.is_terminal()
    }
}
