//! The daemon about itself and its machine.

use axum::Json;
use axum::extract::State;
use mill_api::daemon::{Daemon, DaemonState, InitRequest, Initialized};
use mill_api::doctor::Report;
use mill_api::{ApiError, Code};

use super::backend::Backend;
use super::body::Body;
use super::reads::Answer;
use super::server::Server;

pub(super) async fn daemon<B: Backend>(State(server): State<Server<B>>) -> Json<Daemon> {
    let member = server.member.borrow().clone();
    let leads = server.published.role.borrow().leader.is_some();
    let state = match member {
        None => DaemonState::Idle,
        Some(_) if server.cluster().is_bootstrapped() && leads => DaemonState::Member,
        Some(_) => DaemonState::Starting,
    };
    let listen = *server.bound.borrow();
    Json(Daemon {
        state,
        node: server.node_name(),
        version: server.about.version.clone(),
        pid: std::process::id(),
        since: server.about.since,
        data_dir: server.data_dir(),
        listen,
        plane_pid: server.backend.plane_pid(),
    })
}

pub(super) async fn doctor<B: Backend>(State(server): State<Server<B>>) -> Json<Report> {
    let findings = server.backend.doctor().await;
    Json(Report { node: Some(server.node_name()), findings })
}

/// A client that hangs up doesn't leave half a cluster behind: the work goes on without it. A daemon that is killed
/// does; so whether a node that is somebody belongs to a cluster is asked of the node.
pub(super) async fn init<B: Backend>(
    State(server): State<Server<B>>,
    Body(request): Body<InitRequest>,
) -> Answer<Initialized> {
    if server.cluster().is_bootstrapped() {
        return Err(ApiError::new(Code::Conflict, "this node belongs to a cluster already")
            .because(format!("its data is in {}", server.data_dir().display()))
            .hint("`mill status` shows the cluster; if its token is lost, `mill token create --role admin`, as root here, makes another")
            .into());
    }
    let backend = server.backend.clone();
    let done = tokio::spawn(async move { backend.init(request).await }).await;
    let done = done.map_err(|_| {
        ApiError::new(Code::Crashed, "the daemon failed over it")
            .hint("its log says more; `mill init` may be tried again")
    })?;
    Ok(Json(done?))
}
