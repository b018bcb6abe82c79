//! `POST /v1/deploys` and all that answers a [`Deploy`]: rollback, scale, restart, undeploy, cancel.

use std::collections::BTreeMap;

use mill_model::{Advice, DeployId, ImageRef, ProjectName, SecretId, Timestamp, WorkloadName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::Warning;

/// A config to plan or deploy: the file itself, so that the server's complaints point into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// Text of the config file, at most [`mill_model::limits::CONFIG_BYTES_MAX`].
    pub source: String,
    /// What the file is called, for complaints.
    pub file: String,
    /// The project's name if the file gives none: that of the directory that holds it.
    pub default_project: ProjectName,
    /// Images in place of the file's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<WorkloadName, ImageRef>,
    /// Take the place of a running deploy of the project instead of waiting for it. A plan ignores it.
    #[serde(default)]
    pub replace: bool,
}

/// `POST /v1/projects/{p}/rollback`
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// To the config of this deploy; `None`: of the last one before the current that succeeded.
    #[serde(default)]
    pub to: Option<DeployId>,
}

/// `POST /v1/projects/{p}/services/{s}/scale`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// Replicas wanted, at most [`mill_model::limits::REPLICAS_MAX`].
    pub replicas: u32,
}

/// One attempt to bring a project to a new config.
///
/// A request that finds everything as it asks for begins no deploy: its answer is over already
/// ([`DeployState::is_over`]), has the id of the deploy that brought the project there, and all its services are
/// [`ServiceOutcome::Unchanged`]. There is nothing to follow then: the progress of that id is the earlier deploy's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deploy {
    /// Its number, counted over the cluster: `#14`.
    pub id: DeployId,
    /// Whose.
    pub project: ProjectName,
    /// What was asked for.
    pub action: Action,
    /// How it stands or ended.
    pub state: DeployState,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// The deploy of the same project that it waits for.
    #[serde(default)]
    pub behind: Option<DeployId>,
    /// Its services and tasks, in the order in which they are dealt with.
    pub services: Vec<DeployService>,
    /// Name of the token that asked.
    #[serde(default)]
    pub by: Option<String>,
    /// What was seen when it was asked for; only in the answer to that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// A service or task within a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeployService {
    /// Its name.
    pub name: WorkloadName,
    /// How far it is.
    pub outcome: ServiceOutcome,
}

/// What a deploy was asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// A config file.
    Deploy,
    /// The config of an earlier deploy.
    Rollback {
        /// Which.
        to: DeployId,
    },
    /// Another number of replicas.
    Scale {
        /// Of which service.
        service: WorkloadName,
        /// How many.
        replicas: u32,
    },
    /// The same again.
    Restart {
        /// Which service.
        service: WorkloadName,
    },
    /// Everything of the project stopped and forgotten.
    Undeploy,
    /// The newest version of a secret, for those who use it.
    Roll {
        /// Which secret.
        secret: SecretId,
    },
}

/// How a deploy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeployState {
    /// Another deploy of the project is at work.
    Queued,
    /// At work.
    Running,
    /// Failed or cancelled, and going back.
    RollingBack,
    /// Everything is as asked for.
    Succeeded,
    /// Some service isn't; those that aren't were rolled back.
    Failed,
    /// A person called it off.
    Cancelled,
    /// A later deploy took its place.
    Replaced,
}

mill_model::every!(DeployState: Queued, Running, RollingBack, Succeeded, Failed, Cancelled, Replaced);

impl DeployState {
    /// What it means, and what to do about it.
    pub const fn advice(self) -> Advice {
        match self {
            Self::Queued => Advice::mend(
                "another deploy of the project is at work",
                "wait for it, or begin this one with `--replace`",
            ),
            Self::Running => Advice::mend("it is at work", "`mill deploy --attach ID` follows it"),
            Self::RollingBack => Advice::mend(
                "it has failed or was called off, and what it changed is brought back",
                "`mill deploy --attach ID` follows it; what it ran stays until what was before runs again",
            ),
            Self::Succeeded => Advice::fine("everything is as the config says"),
            Self::Failed => Advice::mend(
                "some service couldn't be brought to what the config says, and was rolled back; users of the old \
                 version have noticed nothing",
                "`mill inspect '#ID'` says which and why; mend it, and deploy again",
            ),
            Self::Cancelled => Advice::fine("somebody called it off; all is as before"),
            Self::Replaced => Advice::fine("a later deploy took its place"),
        }
    }

    /// Whether nothing more will happen.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Replaced)
    }

    /// As people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::RollingBack => "rolling back",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Replaced => "replaced",
        }
    }
}

/// How far a deploy is with one service or task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ServiceOutcome {
    /// Not begun.
    Pending,
    /// Being changed.
    Running,
    /// It is what the config says already.
    Unchanged,
    /// It is what the config says now.
    Done,
    /// It left the config and is stopped.
    Removed,
    /// It failed and has its old version again, at full count.
    RolledBack {
        /// Why it failed.
        reason: String,
    },
    /// Never begun, since something it needs failed.
    Skipped {
        /// Why.
        because: String,
    },
}
