//! `GET /v1/events?follow=&since_id=`: what happened in the cluster. A list, or with `follow` a stream.

use mill_model::{Advice, AllocId, DeployId, NodeName, Phase, ProjectName, Timestamp, WorkloadName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which events to send.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventQuery {
    /// Go on with new ones as they come.
    #[serde(default)]
    pub follow: bool,
    /// Only those after this one. A stream's `Last-Event-ID` goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_id: Option<u64>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Counts up over the cluster; also the stream's event id.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// What kind, `alloc_healthy`: a word of [`Kind`], more of them with each version.
    pub kind: String,
    /// In which project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectName>,
    /// To which service or task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<WorkloadName>,
    /// To which alloc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alloc: Option<AllocId>,
    /// On which node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// In which deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<DeployId>,
    /// In a sentence.
    pub message: String,
}

/// Words for what happened, stable over versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A node became a member, or said anew what it has.
    NodeRegistered,
    /// A secret has a new version.
    SecretSet,
    /// A secret was deleted.
    SecretDeleted,
    /// A deploy was asked for.
    DeployQueued,
    /// A deploy began.
    DeployStarted,
    /// Everything is as its config says.
    DeploySucceeded,
    /// Some service couldn't be brought to what the config says, and was rolled back.
    DeployFailed,
    /// Somebody called a deploy off; all is as before.
    DeployCancelled,
    /// A later deploy took its place.
    DeployReplaced,
    /// A deploy is to change a service, and waits for what that depends on.
    ServiceWaiting,
    /// A deploy begins with a service.
    ServiceRolling,
    /// A service goes back to what it was.
    ServiceRollingBack,
    /// A deploy found nothing to do for a service.
    ServiceUnchanged,
    /// A service left the config, and was stopped.
    ServiceRemoved,
    /// A service is as the config says.
    ServiceDone,
    /// A service is as before the deploy.
    ServiceRolledBack,
    /// A deploy didn't begin with a service, since what that depends on failed.
    ServiceSkipped,
    /// Somebody has a task run.
    TaskSpawned,
    /// A task was killed before it had a place.
    TaskCalledOff,
    /// A replica or task has a place.
    AllocPlaced,
    /// A replica or task is wanted no more.
    AllocStopping,
    /// It is placed, and its node hasn't begun with it.
    AllocPending,
    /// Its image is on the way.
    AllocPulling,
    /// Its container is being made.
    AllocStarting,
    /// Its program runs, and no check has succeeded yet.
    AllocRunning,
    /// Its check succeeds: it gets traffic.
    AllocHealthy,
    /// Its check fails: it gets no traffic.
    AllocUnhealthy,
    /// It was told to stop.
    AllocSignalled,
    /// Its run has ended, and it is started again after a pause.
    AllocWaiting,
    /// It has ended as wanted.
    AllocStopped,
    /// It has ended otherwise, for good.
    AllocFailed,
    /// Its node is down: whether it runs isn't known.
    AllocLost,
}

mill_model::every!(
    Kind: NodeRegistered, SecretSet, SecretDeleted, DeployQueued, DeployStarted, DeploySucceeded, DeployFailed, DeployCancelled, DeployReplaced, ServiceWaiting, ServiceRolling, ServiceRollingBack, ServiceUnchanged, ServiceRemoved, ServiceDone, ServiceRolledBack, ServiceSkipped, TaskSpawned, TaskCalledOff, AllocPlaced, AllocStopping, AllocPending, AllocPulling, AllocStarting, AllocRunning, AllocHealthy, AllocUnhealthy, AllocSignalled, AllocWaiting, AllocStopped, AllocFailed, AllocLost
);

impl Kind {
    /// The word: `kind` of an event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NodeRegistered => "node_registered",
            Self::SecretSet => "secret_set",
            Self::SecretDeleted => "secret_deleted",
            Self::DeployQueued => "deploy_queued",
            Self::DeployStarted => "deploy_started",
            Self::DeploySucceeded => "deploy_succeeded",
            Self::DeployFailed => "deploy_failed",
            Self::DeployCancelled => "deploy_cancelled",
            Self::DeployReplaced => "deploy_replaced",
            Self::ServiceWaiting => "service_waiting",
            Self::ServiceRolling => "service_rolling",
            Self::ServiceRollingBack => "service_rolling_back",
            Self::ServiceUnchanged => "service_unchanged",
            Self::ServiceRemoved => "service_removed",
            Self::ServiceDone => "service_done",
            Self::ServiceRolledBack => "service_rolled_back",
            Self::ServiceSkipped => "service_skipped",
            Self::TaskSpawned => "task_spawned",
            Self::TaskCalledOff => "task_called_off",
            Self::AllocPlaced => "alloc_placed",
            Self::AllocStopping => "alloc_stopping",
            Self::AllocPending => "alloc_pending",
            Self::AllocPulling => "alloc_pulling",
            Self::AllocStarting => "alloc_starting",
            Self::AllocRunning => "alloc_running",
            Self::AllocHealthy => "alloc_healthy",
            Self::AllocUnhealthy => "alloc_unhealthy",
            Self::AllocSignalled => "alloc_signalled",
            Self::AllocWaiting => "alloc_waiting",
            Self::AllocStopped => "alloc_stopped",
            Self::AllocFailed => "alloc_failed",
            Self::AllocLost => "alloc_lost",
        }
    }

    /// What it means, and what to do about it.
    pub const fn advice(self) -> Advice {
        match self {
            Self::NodeRegistered => Advice::fine("a node became a member, or said anew what it has"),
            Self::SecretSet => Advice::mend(
                "a secret has a new version",
                "what uses it gets it with its next deploy, or by `mill secret roll`",
            ),
            Self::SecretDeleted => Advice::fine("a secret was deleted"),
            Self::DeployQueued => Advice::fine("a deploy was asked for"),
            Self::DeployStarted => Advice::fine("a deploy began"),
            Self::DeploySucceeded => Advice::fine("everything is as its config says"),
            Self::DeployFailed => Advice::mend(
                "some service couldn't be brought to what the config says, and was rolled back",
                "`mill inspect '#ID'` says which and why",
            ),
            Self::DeployCancelled => Advice::fine("somebody called a deploy off; all is as before"),
            Self::DeployReplaced => Advice::fine("a later deploy took its place"),
            Self::ServiceWaiting => {
                Advice::fine("a deploy is to change a service, and waits for what that depends on")
            }
            Self::ServiceRolling => Advice::fine("a deploy begins with a service"),
            Self::ServiceRollingBack => {
                Advice::mend("a service goes back to what it was", "`mill why NAME` says why")
            }
            Self::ServiceUnchanged => Advice::fine("a deploy found nothing to do for a service"),
            Self::ServiceRemoved => Advice::fine("a service left the config, and was stopped"),
            Self::ServiceDone => Advice::fine("a service is as the config says"),
            Self::ServiceRolledBack => Advice::mend(
                "a service is as before the deploy",
                "`mill why NAME` says what kept it from changing",
            ),
            Self::ServiceSkipped => Advice::mend(
                "a deploy didn't begin with a service, since what that depends on failed",
                "`mill why NAME` says what",
            ),
            Self::TaskSpawned => Advice::fine("somebody has a task run"),
            Self::TaskCalledOff => Advice::fine("a task was killed before it had a place"),
            Self::AllocPlaced => Advice::fine("a replica or task has a place"),
            Self::AllocStopping => Advice::fine("a replica or task is wanted no more"),
            Self::AllocPending => Advice::fine("it is placed, and its node hasn't begun with it"),
            Self::AllocPulling => Advice::fine("its image is on the way"),
            Self::AllocStarting => Advice::fine("its container is being made"),
            Self::AllocRunning => Advice::fine("its program runs, and no check has succeeded yet"),
            Self::AllocHealthy => Advice::fine("its check succeeds: it gets traffic"),
            Self::AllocUnhealthy => Advice::mend(
                "its check fails: it gets no traffic",
                "`mill why NAME` shows what the check sees",
            ),
            Self::AllocSignalled => Advice::fine("it was told to stop"),
            Self::AllocWaiting => Advice::mend(
                "its run has ended, and it is started again after a pause",
                "`mill why NAME` shows how it ended",
            ),
            Self::AllocStopped => Advice::fine("it has ended as wanted"),
            Self::AllocFailed => {
                Advice::mend("it has ended otherwise, for good", "`mill why NAME` shows the reason")
            }
            Self::AllocLost => Advice::mend(
                "its node is down: whether it runs isn't known",
                "`mill nodes` shows which nodes are",
            ),
        }
    }

    /// What has happened to an alloc that is in this phase now. `alloc_stopping` is another's word: that somebody wants it
    /// to stop.
    pub const fn of(phase: Phase) -> Self {
        match phase {
            Phase::Pending => Self::AllocPending,
            Phase::Pulling => Self::AllocPulling,
            Phase::Starting => Self::AllocStarting,
            Phase::Running => Self::AllocRunning,
            Phase::Healthy => Self::AllocHealthy,
            Phase::Unhealthy => Self::AllocUnhealthy,
            Phase::Stopping => Self::AllocSignalled,
            Phase::Waiting => Self::AllocWaiting,
            Phase::Stopped => Self::AllocStopped,
            Phase::Failed => Self::AllocFailed,
            Phase::Lost => Self::AllocLost,
        }
    }
}
