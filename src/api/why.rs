//! `GET /v1/projects/{p}/services/{s}/why`: why a service isn't as wanted.

use mill_model::{AllocId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::allocs::Alloc;
use crate::plan::NodeRefusal;
use crate::services::Service;

/// Why a service is as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// It.
    pub service: Service,
    /// What keeps it from being as wanted, gravest first. Empty: it is as wanted.
    pub reasons: Vec<Reason>,
    /// Its living allocs.
    pub allocs: Vec<Alloc>,
}

/// One thing that keeps a service from being as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// What is wrong, in a sentence.
    pub what: String,
    /// Since when.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// With which alloc.
    #[serde(default)]
    pub alloc: Option<AllocId>,
    /// When Mill tries again by itself.
    #[serde(default)]
    pub next_try: Option<Timestamp>,
    /// What each node lacks, for what can't be placed.
    #[serde(default)]
    pub nodes: Vec<NodeRefusal>,
    /// Last log lines of the alloc, oldest first.
    #[serde(default)]
    pub log_tail: Vec<String>,
    /// What to do.
    #[serde(default)]
    pub hint: Option<String>,
}
