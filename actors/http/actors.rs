//! Both trees of actors, and restarting one by hand.

use axum::Json;
use axum::extract::{Extension, State};
use mill_api::actors::{Actor, ActorError, ActorStatus, Actors, Busy, RestartActor};
use mill_api::{ApiError, Code};
use serde::Serialize;

use super::backend::Backend;
use super::body::Body;
use super::gate::Caller;
use super::reads::Answer;
use super::server::Server;
use crate::kit::{ActorInfo, RestartError, Status};

/// An answer that says nothing.
#[derive(Debug, Serialize)]
pub(super) struct Nothing {}

pub(super) async fn trees<B: Backend>(State(server): State<Server<B>>) -> Answer<Actors> {
    Ok(Json(both(&server).await?))
}

/// Both trees as they are now.
pub(super) async fn both<B: Backend>(server: &Server<B>) -> Result<Actors, ApiError> {
    let daemon = server.backend.daemon_actors().ok_or_else(starting)?;
    let (daemon, plane) = tokio::join!(daemon.tree(), server.backend.plane_actors());
    let (plane, plane_problem) = match plane {
        Ok(plane) => (Some(actor(plane)), None),
        Err(error) => (None, Some(error.reason.unwrap_or(error.message))),
    };
    Ok(Actors { node: server.node_name(), daemon: actor(daemon), plane, plane_problem })
}

pub(super) async fn restart<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Body(RestartActor { path }): Body<RestartActor>,
) -> Answer<Nothing> {
    // It changes nothing that is replicated, so this node's log is where it is written down.
    tracing::info!(token = %caller.name, %path, "actor restarted by hand");
    if path == "plane" || path.starts_with("plane/") {
        server.backend.restart_plane_actor(&path).await?;
        return Ok(Json(Nothing {}));
    }
    let daemon = server.backend.daemon_actors().ok_or_else(starting)?;
    let own = server.path.as_str();
    if own == path || own.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/')) {
        // This answer would end with the actor that gives it, so it goes first.
        let farewell = server.tempo.api_farewell;
        tokio::spawn(async move {
            tokio::time::sleep(farewell).await;
            if let Err(error) = daemon.restart(&path).await {
                tracing::warn!(%path, %error, "actor not restarted");
            }
        });
        return Ok(Json(Nothing {}));
    }
    daemon.restart(&path).await.map_err(|error| refused(&error))?;
    Ok(Json(Nothing {}))
}

fn starting() -> ApiError {
    ApiError::new(Code::Unavailable, "the daemon is starting").hint("try again in a moment")
}

/// Why an actor wasn't restarted.
pub(super) fn refused(error: &RestartError) -> ApiError {
    let (code, hint) = match error {
        RestartError::NoSuchActor { .. } => (Code::NotFound, "`mill actors` shows the paths"),
        RestartError::Stopping { .. } => (Code::Conflict, "`mill actors` shows whether it comes back"),
    };
    ApiError::new(code, error.to_string()).hint(hint)
}

fn actor(info: ActorInfo) -> Actor {
    Actor {
        path: info.path.as_str().to_owned(),
        kind: info.kind,
        status: match info.status {
            Status::Starting => ActorStatus::Starting,
            Status::Running => ActorStatus::Running,
            Status::Restarting => ActorStatus::Restarting,
            Status::Stopping => ActorStatus::Stopping,
            Status::Stopped => ActorStatus::Stopped,
        },
        mailbox_depth: info.mailbox_depth,
        handled: info.handled,
        rate: info.rate,
        p50_us: info.p50_us,
        p99_us: info.p99_us,
        restarts: info.restarts,
        last_error: info.last_error.map(|error| ActorError { text: error.text, at: error.at }),
        busy_with: info.busy_with.map(|busy| Busy { message: busy.message, for_ms: busy.for_ms }),
        observed: info.observed,
        children: info.children.into_iter().map(actor).collect(),
    }
}
