//! Every route, and what answers those that aren't any.

use axum::Router;
use axum::routing::{delete, get, post, put};
use http::{Method, Uri};
use mill_api::names::closest;
use mill_api::{ApiError, Code, paths};
use mill_rpc::v1::introspect_server;

use super::backend::Backend;
use super::refusal::Refusal;
use super::server::Server;
use super::{
    actors, certs, inspect, local, reads, registries, secrets, streams, submit, tasks, tokens, top, writes,
};
use crate::introspect;

/// All routes.
pub(super) fn router<B: Backend>(server: Server<B>) -> Router {
    let backend = server.backend.clone();
    let introspect = introspect::Service::server(move || backend.daemon_actors());
    Router::new()
        // For programs that speak gRPC to the plane as well.
        .route_service(&format!("/{}/{{*call}}", introspect_server::SERVICE_NAME), introspect)
        .route(paths::OPENAPI, get(reads::openapi))
        .route(paths::STATUS, get(reads::status))
        .route(paths::NODES, get(reads::nodes))
        .route(paths::SERVICES, get(reads::services))
        .route(paths::ALLOCS, get(reads::allocs))
        .route(paths::TOP, get(top::look))
        .route(paths::TASKS, get(tasks::list).post(tasks::spawn))
        .route(paths::TASK, get(tasks::one))
        .route(paths::KILL, post(tasks::kill))
        .route(paths::SIGNAL, post(tasks::signal))
        .route(paths::PROJECTS, get(reads::projects))
        .route(paths::PROJECT, delete(writes::undeploy))
        .route(paths::HISTORY, get(reads::history))
        .route(paths::ROLLBACK, post(writes::rollback))
        .route(paths::SCALE, post(writes::scale))
        .route(paths::RESTART, post(writes::restart))
        .route(paths::WHY, get(reads::why))
        .route(paths::PLAN, post(submit::plan))
        .route(paths::DEPLOYS, post(submit::deploy))
        .route(paths::DEPLOY, get(reads::deploy))
        .route(paths::PROGRESS, get(streams::progress::stream))
        .route(paths::CANCEL, post(writes::cancel))
        .route(paths::SECRETS, get(secrets::list))
        .route(paths::SHARED_SECRET, put(secrets::set))
        .route(paths::SHARED_SECRET, get(secrets::history))
        .route(paths::SHARED_SECRET, delete(secrets::delete))
        .route(paths::SHARED_SECRET_VALUE, get(secrets::value))
        .route(paths::SHARED_SECRET_ROLL, post(secrets::roll))
        .route(paths::SECRET, put(secrets::set))
        .route(paths::SECRET, get(secrets::history))
        .route(paths::SECRET, delete(secrets::delete))
        .route(paths::SECRET_VALUE, get(secrets::value))
        .route(paths::SECRET_ROLL, post(secrets::roll))
        .route(paths::INSPECT, get(inspect::one))
        .route(paths::EXEC, get(streams::exec::open))
        .route(paths::LOGS, get(streams::logs::stream))
        .route(paths::EVENTS, get(streams::events::list_or_stream))
        .route(paths::ACTORS, get(actors::trees))
        .route(paths::ACTORS_RESTART, post(actors::restart))
        .route(paths::DOCTOR, get(local::doctor))
        .route(paths::CERTS, get(certs::list))
        .route(paths::ROTATE_CA, post(certs::rotate))
        .route(paths::WHOAMI, get(tokens::whoami))
        .route(paths::TOKENS, get(tokens::list).post(tokens::create))
        .route(paths::TOKEN, delete(tokens::revoke))
        .route(paths::REGISTRIES, get(registries::list).post(registries::set))
        .route(paths::REGISTRY, delete(registries::forget))
        .route(paths::AUDIT, get(streams::audit::list_or_stream))
        .route(paths::DAEMON, get(local::daemon))
        .route(paths::INIT, post(local::init))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .with_state(server)
}

/// Where something is that has no name in it.
const PLAIN: [&str; 24] = [
    paths::OPENAPI,
    paths::STATUS,
    paths::NODES,
    paths::SERVICES,
    paths::ALLOCS,
    paths::TOP,
    paths::TASKS,
    paths::PROJECTS,
    paths::SECRETS,
    paths::PLAN,
    paths::DEPLOYS,
    paths::LOGS,
    paths::EVENTS,
    paths::ACTORS,
    paths::ACTORS_RESTART,
    paths::DOCTOR,
    paths::CERTS,
    paths::ROTATE_CA,
    paths::WHOAMI,
    paths::TOKENS,
    paths::AUDIT,
    paths::REGISTRIES,
    paths::DAEMON,
    paths::INIT,
];

async fn no_such_route(uri: Uri) -> Refusal {
    unknown(uri.path()).into()
}

async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    untaken(&method, uri.path()).into()
}

/// Why nothing answers `method` at `path`.
pub(super) fn no_such(method: &Method, path: &str) -> ApiError {
    if paths::methods(path).is_empty() { unknown(path) } else { untaken(method, path) }
}

fn unknown(path: &str) -> ApiError {
    let path: String = path.chars().take(200).collect();
    let similar = closest(&path, PLAIN.iter().map(|path| (*path).to_owned()));
    let hint = match similar.first() {
        Some(similar) => format!("did you mean {similar}?"),
        None => "the API is under /v1, as mill of the same version knows it".to_owned(),
    };
    ApiError::new(Code::NotFound, format!("there is no route {path}")).hint(hint)
}

fn untaken(method: &Method, path: &str) -> ApiError {
    let (short, methods): (String, _) = (path.chars().take(200).collect(), paths::methods(path));
    let method: String = method.as_str().chars().take(20).collect();
    ApiError::new(Code::BadMethod, format!("{short} doesn't take {method}"))
        .because(format!("it takes {methods}"))
        .hint("GET reads, POST begins something, PUT sets a secret, DELETE on a project undeploys it")
}
