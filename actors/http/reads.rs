//! What is: answered from this node's own state.

use axum::Json;
use axum::extract::State;
use mill_api::allocs::{Alloc, AllocQuery};
use mill_api::deploys::Deploy;
use mill_api::names::closest;
use mill_api::nodes::Node;
use mill_api::projects::{HistoryEntry, Project};
use mill_api::services::Service;
use mill_api::status::Status;
use mill_api::why::Why;
use mill_api::{ApiError, Code};
use mill_fsm::Cluster;
use mill_model::{DeployId, Incarnation, ProjectName, Workload, WorkloadName};

use super::backend::Backend;
use super::body::{Asked, Named};
use super::gate::Seen;
use super::present::{self, View};
use super::refusal::{Refusal, no_such_deploy};
use super::server::Server;
use super::streams::logs::tail;

/// An answer, or why there is none.
pub(super) type Answer<T> = Result<Json<T>, Refusal>;

/// What this API is.
pub(super) async fn openapi() -> Json<serde_json::Value> {
    Json(mill_api::openapi::document())
}

pub(super) async fn status<B: Backend>(State(server): State<Server<B>>, Seen(cluster): Seen) -> Json<Status> {
    Json(present::status::status(&server.view(&cluster), server.node_name(), &server.about.version))
}

pub(super) async fn nodes<B: Backend>(
    State(server): State<Server<B>>,
    Seen(cluster): Seen,
) -> Json<Vec<Node>> {
    Json(present::nodes::nodes(&server.view(&cluster)))
}

pub(super) async fn services<B: Backend>(
    State(server): State<Server<B>>,
    Seen(cluster): Seen,
) -> Json<Vec<Service>> {
    Json(present::services::services(&server.view(&cluster)))
}

pub(super) async fn allocs<B: Backend>(
    State(server): State<Server<B>>,
    Seen(cluster): Seen,
    Asked(query): Asked<AllocQuery>,
) -> Json<Vec<Alloc>> {
    Json(present::allocs::allocs(&server.view(&cluster), &query))
}

pub(super) async fn projects(Seen(cluster): Seen) -> Json<Vec<Project>> {
    Json(present::projects::projects(&cluster))
}

pub(super) async fn history(
    Seen(cluster): Seen,
    Named(name): Named<ProjectName>,
) -> Answer<Vec<HistoryEntry>> {
    let project = project(&cluster, &name)?;
    Ok(Json(present::projects::history(&cluster, project)))
}

pub(super) async fn deploy(Seen(cluster): Seen, Named(id): Named<DeployId>) -> Answer<Deploy> {
    let deploy = cluster.deploys.get(&id).ok_or_else(|| no_such_deploy(id))?;
    Ok(Json(present::deploys::deploy(&cluster, deploy)))
}

pub(super) async fn why<B: Backend>(
    State(server): State<Server<B>>,
    Seen(cluster): Seen,
    Named((project, service)): Named<(ProjectName, WorkloadName)>,
) -> Answer<Why> {
    let workload = Workload { project, name: service };
    let why = present::why::why(&server.view(&cluster), &workload);
    let mut why = why.ok_or_else(|| no_such_workload(&server.view(&cluster), &workload))?;
    for reason in &mut why.reasons {
        let Some(alloc) = &reason.alloc else { continue };
        let ended = cluster.allocs.get(alloc).and_then(|alloc| alloc.status.last_end.clone());
        reason.log_tail = tail(&server, alloc, ended.map(|end| end.incarnation)).await;
    }
    Ok(Json(why))
}

/// Adds the last log lines to news of a failure.
pub(super) async fn add_tail<B: Backend>(server: &Server<B>, progress: &mut mill_api::Progress) {
    use mill_api::Step::{Failed, NotYetHealthy};
    if let (Some(alloc), Failed { attempt, log_tail, .. } | NotYetHealthy { attempt, log_tail, .. }) =
        (&progress.alloc, &mut progress.step)
    {
        *log_tail = tail(server, alloc, Some(Incarnation(*attempt))).await;
    }
}

/// A project of the state.
pub(super) fn project<'a>(
    cluster: &'a Cluster,
    name: &ProjectName,
) -> Result<&'a mill_fsm::Project, ApiError> {
    cluster.projects.get(name).ok_or_else(|| {
        let similar = closest(name.as_str(), cluster.projects.keys().map(ToString::to_string));
        let hint = match similar.as_slice() {
            [] => "`mill services` lists what there is".to_owned(),
            similar => format!("did you mean `{}`?", similar.join("` or `")),
        };
        ApiError::new(Code::NotFound, format!("there is no project `{name}`")).hint(hint)
    })
}

/// Why there is no such service or task, with what it may be a slip of.
pub(super) fn no_such_workload(view: &View<'_>, workload: &Workload) -> ApiError {
    let hint = match view.known().workload(&workload.to_string()) {
        Err(error) => error.hint(),
        Ok(_) => "`mill services` lists what there is".to_owned(),
    };
    ApiError::new(Code::NotFound, format!("there is no service or task `{workload}`")).hint(hint)
}
