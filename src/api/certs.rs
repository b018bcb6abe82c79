//! `GET /v1/certs`: the certificates that the node that answers shows.

use mill_model::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// Whose it is.
    pub of: Owner,
    /// The SHA-256 of it. Of the CA's: what tokens carry.
    pub fingerprint: String,
    /// Not valid before.
    pub from: Timestamp,
    /// Not valid after.
    pub until: Timestamp,
    /// When the node renews it by itself; absent: it doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed_at: Option<Timestamp>,
}

/// The cluster shall have another CA.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateCa {
    /// How long the one before is still trusted; absent: thirty days; 0: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_ms: Option<u64>,
}

/// The cluster has another CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RotatedCa {
    /// Its fingerprint: what tokens carry that are made from now on.
    pub fingerprint: String,
    /// Until when the one before is trusted, and so are tokens that carry its fingerprint.
    pub previous_until: Timestamp,
}

/// Whose a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The cluster's CA.
    Ca,
    /// The node's.
    Node,
}
