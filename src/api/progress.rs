//! `GET /v1/deploys/{id}/progress`: what happens in a deploy, until its end.
//!
//! One stream serves the live drawing and the plain lines. A client that lost the connection, or comes later, sees the
//! rest: it names the last id that it has. Ids are those of the cluster's events that tell the same, so that they mean
//! the same after a change of leaders and a restart of the daemon; between two of a deploy there may be others'.
//!
//! [`Step::Pulling`], [`Step::Pulled`] and [`Step::Unplaced`] are told of the moment, to whoever watches: they carry
//! the id of the event before them, aren't kept for replay, and may be thinned out (the bytes of a later `pulling`
//! include those of an earlier). A client that comes when the cluster has forgotten some of the events is told how
//! each service stands instead, all under the id of the newest event, and then what happens.

use mill_model::{AllocId, DeployId, Failure, NodeName, Timestamp, WorkloadName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::NodeRefusal;
use crate::pulling::Pulling;

/// Something that happened in a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Grows within the deploy; also the stream's event id.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// To which service or task; `None`: to the deploy as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<WorkloadName>,
    /// To which alloc of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alloc: Option<AllocId>,
    /// What.
    #[serde(flatten)]
    pub step: Step,
}

/// What happened. In brackets: to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// (deploy) Another deploy of the project has to end first.
    Queued {
        /// Which.
        behind: DeployId,
    },
    /// (deploy) It begins. Names all services and tasks in order.
    Planned {
        /// Their names.
        services: Vec<WorkloadName>,
    },
    /// (service) It is what the config says; it isn't touched.
    Unchanged,
    /// (service) Others have to be healthy or done first.
    Waiting {
        /// Which.
        on: Vec<WorkloadName>,
    },
    /// (service or alloc) No node can take it now; it is placed as soon as one can.
    Unplaced {
        /// Why not.
        nodes: Vec<NodeRefusal>,
    },
    /// (service) A node fetches its image. An image that is there already is never announced.
    Pulling {
        /// Where.
        node: NodeName,
        /// How far it is.
        #[serde(flatten)]
        pulling: Pulling,
    },
    /// (service) The node has its image.
    Pulled {
        /// Where.
        node: NodeName,
        /// Bytes fetched; `None`: it was here before anybody saw how many it would be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
    },
    /// (alloc) Its container is being made.
    Starting {
        /// Where.
        node: NodeName,
    },
    /// (alloc) Its container runs.
    Running,
    /// (alloc) Its container runs, and takes long to become healthy.
    NotYetHealthy {
        /// What the last check saw.
        last: String,
        /// Which attempt of this alloc, from 1.
        attempt: u32,
        /// Its last log lines, oldest first, at most [`mill_model::limits::LOG_TAIL_LINES`].
        #[serde(default)]
        log_tail: Vec<String>,
    },
    /// (alloc) It is healthy and may have traffic.
    Healthy,
    /// (alloc) It was healthy and isn't any more.
    Unhealthy {
        /// What the last check saw.
        last: String,
    },
    /// (alloc) A task has run to success.
    Succeeded,
    /// (alloc) It was told to stop.
    Stopping {
        /// Whether it is of the version that is replaced.
        old: bool,
    },
    /// (alloc) It has stopped.
    Stopped {
        /// Whether it is of the version that is replaced.
        old: bool,
    },
    /// (alloc, or service when it never came to an alloc) An attempt failed.
    Failed {
        /// How.
        failure: Failure,
        /// Which attempt of this alloc, from 1.
        attempt: u32,
        /// Its last log lines, oldest first, at most [`mill_model::limits::LOG_TAIL_LINES`].
        #[serde(default)]
        log_tail: Vec<String>,
    },
    /// (service) It failed for good, or the deploy was called off: its old version comes back.
    RollingBack {
        /// Why.
        reason: String,
    },
    /// (service) It has its old version again, at full count.
    RolledBack {
        /// For a stop-first service: how long no replica was healthy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gap_ms: Option<u64>,
    },
    /// (service) It isn't begun, since something that it needs failed.
    Skipped {
        /// What.
        because: String,
    },
    /// (service) It left the config and is stopped.
    Removed,
    /// (service) It is what the config says.
    Done {
        /// How long it took.
        took_ms: u64,
        /// For a stop-first service: how long no replica was healthy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gap_ms: Option<u64>,
    },
    /// (deploy) It is over. The last of every stream.
    Finished {
        /// How.
        outcome: Outcome,
        /// How long it took.
        took_ms: u64,
    },
    /// A step of a later version of Mill.
    #[serde(other)]
    Unknown,
}

/// How a deploy ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Everything is as asked for.
    Succeeded,
    /// Some services were rolled back or skipped.
    Failed {
        /// Why each, in the order of the config.
        services: Vec<FailedService>,
    },
    /// A person called it off; what it had changed is as before.
    Cancelled,
    /// A later deploy took its place.
    Replaced {
        /// Which.
        by: DeployId,
    },
}

/// A service that a deploy left on its old version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedService {
    /// Its name.
    pub name: WorkloadName,
    /// Why, in a sentence.
    pub reason: String,
    /// What to do.
    #[serde(default)]
    pub hint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_one_flat_object() {
        let progress = Progress {
            id: 7,
            at: Timestamp(0),
            service: Some("web".parse().unwrap()),
            alloc: Some("web-7k2f".parse().unwrap()),
            step: Step::Starting { node: "node-2".parse().unwrap() },
        };
        let text = serde_json::to_string(&progress).unwrap();
        assert_eq!(
            text,
            r#"{"id":7,"at":"1970-01-01T00:00:00.000Z","service":"web","alloc":"web-7k2f","step":"starting","node":"node-2"}"#
        );
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);
    }

    #[test]
    fn a_pull_is_flat_too_and_one_without_layers_is_read() {
        let step = r#""service":"web","step":"pulling","node":"node-2","bytes_done":1,"bytes_total":2"#;
        let short = format!(r#"{{"id":7,"at":"1970-01-01T00:00:00.000Z",{step}}}"#);
        let progress: Progress = serde_json::from_str(&short).unwrap();
        let pulling = Pulling { bytes_done: 1, bytes_total: 2, ..Pulling::default() };
        assert_eq!(progress.step, Step::Pulling { node: "node-2".parse().unwrap(), pulling });
        let text = serde_json::to_string(&progress).unwrap();
        assert_eq!(text, short.replace("\"bytes_total\":2}", "\"bytes_total\":2,\"layers\":[]}"));
    }

    #[test]
    fn a_step_of_a_later_version_is_read_as_unknown() {
        let text = r#"{"id":1,"at":"1970-01-01T00:00:00Z","step":"teleporting","where":"mars"}"#;
        assert_eq!(serde_json::from_str::<Progress>(text).unwrap().step, Step::Unknown);
    }
}
