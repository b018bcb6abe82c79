//! `/v1/tasks`: programs that run to their end. Spawned from a task of a deployed project, or from an image; killed;
//! listed, also when they have ended.

use std::collections::BTreeMap;

use mill_model::{
    Advice, AllocId, DeployId, ImageRef, NodeName, Phase, ProjectName, Timestamp, Workload, WorkloadName,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::NodeRefusal;
use crate::pulling::Pulling;

/// The project of what is run without one.
pub const DEFAULT_PROJECT: &str = "default";

/// Which tasks to list.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskQuery {
    /// Only of this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectName>,
    /// Only of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<WorkloadName>,
    /// Ended ones too.
    #[serde(default)]
    pub all: bool,
}

/// What to run: `task`, with what is to be different, or `image`. Texts are as a config has them: `${secret(NAME)}` is
/// filled in, `$$` is a dollar.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpawnRequest {
    /// Whose it is; `default` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectName>,
    /// A task of that project as it was deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<WorkloadName>,
    /// What it is called if it isn't one; without this after its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<WorkloadName>,
    /// Its image; with `task`, another one. A tag is resolved to its digest now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// Its arguments instead of the image's or the task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// The program instead of the image's or the task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Variables over the image's and the task's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Cores: `0.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// `512M`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// `10m`: after this it is stopped and counts as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// `user`, `user:group`, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
}

/// What a task's program is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignalRequest {
    /// A signal of Linux by its name, `HUP` or `SIGHUP`, or its number.
    pub signal: String,
}

/// A task that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Its id: an alloc's as soon as it has a place.
    pub id: AllocId,
    /// What it is an instance of.
    pub workload: Workload,
    /// How it is.
    pub state: TaskState,
    /// Where it is in its life.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The deploy that had it run; `None`: somebody had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<DeployId>,
    /// Where it is; `None`: it waits for a place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// What it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// After this long it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Once it has ended, what a shell would say: the program's own code, 128 + n for signal n, 124 when it ran out of
    /// time, 127 when there is no such program, 137 out of memory, 143 killed on somebody's word, 125 when Mill couldn't
    /// run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Why it waits, or ended otherwise than with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// While it waits for a place: why no node can take it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeRefusal>,
    /// While it waits for its image: how far that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulling: Option<Pulling>,
}

/// How a task is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// For a place, its image, its start.
    #[default]
    Waiting,
    /// Its program runs.
    Running,
    /// It is being ended.
    Stopping,
    /// It ended with 0.
    Succeeded,
    /// It ended otherwise, or never ran.
    Failed,
    /// It ran longer than its timeout.
    TimedOut,
    /// It was ended on somebody's word.
    Killed,
}

mill_model::every!(TaskState: Waiting, Running, Stopping, Succeeded, Failed, TimedOut, Killed);

impl TaskState {
    /// What it means, and what to do about it.
    pub const fn advice(self) -> Advice {
        match self {
            Self::Waiting => Advice::mend(
                "it waits for a place, its image, or its start",
                "`mill inspect ID` says for what; `mill kill ID` calls it off",
            ),
            Self::Running => Advice::fine("its program runs"),
            Self::Stopping => Advice::fine("it was told to stop, and has its grace until SIGKILL"),
            Self::Succeeded => Advice::fine("its program ended with 0"),
            Self::Failed => Advice::mend(
                "its program ended otherwise, or never ran",
                "`mill ps` shows the reason, `mill logs ID` what it wrote; a task isn't run again by itself",
            ),
            Self::TimedOut => {
                Advice::mend("it ran longer than its timeout, and was stopped", "give it a longer `timeout`")
            }
            Self::Killed => Advice::fine("somebody ended it"),
        }
    }

    /// Whether nothing more will happen.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::TimedOut | Self::Killed)
    }

    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Killed => "killed",
        }
    }
}
