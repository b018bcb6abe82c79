//! `GET /v1/registries`, `POST /v1/registries`, `DELETE /v1/registries/{host}`: how the cluster is known to registries.

use std::fmt;

use mill_model::{RegistryHost, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A registry that the cluster has credentials for. The password is never given out again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegistryInfo {
    /// Its host, with a port if need be.
    pub host: RegistryHost,
    /// As whom it is asked.
    pub user: String,
    /// When that was said.
    pub set_at: Timestamp,
    /// Who said it.
    pub set_by: String,
}

/// Credentials for a registry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRegistry {
    /// Its host, with a port if need be.
    pub host: RegistryHost,
    /// As whom to ask it.
    pub user: String,
    /// The password, or the token that stands for it.
    pub password: String,
}

impl fmt::Debug for SetRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetRegistry")
            .field("host", &self.host)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
