//! What happened, for people and for streams that reconnect.

use mill_model::{
    AllocId, DeployId, Failure, Incarnation, NodeId, Phase, ProjectName, SecretId, Timestamp, Workload,
};
use serde::{Deserialize, Serialize};

use crate::alloc::StopReason;
use crate::deploy::{Change, DeployKind, Outcome, StepReason, StepState};

/// Something that happened. Ids count up over the cluster's whole life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number.
    pub id: u64,
    /// When, by the state's time.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Kinds of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A machine joined or said anew what it is.
    NodeRegistered {
        /// Which.
        node: NodeId,
    },
    /// A deploy was asked for, began or ended.
    DeployChanged {
        /// Which.
        deploy: DeployId,
        /// Its project.
        project: ProjectName,
        /// What asked for it.
        kind: DeployKind,
        /// Whether its turn has come.
        started: bool,
        /// How it ended.
        outcome: Option<Outcome>,
        /// Who asked for it.
        by: String,
    },
    /// A deploy got on with a service or task.
    StepChanged {
        /// Which deploy.
        deploy: DeployId,
        /// Which service or task.
        workload: Workload,
        /// What it does there.
        change: Change,
        /// How far it is now.
        state: StepState,
        /// Why, if not as wanted.
        reason: Option<StepReason>,
    },
    /// A secret has a new version.
    SecretSet {
        /// Which secret.
        secret: SecretId,
        /// Which version.
        version: u32,
        /// Who set it.
        by: String,
    },
    /// A secret is no more.
    SecretDeleted {
        /// Which.
        secret: SecretId,
        /// Who deleted it.
        by: String,
    },
    /// Somebody had a task run.
    TaskSpawned {
        /// What it is an instance of.
        workload: Workload,
        /// What its alloc will be called.
        alloc: AllocId,
        /// Who asked for it.
        by: String,
    },
    /// A task was called off before it had a place.
    TaskCalledOff {
        /// What it is an instance of.
        workload: Workload,
        /// Which.
        alloc: AllocId,
    },
    /// An alloc was placed.
    AllocPlaced {
        /// By which deploy.
        deploy: DeployId,
        /// What it is an instance of.
        workload: Workload,
        /// Which.
        alloc: AllocId,
        /// Where.
        node: NodeId,
    },
    /// An alloc shall stop.
    AllocStopping {
        /// Which deploy had placed it.
        deploy: DeployId,
        /// What it is an instance of.
        workload: Workload,
        /// Which.
        alloc: AllocId,
        /// Why.
        reason: StopReason,
    },
    /// An alloc's node told of a new phase.
    AllocChanged {
        /// Which deploy had placed it.
        deploy: DeployId,
        /// What it is an instance of.
        workload: Workload,
        /// Which.
        alloc: AllocId,
        /// Its phase.
        phase: Phase,
        /// Its run.
        incarnation: Incarnation,
        /// Why the run ended, if it failed; of an unhealthy one what its check saw.
        failure: Option<Failure>,
        /// Whether it had been told to stop.
        stopping: bool,
    },
}

impl EventKind {
    /// The deploy it belongs to, if any.
    pub fn deploy(&self) -> Option<DeployId> {
        match self {
            Self::NodeRegistered { .. }
            | Self::SecretSet { .. }
            | Self::SecretDeleted { .. }
            | Self::TaskSpawned { .. }
            | Self::TaskCalledOff { .. } => None,
            Self::DeployChanged { deploy, .. }
            | Self::StepChanged { deploy, .. }
            | Self::AllocPlaced { deploy, .. }
            | Self::AllocStopping { deploy, .. }
            | Self::AllocChanged { deploy, .. } => Some(*deploy),
        }
    }
}
