//! Deploys: attempts to bring a project to a new config. All of one is state, so that it outlives its
//! leader (product.md P6); `src/control` moves it on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use mill_model::{
    AllocId, DeployId, Failure, NodeName, ProjectName, ProjectSpec, SecretId, Timestamp, WorkloadName,
};
use serde::{Deserialize, Serialize};

use crate::alloc::Version;
use crate::project::Service;

/// What asked for a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DeployKind {
    /// `mill deploy`
    Deploy,
    /// `mill rollback`
    Rollback {
        /// The deploy whose target comes back.
        to: DeployId,
    },
    /// `mill scale`
    Scale {
        /// What.
        service: WorkloadName,
    },
    /// `mill restart`
    Restart {
        /// What: it gets a new version though its text is the same.
        service: WorkloadName,
    },
    /// `mill undeploy`
    Undeploy,
    /// `mill secret set --roll`: its users in the project get its newest version.
    Roll {
        /// Which secret.
        secret: SecretId,
    },
}

impl DeployKind {
    /// Whether its target was made from the project's config at that time: queued behind another deploy, it would
    /// take that one's changes back.
    pub const fn is_relative(&self) -> bool {
        matches!(self, Self::Scale { .. } | Self::Restart { .. } | Self::Roll { .. })
    }
}

/// How a deploy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every step is done.
    Succeeded,
    /// A step failed and was rolled back, or was skipped for it.
    Failed,
    /// Rolled back on somebody's word.
    Cancelled,
    /// Rolled back for another deploy that took its place.
    Replaced,
}

/// One attempt to bring a project to a new config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deploy {
    /// Its id, counted over the cluster: people call deploys `shop #14`.
    pub id: DeployId,
    /// Its project.
    pub project: ProjectName,
    /// What asked for it.
    pub kind: DeployKind,
    /// Who asked for it.
    pub by: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its turn came; `None`: it waits.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What the project shall become.
    pub target: Arc<ProjectSpec>,
    /// The project's services before it began: where a cancelled deploy goes back to.
    pub before: OrdMap<WorkloadName, Service>,
    /// What it does, one step a service and task. Empty while it waits.
    pub steps: OrdMap<WorkloadName, Step>,
    /// Set: it shall be rolled back and end so.
    pub cancelled: Option<Outcome>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// What one deploy does to one service or task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub name: WorkloadName,
    /// Whether it is a task.
    pub is_task: bool,
    /// What kind of change it is.
    pub change: Change,
    /// What ran before.
    pub from: Option<Target>,
    /// What shall run.
    pub to: Option<Target>,
    /// How far it is.
    pub state: StepState,
    /// Why it failed, is rolled back or skipped.
    pub reason: Option<StepReason>,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
}

/// A version in a number of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The version.
    pub version: Version,
    /// How many.
    pub replicas: u32,
}

/// Kinds of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Create,
    /// Its containers are replaced.
    Replace,
    /// Only the number of replicas changes.
    Scale,
    /// Only what running containers don't depend on changes.
    Settings,
    /// It left the config.
    Remove,
    /// A task that others wait for.
    Run,
    /// Nothing.
    Nothing,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// For what it depends on.
    Waiting,
    /// Old replicas give way to new ones.
    Rolling,
    /// The other way round.
    RollingBack,
    /// As wanted.
    Done,
    /// As before.
    RolledBack,
    /// Never begun.
    Skipped,
}

impl StepState {
    /// Whether nothing more will happen.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::RolledBack | Self::Skipped)
    }

    /// Whether a step may go from this state to `next`.
    pub const fn leads_to(self, next: Self) -> bool {
        match self {
            Self::Waiting => matches!(next, Self::Rolling | Self::Skipped | Self::Done),
            Self::Rolling => matches!(next, Self::Done | Self::RollingBack),
            Self::RollingBack => matches!(next, Self::RolledBack),
            Self::Done => matches!(next, Self::RollingBack),
            Self::RolledBack | Self::Skipped => false,
        }
    }
}

impl fmt::Display for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Waiting => "waiting",
            Self::Rolling => "rolling",
            Self::RollingBack => "rolling back",
            Self::Done => "done",
            Self::RolledBack => "rolled back",
            Self::Skipped => "skipped",
        })
    }
}

/// Why a step didn't get to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepReason {
    /// A new replica, or the task, failed too often or for good.
    AllocFailed {
        /// Which.
        alloc: AllocId,
        /// How.
        failure: Failure,
    },
    /// A node couldn't get the new version's image; nothing was stopped for it.
    FetchFailed {
        /// Which node.
        node: NodeName,
        /// Why not.
        failure: Failure,
    },
    /// It took longer than its `update.deadline`.
    Deadline {
        /// That.
        #[serde(with = "mill_model::time::human")]
        deadline: Duration,
    },
    /// What it depends on didn't get to its end.
    Dependency {
        /// That.
        name: WorkloadName,
    },
    /// It left the config, and what stayed isn't what it was to become: the old version of that may need it.
    StillUsed {
        /// By what.
        name: WorkloadName,
    },
    /// Somebody said so.
    Cancelled,
}

impl fmt::Display for StepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllocFailed { alloc, failure } => write!(f, "{alloc} {failure}"),
            Self::FetchFailed { node, failure } => write!(f, "{node}: {failure}"),
            Self::Deadline { deadline } => {
                write!(f, "not done after {}", humantime::format_duration(*deadline))
            }
            Self::Dependency { name } => write!(f, "it depends on `{name}`"),
            Self::StillUsed { name } => write!(f, "`{name}` is as before, and may need it"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl Deploy {
    /// A deploy that waits for its turn.
    pub(crate) fn asked(id: DeployId, kind: DeployKind, target: Arc<ProjectSpec>, now: Timestamp) -> Self {
        Self {
            id,
            project: target.name.clone(),
            kind,
            by: String::new(),
            created_at: now,
            started_at: None,
            ended_at: None,
            target,
            before: OrdMap::new(),
            steps: OrdMap::new(),
            cancelled: None,
            outcome: None,
        }
    }

    /// Whether it waits for its turn.
    pub fn is_waiting(&self) -> bool {
        self.started_at.is_none() && self.outcome.is_none()
    }

    /// Whether it is under way.
    pub fn is_active(&self) -> bool {
        self.started_at.is_some() && self.outcome.is_none()
    }
}
