//! `GET /v1/projects`, `GET /v1/projects/{p}/history`

use std::collections::BTreeMap;

use mill_model::{DeployId, ImageRef, ProjectName, Timestamp, WorkloadName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::deploys::{Action, DeployState};

/// What one config file describes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// How many services it has.
    pub services: u32,
    /// How many tasks.
    pub tasks: u32,
    /// The deploy whose config it has now.
    #[serde(default)]
    pub current: Option<DeployId>,
    /// When that ended.
    #[serde(default)]
    pub deployed_at: Option<Timestamp>,
    /// The deploy at work on it.
    #[serde(default)]
    pub deploying: Option<DeployId>,
}

/// A past or running deploy in a project's history, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    /// Its number.
    pub id: DeployId,
    /// What was asked for.
    pub action: Action,
    /// How it stands or ended.
    pub state: DeployState,
    /// Why it failed, in a sentence.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// How long it took; `None` while it runs.
    #[serde(default)]
    pub took_ms: Option<u64>,
    /// Name of the token that asked.
    #[serde(default)]
    pub by: Option<String>,
    /// What it ran, pinned.
    pub images: BTreeMap<WorkloadName, ImageRef>,
    /// Whether the project has this config now.
    pub current: bool,
}
