//! `POST /v1/plan`: what a deploy would do. Nothing is changed.

use mill_model::{DeployId, ImageRef, NodeName, ProjectName, WorkloadName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::allocs::WorkloadKind;

/// What a deploy would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Whose.
    pub project: ProjectName,
    /// The deploy whose config it has now; `None`: the project is new.
    #[serde(default)]
    pub current: Option<DeployId>,
    /// The deploy at work on it, that this one would wait for.
    #[serde(default)]
    pub behind: Option<DeployId>,
    /// Its services and tasks, in the order in which they would be dealt with.
    pub services: Vec<PlannedService>,
    /// What should be known about the file as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

impl Plan {
    /// Whether a deploy would find nothing to do.
    pub fn is_empty(&self) -> bool {
        self.services.iter().all(|service| service.change == Change::Unchanged)
    }

    /// Whether something of it can't be done as things stand.
    pub fn is_refused(&self) -> bool {
        self.services.iter().any(|service| service.refusal.is_some())
    }
}

/// What a deploy would do to one service or task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedService {
    /// Its name.
    pub name: WorkloadName,
    /// Which of the two it is.
    pub kind: WorkloadKind,
    /// What would be done.
    pub change: Change,
    /// What it would run, pinned. `None`: it would be removed.
    #[serde(default)]
    pub image: Option<ImageRef>,
    /// Where its new replicas would be placed.
    #[serde(default)]
    pub placements: Vec<Placement>,
    /// What should be known beforehand: a gap, a scale that the file overrules.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Why it can't be done as things stand.
    #[serde(default)]
    pub refusal: Option<Refusal>,
}

/// A kind of change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Create {
        /// How many replicas.
        replicas: u32,
    },
    /// Its replicas would be replaced.
    Change {
        /// What is different.
        fields: Vec<FieldChange>,
    },
    /// Only what running containers don't depend on: its replicas go on.
    Settings {
        /// What is different.
        fields: Vec<FieldChange>,
    },
    /// Only their number would change.
    Scale {
        /// Replicas now.
        from: u32,
        /// Replicas wanted.
        to: u32,
    },
    /// A task would run: it is new, it changed, or what waits for it changed.
    Run {
        /// What is different about the task itself.
        fields: Vec<FieldChange>,
    },
    /// It isn't touched.
    Unchanged,
    /// It left the file and would be stopped.
    Remove,
}

/// A field that is different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChange {
    /// Which, as the config calls it: `image`, `env DATABASE_URL`, `health interval`.
    pub field: String,
    /// What it is now; `None`: it isn't set.
    #[serde(default)]
    pub from: Option<String>,
    /// What it would be; `None`: it would no longer be set.
    #[serde(default)]
    pub to: Option<String>,
}

/// Replicas on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Placement {
    /// Where.
    pub node: NodeName,
    /// How many.
    pub replicas: u32,
}

/// What should be known before a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// What will happen.
    pub message: String,
    /// What could be done about it.
    #[serde(default)]
    pub hint: Option<String>,
}

/// Why something can't be placed or done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// In a sentence.
    pub reason: String,
    /// What each node lacks.
    #[serde(default)]
    pub nodes: Vec<NodeRefusal>,
    /// What to do.
    #[serde(default)]
    pub hint: Option<String>,
}

/// Why one node can't take something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeRefusal {
    /// Which.
    pub node: NodeName,
    /// Why: `512M of memory free, 2G asked for`.
    pub reason: String,
}
