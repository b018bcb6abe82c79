//! `GET /v1/actors`, `POST /v1/actors/restart`: both trees of a node.

use mill_model::{NodeName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Both trees of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Actors {
    /// Which node.
    pub node: NodeName,
    /// The daemon's tree.
    pub daemon: Actor,
    /// The plane's tree; `None`: it didn't answer.
    #[serde(default)]
    pub plane: Option<Actor>,
    /// Why the plane didn't answer.
    #[serde(default)]
    pub plane_problem: Option<String>,
}

/// An actor and those below it.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// Where it is: `daemon/agent/allocs/web-7k2f`.
    pub path: String,
    /// What it is: `alloc`.
    pub kind: String,
    /// What it does.
    pub status: ActorStatus,
    /// Messages that wait.
    pub mailbox_depth: u64,
    /// Messages handled since its tree was started.
    pub handled: u64,
    /// Messages handled per second, of late.
    pub rate: f64,
    /// Half of its messages are handled in less, in microseconds.
    pub p50_us: u64,
    /// All but one in a hundred are handled in less, in microseconds.
    pub p99_us: u64,
    /// Times that it was started again.
    pub restarts: u64,
    /// Its last crash.
    #[serde(default)]
    pub last_error: Option<ActorError>,
    /// What it is at, if that takes long.
    #[serde(default)]
    pub busy_with: Option<Busy>,
    /// What it tells of its state.
    #[serde(default)]
    pub observed: serde_json::Value,
    /// Those that it supervises.
    #[serde(default)]
    pub children: Vec<Actor>,
}

/// What an actor does.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorStatus {
    /// It isn't ready yet.
    Starting,
    /// It handles messages.
    #[default]
    Running,
    /// It crashed and is started again soon.
    Restarting,
    /// It was told to stop; those below it go first.
    Stopping,
    /// It has ended.
    Stopped,
}

impl ActorStatus {
    /// As people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// A crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActorError {
    /// What it said.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

/// A message that takes long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Busy {
    /// Its name.
    pub message: String,
    /// How long already.
    pub for_ms: u64,
}

/// `POST /v1/actors/restart`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartActor {
    /// Which: a path as [`Actor::path`] has it.
    pub path: String,
}
