//! Machines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{NodeId, NodeName};
use crate::resources::Resources;

/// What a node says of itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFacts {
    /// Its id, for ever.
    pub id: NodeId,
    /// What people call it.
    pub name: NodeName,
    /// Address at which other machines and mapped ports are reached.
    pub advertise: std::net::IpAddr,
    /// What it has for containers: all of it, less what Mill and the system keep.
    pub capacity: Resources,
    /// Version of its binary.
    pub version: String,
}
