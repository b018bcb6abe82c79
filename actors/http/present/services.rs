//! Services and tasks with what runs of them.

use std::sync::Arc;

use mill_api::services::{Endpoint, Service, ServiceState};
use mill_control::leader::wanted;
use mill_fsm::{Alloc, Change, Cluster, Runnable, Step, StepState, Target, Version};
use mill_model::{DeployId, Phase, Timestamp, Workload};

use super::{View, allocs, count, total, why, workloads};

/// All services and tasks, by project and name.
pub(in crate::http) fn services(view: &View<'_>) -> Vec<Service> {
    workloads(view.cluster).iter().filter_map(|workload| service(view, workload)).collect()
}

/// One service or task; `None`: the state knows none of this name.
pub(in crate::http) fn service(view: &View<'_>, workload: &Workload) -> Option<Service> {
    let bare = without_problem(view, workload)?;
    // A service as wanted has no problem, though its last deploy may have failed: `mill why` tells that.
    let is_well = matches!(bare.state, ServiceState::Healthy | ServiceState::Stopped | ServiceState::Done);
    let reasons = if is_well { vec![] } else { why::reasons(view, workload) };
    Some(Service { problem: reasons.into_iter().next().map(|reason| reason.what), ..bare })
}

fn without_problem(view: &View<'_>, workload: &Workload) -> Option<Service> {
    let cluster = view.cluster;
    let shown = shown(cluster, workload)?;
    let live: Vec<&Arc<Alloc>> = cluster.allocs_of(workload).filter(|alloc| alloc.is_live()).collect();
    let healthy: Vec<&Arc<Alloc>> =
        live.iter().copied().filter(|alloc| alloc.status.phase == Phase::Healthy).collect();
    let running = |alloc: &&&Arc<Alloc>| {
        matches!(alloc.status.phase, Phase::Running | Phase::Healthy | Phase::Unhealthy)
    };
    let (deploy, deployed_at) = origin(cluster, workload, shown.target.version);
    let container = shown.runnable.container();
    let wanted = match shown.is_task {
        true => count(live.len()),
        false => shown.target.replicas,
    };
    Some(Service {
        workload: workload.clone(),
        kind: allocs::kind(shown.is_task),
        state: match shown.is_task {
            true => task_state(cluster, workload, !live.is_empty()),
            false => service_state(cluster, workload, wanted, count(healthy.len())),
        },
        image: container.image.clone(),
        spec_hash: shown.target.version.hash,
        wanted,
        running: count(live.iter().filter(running).count()),
        healthy: count(healthy.len()),
        restarts: live.iter().map(|alloc| alloc.status.incarnation.0.saturating_sub(1)).sum(),
        endpoints: endpoints(cluster, &healthy),
        used: total(live.iter().map(|alloc| view.used(alloc))),
        deploy,
        deployed_at,
        problem: None,
    })
}

/// What is shown of a service or task.
struct Shown<'a> {
    target: Target,
    runnable: &'a Runnable,
    is_task: bool,
}

/// What shall run; for one that is on its way in or out, what will or did.
fn shown<'a>(cluster: &'a Cluster, workload: &Workload) -> Option<Shown<'a>> {
    let is_service =
        |version: &Version| matches!(cluster.runnables.get(&version.hash), Some(Runnable::Service(_)));
    let task = || {
        let project = cluster.projects.get(&workload.project)?;
        let task = project.tasks.get(&workload.name)?;
        Some(Target { version: Version { hash: task.hash, restarts: 0 }, replicas: 1 })
    };
    let coming = || {
        let step = cluster.active_deploy(&workload.project)?.steps.get(&workload.name)?.clone();
        step.to.or(step.from)
    };
    // Nothing asks for it any more; what is left of it is stopping, or kept to be looked into.
    let left = || {
        let newest = cluster.allocs_of(workload).max_by_key(|alloc| (alloc.is_live(), alloc.placed_at))?;
        Some(Target { version: newest.version, replicas: u32::from(newest.is_task) })
    };
    let waits = || {
        let spawn = cluster.waiting_spawns().find(|spawn| spawn.workload == *workload)?;
        Some(Target { version: Version { hash: spawn.hash, restarts: 0 }, replicas: 1 })
    };
    let target = wanted(cluster, workload).or_else(task).or_else(coming).or_else(left).or_else(waits)?;
    let runnable = cluster.runnables.get(&target.version.hash)?;
    Some(Shown { target, runnable, is_task: !is_service(&target.version) })
}

/// What an active deploy does to it, if it does anything.
fn step_of(cluster: &Cluster, workload: &Workload) -> Option<Step> {
    let step = cluster.active_deploy(&workload.project)?.steps.get(&workload.name)?.clone();
    (!step.state.is_ended()).then_some(step)
}

fn service_state(cluster: &Cluster, workload: &Workload, wanted: u32, healthy: u32) -> ServiceState {
    let changing = |step: &Step| match step.state {
        StepState::Rolling | StepState::RollingBack => step.change != Change::Settings,
        _ => step.change == Change::Create,
    };
    match step_of(cluster, workload) {
        Some(step) if changing(&step) => ServiceState::Deploying,
        _ if wanted == 0 => ServiceState::Stopped,
        _ if healthy >= wanted => ServiceState::Healthy,
        _ if healthy == 0 => ServiceState::Down,
        _ => ServiceState::Degraded,
    }
}

fn task_state(cluster: &Cluster, workload: &Workload, is_live: bool) -> ServiceState {
    if is_live {
        return ServiceState::Running;
    }
    if cluster.waiting_spawns().any(|spawn| spawn.workload == *workload) {
        return ServiceState::Waiting;
    }
    let last = cluster.allocs_of(workload).max_by_key(|alloc| (alloc.placed_at, alloc.status.since));
    let Some(last) = last else { return ServiceState::Stopped };
    let failed = last.status.last_end.as_ref().is_some_and(|end| end.failure.is_some());
    match last.status.phase == Phase::Stopped && !failed {
        true => ServiceState::Done,
        false => ServiceState::Failed,
    }
}

fn endpoints(cluster: &Cluster, healthy: &[&Arc<Alloc>]) -> Vec<Endpoint> {
    let of = |alloc: &&Arc<Alloc>| {
        let node = cluster.nodes.get(&alloc.node).map(|node| node.facts.advertise);
        let ports = alloc.status.ports.clone().into_iter();
        node.into_iter().flat_map(move |address| {
            ports
                .clone()
                .map(move |port| Endpoint { port: port.declared.label(), address: port.reached_at(address) })
        })
    };
    healthy.iter().flat_map(of).collect()
}

/// The deploy that gave it its version, and when. Where that is forgotten, the one that placed its oldest replica.
fn origin(cluster: &Cluster, workload: &Workload, version: Version) -> (DeployId, Timestamp) {
    let gave = |deploy: &&Arc<mill_fsm::Deploy>| {
        let step = deploy.steps.get(&workload.name).filter(|_| deploy.project == workload.project);
        step.is_some_and(|step| {
            let changed = step.from.map(|from| from.version) != Some(version);
            step.to.map(|to| to.version) == Some(version) && changed && step.change != Change::Nothing
        })
    };
    if let Some(deploy) = cluster.deploys.values().rev().find(gave) {
        return (deploy.id, deploy.ended_at.or(deploy.started_at).unwrap_or(deploy.created_at));
    }
    let placed = cluster.allocs_of(workload).filter(|alloc| alloc.version == version);
    let oldest = placed.min_by_key(|alloc| alloc.deploy);
    oldest.map_or((DeployId(0), Timestamp(0)), |alloc| (alloc.deploy, alloc.placed_at))
}
