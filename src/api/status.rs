//! `GET /v1/status`: the cluster on one page.

use mill_model::NodeName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::deploys::Deploy;
use crate::nodes::Node;
use crate::services::Service;

/// The cluster on one page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The node that answers.
    pub node: NodeName,
    /// Version of its binary.
    pub version: String,
    /// Who leads; `None`: nobody does, writes are refused.
    #[serde(default)]
    pub leader: Option<NodeName>,
    /// Its nodes, by name.
    pub nodes: Vec<Node>,
    /// Its services and tasks, by project and name.
    pub services: Vec<Service>,
    /// Deploys that haven't ended.
    pub deploys: Vec<Deploy>,
    /// What a person should know: a disk almost full, a clock that jumped.
    #[serde(default)]
    pub warnings: Vec<String>,
}
