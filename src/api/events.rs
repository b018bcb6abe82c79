//! `GET /v1/events?follow=&since_id=`: what happened in the cluster. A list, or with `follow` a stream.

use mill_model::{AllocId, DeployId, NodeName, ProjectName, Timestamp, WorkloadName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which events to send.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventQuery {
    /// Go on with new ones as they come.
    #[serde(default)]
    pub follow: bool,
    /// Only those after this one. A stream's `Last-Event-ID` goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_id: Option<u64>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Counts up over the cluster; also the stream's event id.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// What kind, `alloc_healthy`: stable words, more with each version.
    pub kind: String,
    /// In which project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectName>,
    /// To which service or task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<WorkloadName>,
    /// To which alloc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alloc: Option<AllocId>,
    /// On which node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// In which deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<DeployId>,
    /// In a sentence.
    pub message: String,
}
