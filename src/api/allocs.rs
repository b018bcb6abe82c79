//! `GET /v1/allocs?project=&service=&all=`

use std::net::IpAddr;

use mill_model::ports::MappedPort;
use mill_model::{AllocId, DeployId, Ended, Incarnation, NodeName, Phase, ProjectName, SpecHash, Timestamp};
use mill_model::{Workload, WorkloadName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::nodes::Usage;
use crate::pulling::Pulling;

/// Which allocs to list. Empty: all that live.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AllocQuery {
    /// Only of this project.
    #[serde(default)]
    pub project: Option<ProjectName>,
    /// Only of the services and tasks of this name.
    #[serde(default)]
    pub service: Option<WorkloadName>,
    /// Ended ones too.
    #[serde(default)]
    pub all: bool,
}

/// One placed instance of a service or task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alloc {
    /// Its id.
    pub id: AllocId,
    /// What it is an instance of.
    pub workload: Workload,
    /// Whether of a service or a task.
    pub kind: WorkloadKind,
    /// The replica's number, from 0.
    pub index: u32,
    /// Where it is.
    pub node: NodeName,
    /// Address of its mapped ports.
    pub address: IpAddr,
    /// Where it is in its life.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// When it was placed.
    pub created_at: Timestamp,
    /// Its current or last run; 0 before the first.
    pub incarnation: Incarnation,
    /// Times that it was started again after a failure.
    pub restarts: u32,
    /// Its ports and where they are reached.
    pub ports: Vec<MappedPort>,
    /// How its last incarnation ended.
    #[serde(default)]
    pub last_end: Option<Ended>,
    /// Hash of the spec that it runs.
    pub spec_hash: SpecHash,
    /// Whether that is an older version than its service wants.
    pub old: bool,
    /// The deploy that placed it.
    pub deploy: DeployId,
    /// What it uses now; `None` where that isn't measured yet.
    #[serde(default)]
    pub used: Option<Usage>,
    /// How far its image is; only while it waits for it, and its node has begun to fetch it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulling: Option<Pulling>,
}

/// What runs for ever and what runs to its end.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadKind {
    /// Long-running and replicated.
    #[default]
    Service,
    /// Runs to its end.
    Task,
}
