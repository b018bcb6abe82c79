//! `GET /v1/services`

use std::net::SocketAddr;

use mill_model::{Advice, DeployId, ImageRef, SpecHash, Timestamp, Workload};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::allocs::WorkloadKind;
use crate::nodes::Usage;

/// A service or task with what runs of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// Its name and project.
    #[serde(flatten)]
    pub workload: Workload,
    /// Which of the two it is.
    pub kind: WorkloadKind,
    /// How it is.
    pub state: ServiceState,
    /// What it runs, pinned.
    pub image: ImageRef,
    /// Hash of the spec that it should run.
    pub spec_hash: SpecHash,
    /// Replicas wanted.
    pub wanted: u32,
    /// Replicas that run, healthy or not.
    pub running: u32,
    /// Replicas that are healthy.
    pub healthy: u32,
    /// Times that its living allocs were started again after a failure.
    pub restarts: u32,
    /// Where its healthy replicas are reached.
    pub endpoints: Vec<Endpoint>,
    /// What its replicas use now, added up; `None` where that isn't measured yet.
    #[serde(default)]
    pub used: Option<Usage>,
    /// The deploy that gave it its version.
    pub deploy: DeployId,
    /// When that was.
    pub deployed_at: Timestamp,
    /// What is wrong, in a sentence.
    #[serde(default)]
    pub problem: Option<String>,
}

/// Where one replica's port is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// The declared port's name, else its number.
    pub port: String,
    /// Node address and mapped port, or where its program was seen to listen instead.
    pub address: SocketAddr,
}

/// How a service or task is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// As many healthy replicas as wanted.
    #[default]
    Healthy,
    /// A deploy is changing it.
    Deploying,
    /// Fewer healthy replicas than wanted, and at least one.
    Degraded,
    /// None healthy, some wanted.
    Down,
    /// None wanted.
    Stopped,
    /// A task that somebody wants run, and that waits for a place.
    Waiting,
    /// A task that runs.
    Running,
    /// A task whose last run succeeded.
    Done,
    /// A task whose last run failed.
    Failed,
}

mill_model::every!(ServiceState: Healthy, Deploying, Degraded, Down, Stopped, Waiting, Running, Done, Failed);

impl ServiceState {
    /// What it means, and what to do about it.
    pub const fn advice(self) -> Advice {
        const WHY: &str = "`mill why NAME` says what is wrong, and what to do";
        match self {
            Self::Healthy => Advice::fine("as many replicas are healthy as are wanted"),
            Self::Deploying => {
                Advice::fine("a deploy is changing it; the old replicas have the traffic meanwhile")
            }
            Self::Degraded => {
                Advice::mend("fewer replicas are healthy than are wanted, and at least one is", WHY)
            }
            Self::Down => Advice::mend("no replica is healthy, and some are wanted", WHY),
            Self::Stopped => Advice::mend("no replica is wanted", "`mill scale NAME 1` starts one"),
            Self::Waiting => Advice::mend(
                "a task that somebody wants run, and that waits for a place",
                "`mill why NAME` says what each node lacks",
            ),
            Self::Running => Advice::fine("a task that runs"),
            Self::Done => Advice::fine("a task whose last run succeeded, or that hasn't run yet"),
            Self::Failed => Advice::mend("a task whose last run failed", WHY),
        }
    }

    /// As people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Deploying => "deploying",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Stopped => "stopped",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}
