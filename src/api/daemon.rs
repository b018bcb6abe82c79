//! `GET /v1/daemon`, `POST /v1/init`: the local socket only.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use mill_model::{NodeName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::token::Token;

/// How the daemon of this machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Daemon {
    /// Whether it belongs to a cluster.
    pub state: DaemonState,
    /// Its node's name, or the one that it would take.
    pub node: NodeName,
    /// Version of its binary.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when it runs.
    pub since: Timestamp,
    /// Where it keeps its data.
    pub data_dir: PathBuf,
    /// Where its API listens; `None` while it is idle.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// Process of the plane; `None`: not found.
    #[serde(default)]
    pub plane_pid: Option<u32>,
}

/// Whether a daemon belongs to a cluster.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DaemonState {
    /// To none: it waits for `init`.
    #[default]
    Idle,
    /// It is on its way to be a member.
    Starting,
    /// It is a member.
    Member,
}

/// `POST /v1/init`: a new cluster with this node in it. Answered when the node is a member.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitRequest {
    /// What to call the node; `None`: as its daemon was told, else the machine's name.
    #[serde(default)]
    pub name: Option<NodeName>,
    /// Address at which other machines and mapped ports are reached; `None`: as its daemon was told.
    #[serde(default)]
    pub advertise: Option<IpAddr>,
}

/// A new cluster. The tokens are shown once: the cluster keeps only their hashes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Initialized {
    /// The node's name.
    pub node: NodeName,
    /// Where its API is reached: `https://10.0.0.1:4400`.
    pub url: String,
    /// Can do everything.
    pub admin_token: Token,
    /// Lets other machines join; `None` in versions with one machine only.
    #[serde(default)]
    pub join_token: Option<Token>,
}

impl fmt::Debug for Initialized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initialized")
            .field("node", &self.node)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
