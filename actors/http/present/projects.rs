//! Projects and their histories.

use mill_api::deploys::DeployState;
use mill_api::projects::{HistoryEntry, Project};
use mill_fsm::{Cluster, Outcome, Past};
use mill_model::{ImageRef, ProjectSpec, WorkloadName};

use super::{count, deploys, millis};

/// All projects, by name.
pub(in crate::http) fn projects(cluster: &Cluster) -> Vec<Project> {
    cluster.projects.values().map(|known| project(cluster, known)).collect()
}

/// One project.
pub(in crate::http) fn project(cluster: &Cluster, project: &mill_fsm::Project) -> Project {
    let current = current(project);
    Project {
        name: project.name.clone(),
        services: count(project.services.len()),
        tasks: count(project.tasks.len()),
        current: current.map(|past| past.deploy),
        deployed_at: current.map(|past| past.ended_at),
        deploying: cluster.active_deploy(&project.name).map(|deploy| deploy.id),
    }
}

/// The last deploy that succeeded and left the project as it is. `None` if a later one changed it in part.
pub(in crate::http) fn current(project: &mill_fsm::Project) -> Option<&Past> {
    let newest = project.history.iter().rev().find(|past| past.outcome == Outcome::Succeeded)?;
    project.is(&newest.target).then_some(newest)
}

/// A project's deploys, newest first: those that wait or are under way, then those that ended.
pub(in crate::http) fn history(cluster: &Cluster, project: &mill_fsm::Project) -> Vec<HistoryEntry> {
    let current = current(project).map(|past| past.deploy);
    let open = cluster.deploys.values().rev();
    let open = open.filter(|deploy| deploy.project == project.name && deploy.outcome.is_none());
    let ended = project.history.iter().rev().map(|past| HistoryEntry {
        id: past.deploy,
        action: deploys::action(&past.kind, &past.target),
        state: deploys::ended(past.outcome),
        reason: reason(cluster, past),
        started_at: past.started_at,
        took_ms: Some(millis(past.started_at, past.ended_at)),
        by: deploys::by(&past.by),
        images: images(&past.target),
        current: current == Some(past.deploy),
    });
    open.map(|deploy| under_way(deploy)).chain(ended).collect()
}

fn under_way(deploy: &mill_fsm::Deploy) -> HistoryEntry {
    HistoryEntry {
        id: deploy.id,
        action: deploys::action(&deploy.kind, &deploy.target),
        state: deploys::state(deploy),
        reason: None,
        started_at: deploy.started_at.unwrap_or(deploy.created_at),
        took_ms: None,
        by: deploys::by(&deploy.by),
        images: images(&deploy.target),
        current: false,
    }
}

fn reason(cluster: &Cluster, past: &Past) -> Option<String> {
    let state = deploys::ended(past.outcome);
    let deploy = cluster.deploys.get(&past.deploy).filter(|_| state == DeployState::Failed)?;
    let step = deploys::failed(deploy).into_iter().next()?;
    Some(format!("{}: {}", step.name, step.reason.as_ref()?))
}

/// What a target runs, pinned.
fn images(target: &ProjectSpec) -> std::collections::BTreeMap<WorkloadName, ImageRef> {
    let services = target.services.iter().map(|spec| (&spec.name, &spec.container));
    let tasks = target.tasks.iter().map(|spec| (&spec.name, &spec.container));
    services.chain(tasks).map(|(name, container)| (name.clone(), container.image.clone())).collect()
}
