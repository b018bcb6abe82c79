//! What changes something without a config file: rollback, scale, restart, undeploy, cancel.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use mill_api::deploys::{Deploy, RollbackRequest, ScaleRequest};
use mill_api::{ApiError, Code};
use mill_fsm::{Cluster, Command, DeployKind, Outcome, Past, Project};
use mill_model::limits::REPLICAS_MAX;
use mill_model::{DeployId, ProjectName, ProjectSpec, Workload, WorkloadName};

use super::backend::Backend;
use super::body::{Body, Named};
use super::gate::{Caller, Seen};
use super::present::{self, deploys, plan};
use super::reads::{Answer, no_such_workload, project};
use super::server::Server;

/// A deploy to be begun.
pub(super) struct Wanted {
    pub(super) kind: DeployKind,
    pub(super) target: Arc<ProjectSpec>,
    pub(super) replace: bool,
}

/// Begins a deploy, unless there would be nothing to do.
pub(super) async fn begin<B: Backend>(
    server: &Server<B>,
    caller: Caller,
    wanted: Wanted,
) -> Result<Deploy, ApiError> {
    let Wanted { kind, target, replace } = wanted;
    caller.may_deploy(&target.name)?;
    let before = server.cluster();
    if let Some(current) = current(&before, &target, &kind) {
        return Ok(deploys::unchanged(deploys::deploy(&before, current), &kind, &target));
    }
    let project = target.name.clone();
    let by = caller.name.clone();
    let command = Command::BeginDeploy { project, kind, target, replace, by };
    let (cluster, id) = server.begin(&caller, command).await?;
    let deploy = cluster.deploys.get(&id).ok_or_else(|| super::refusal::no_such_deploy(id))?;
    Ok(deploys::deploy(&cluster, deploy))
}

/// The deploy that brought the project to where `target` wants it already. A restart always has something to do.
fn current<'a>(
    cluster: &'a Cluster,
    target: &Arc<ProjectSpec>,
    kind: &DeployKind,
) -> Option<&'a Arc<mill_fsm::Deploy>> {
    if !plan::is_unchanged(cluster, target, kind) {
        return None;
    }
    let project = cluster.projects.get(&target.name)?;
    let newest = present::projects::current(project).or(project.history.back())?;
    cluster.deploys.get(&newest.deploy)
}

pub(super) async fn rollback<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Named(name): Named<ProjectName>,
    Body(RollbackRequest { to }): Body<RollbackRequest>,
) -> Answer<Deploy> {
    let cluster = server.cluster().seen_by(&caller.role);
    let project = project(&cluster, &name)?;
    let past = match to {
        Some(id) => past(project, id)?,
        None => last_good(&cluster, project)?,
    };
    let kind = DeployKind::Rollback { to: past.deploy };
    let wanted = Wanted { kind, target: Arc::clone(&past.target), replace: false };
    Ok(Json(begin(&server, caller, wanted).await?))
}

/// A deploy of the history that can be gone back to.
fn past(project: &Project, id: DeployId) -> Result<&Past, ApiError> {
    let name = &project.name;
    let history = || format!("`mill history {name}` lists the deploys that succeeded");
    let past = project.history.iter().find(|past| past.deploy == id).ok_or_else(|| {
        ApiError::new(Code::NotFound, format!("the history of `{name}` has no deploy #{id}"))
            .because("only deploys of the project that have ended can be gone back to, and only the last of them are kept")
            .hint(history())
    })?;
    match past.outcome {
        _ if past.target.services.is_empty() && past.target.tasks.is_empty() => {
            Err(ApiError::new(Code::Conflict, format!("deploy #{id} stopped everything of `{name}`"))
                .hint(format!("`mill undeploy {name}` does that again; {}", history())))
        }
        Outcome::Succeeded => Ok(past),
        outcome => Err(ApiError::new(Code::Conflict, format!("deploy #{id} can't be gone back to"))
            .because(format!("it ended {}: its config never ran in full", deploys::ended(outcome).as_str()))
            .hint(history())),
    }
}

/// The last config before the current one. While another deploy is under way it isn't clear which is meant.
fn last_good<'a>(cluster: &Cluster, project: &'a Project) -> Result<&'a Past, ApiError> {
    let name = &project.name;
    let open = cluster.deploys.values().find(|deploy| deploy.project == *name && deploy.outcome.is_none());
    if let Some(open) = open {
        let id = open.id;
        return Err(ApiError::new(Code::Conflict, format!("deploy #{id} of `{name}` hasn't ended"))
            .because("it isn't clear what to go back to while the config changes")
            .hint(format!(
                "`mill deploy --cancel {id}` takes it back; `mill rollback {name} --to N` names the deploy to go back to"
            )));
    }
    project.rollback_target().ok_or_else(|| {
        ApiError::new(Code::Conflict, format!("there is nothing to roll `{name}` back to"))
            .because("its history has no earlier deploy that succeeded with another config")
            .hint(format!("`mill history {name}` shows it"))
    })
}

pub(super) async fn scale<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Named((project, service)): Named<(ProjectName, WorkloadName)>,
    Body(ScaleRequest { replicas }): Body<ScaleRequest>,
) -> Answer<Deploy> {
    if replicas > REPLICAS_MAX {
        return Err(ApiError::new(Code::BadRequest, format!("{replicas} replicas are too many"))
            .because(format!("a service has at most {REPLICAS_MAX}"))
            .hint("is the number right?")
            .into());
    }
    let workload = Workload { project, name: service };
    let mut spec = spec_with(&server, &caller, &workload)?;
    let scaled = spec.services.iter_mut().find(|service| service.name == workload.name);
    scaled.into_iter().for_each(|service| service.replicas = replicas);
    let kind = DeployKind::Scale { service: workload.name };
    let wanted = Wanted { kind, target: Arc::new(spec), replace: false };
    Ok(Json(begin(&server, caller, wanted).await?))
}

pub(super) async fn restart<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Named((project, service)): Named<(ProjectName, WorkloadName)>,
) -> Answer<Deploy> {
    let workload = Workload { project, name: service };
    let spec = spec_with(&server, &caller, &workload)?;
    let kind = DeployKind::Restart { service: workload.name };
    let wanted = Wanted { kind, target: Arc::new(spec), replace: false };
    Ok(Json(begin(&server, caller, wanted).await?))
}

/// The project's current config, if it has this service and no deploy is about to change it.
fn spec_with<B: Backend>(
    server: &Server<B>,
    caller: &Caller,
    workload: &Workload,
) -> Result<ProjectSpec, ApiError> {
    let cluster = server.cluster().seen_by(&caller.role);
    let project = project(&cluster, &workload.project)?;
    if project.tasks.contains_key(&workload.name) {
        return Err(ApiError::new(Code::BadRequest, format!("`{workload}` is a task"))
            .because("a task runs to its end, once for each deploy that needs it")
            .hint("deploy again to have it run"));
    }
    let open = cluster.deploys.values().find(|d| d.project == workload.project && d.outcome.is_none());
    if let Some(open) = open {
        let rejected = mill_fsm::Rejected::DeployUnderWay(open.id);
        return Err(super::refusal::not_proposed(crate::raft::ProposeError::Rejected(rejected)));
    }
    match project.services.contains_key(&workload.name) {
        true => Ok(project.spec()),
        false => Err(no_such_workload(&server.view(&cluster), workload)),
    }
}

pub(super) async fn undeploy<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Named(name): Named<ProjectName>,
) -> Answer<Deploy> {
    project(&server.cluster().seen_by(&caller.role), &name)?;
    let target = Arc::new(ProjectSpec { name, services: vec![], tasks: vec![] });
    let wanted = Wanted { kind: DeployKind::Undeploy, target, replace: false };
    Ok(Json(begin(&server, caller, wanted).await?))
}

pub(super) async fn cancel<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Seen(cluster): Seen,
    Named(id): Named<DeployId>,
) -> Answer<Deploy> {
    let deploy = cluster.deploys.get(&id).ok_or_else(|| super::refusal::no_such_deploy(id))?;
    caller.may_deploy(&deploy.project)?;
    server.propose(&caller, Command::CancelDeploy { deploy: id, outcome: Outcome::Cancelled }).await?;
    let cancelled = |cluster: &Arc<Cluster>| {
        cluster.deploys.get(&id).is_none_or(|deploy| deploy.cancelled.is_some() || deploy.outcome.is_some())
    };
    let cluster = server.reaches(cancelled).await;
    let deploy = cluster.deploys.get(&id).ok_or_else(|| super::refusal::no_such_deploy(id))?;
    Ok(Json(deploys::deploy(&cluster, deploy)))
}
