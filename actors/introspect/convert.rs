//! The kit's view of an actor and its form on the wire.

use mill_model::Timestamp;
use mill_rpc::v1;
use serde_json::Value;
use thiserror::Error;

use crate::kit::{ActorInfo, Busy, LastError, Path, Status};

/// Deepest tree that is read: ours have six levels; a stack must not be the limit.
const DEPTH_MAX: usize = 32;

/// Why an answer is no tree. The other process speaks another version.
#[derive(Debug, Error)]
pub enum UnreadableActor {
    /// A status of another version.
    #[error("actor `{path}` has an unknown status: {status}")]
    Status {
        /// Whose.
        path: String,
        /// As sent.
        status: i32,
    },
    /// What it shows of its state is no JSON.
    #[error("actor `{path}` shows something unreadable")]
    Observed {
        /// Whose.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// No tree at all.
    #[error("the answer holds no tree")]
    Missing,
    /// More levels than any tree has.
    #[error("the tree has more than {DEPTH_MAX} levels")]
    TooDeep,
}

pub(super) fn to_wire(info: ActorInfo) -> v1::Actor {
    let status = match info.status {
        Status::Starting => v1::ActorStatus::Starting,
        Status::Running => v1::ActorStatus::Running,
        Status::Restarting => v1::ActorStatus::Restarting,
        Status::Stopping => v1::ActorStatus::Stopping,
        Status::Stopped => v1::ActorStatus::Stopped,
    };
    v1::Actor {
        path: info.path.into(),
        kind: info.kind,
        status: status.into(),
        mailbox_depth: info.mailbox_depth,
        handled: info.handled,
        messages: info.messages.into_iter().collect(),
        rate: info.rate,
        p50_us: info.p50_us,
        p99_us: info.p99_us,
        tasks: info.tasks,
        restarts: info.restarts,
        last_error: info.last_error.map(|error| v1::ActorError { text: error.text, at_ms: error.at.0 }),
        busy_with: info.busy_with.map(|busy| v1::ActorBusy { message: busy.message, for_ms: busy.for_ms }),
        observed_json: info.observed.to_string(),
        children: info.children.into_iter().map(to_wire).collect(),
    }
}

pub(super) fn from_wire(actor: v1::Actor) -> Result<ActorInfo, UnreadableActor> {
    read(actor, DEPTH_MAX)
}

fn read(actor: v1::Actor, levels: usize) -> Result<ActorInfo, UnreadableActor> {
    let levels = levels.checked_sub(1).ok_or(UnreadableActor::TooDeep)?;
    let status = match actor.status() {
        v1::ActorStatus::Starting => Status::Starting,
        v1::ActorStatus::Running => Status::Running,
        v1::ActorStatus::Restarting => Status::Restarting,
        v1::ActorStatus::Stopping => Status::Stopping,
        v1::ActorStatus::Stopped => Status::Stopped,
        v1::ActorStatus::Unspecified => {
            return Err(UnreadableActor::Status { path: actor.path, status: actor.status });
        }
    };
    let observed: Value = serde_json::from_str(&actor.observed_json)
        .map_err(|source| UnreadableActor::Observed { path: actor.path.clone(), source })?;
    let children = actor.children.into_iter().map(|child| read(child, levels));
    Ok(ActorInfo {
        path: Path::from(actor.path),
        kind: actor.kind,
        status,
        mailbox_depth: actor.mailbox_depth,
        handled: actor.handled,
        messages: actor.messages.into_iter().collect(),
        rate: actor.rate,
        p50_us: actor.p50_us,
        p99_us: actor.p99_us,
        tasks: actor.tasks,
        restarts: actor.restarts,
        last_error: actor.last_error.map(|error| LastError { text: error.text, at: Timestamp(error.at_ms) }),
        busy_with: actor.busy_with.map(|busy| Busy { message: busy.message, for_ms: busy.for_ms }),
        observed,
        children: children.collect::<Result<_, _>>()?,
    })
}
