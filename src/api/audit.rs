//! `GET /v1/audit?follow=&since_id=`: what was done, on whose word. A list, or with `follow` a stream.

use mill_model::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A write that was done. Refused ones are in the log of the node that refused them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    /// Counts up over the cluster; also the stream's event id.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// The token's name, or `local` for the node's own socket.
    pub token: String,
    /// The address that it was asked from, or `local socket`.
    pub from: String,
    /// What was asked: method and path.
    pub what: String,
    /// What came of it; absent: nothing that has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<String>,
}
