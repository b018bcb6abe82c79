//! Deploys.

use mill_api::deploys::{Action, Deploy, DeployService, DeployState, ServiceOutcome};
use mill_control::leader::in_order;
use mill_fsm::{Change, Cluster, DeployKind, Outcome, Step, StepState};
use mill_model::{DeployId, ProjectSpec, WorkloadName};

/// One deploy.
pub(in crate::http) fn deploy(cluster: &Cluster, deploy: &mill_fsm::Deploy) -> Deploy {
    Deploy {
        id: deploy.id,
        project: deploy.project.clone(),
        action: action(&deploy.kind, &deploy.target),
        state: state(deploy),
        started_at: deploy.created_at,
        ended_at: deploy.ended_at,
        behind: behind(cluster, deploy),
        services: services(deploy),
        by: by(&deploy.by),
        warnings: vec![],
    }
}

/// What was asked for.
pub(in crate::http) fn action(kind: &DeployKind, target: &ProjectSpec) -> Action {
    match kind {
        DeployKind::Deploy => Action::Deploy,
        DeployKind::Rollback { to } => Action::Rollback { to: *to },
        DeployKind::Scale { service } => {
            let scaled = target.services.iter().find(|spec| spec.name == *service);
            Action::Scale { service: service.clone(), replicas: scaled.map_or(0, |spec| spec.replicas) }
        }
        DeployKind::Restart { service } => Action::Restart { service: service.clone() },
        DeployKind::Undeploy => Action::Undeploy,
        DeployKind::Roll { secret } => Action::Roll { secret: secret.clone() },
    }
}

/// Name of whoever asked.
pub(in crate::http) fn by(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}

/// How an ended deploy ended.
pub(in crate::http) const fn ended(outcome: Outcome) -> DeployState {
    match outcome {
        Outcome::Succeeded => DeployState::Succeeded,
        Outcome::Failed => DeployState::Failed,
        Outcome::Cancelled => DeployState::Cancelled,
        Outcome::Replaced => DeployState::Replaced,
    }
}

/// How a deploy stands.
pub(in crate::http) fn state(deploy: &mill_fsm::Deploy) -> DeployState {
    let going_back = || deploy.steps.values().any(|step| step.state == StepState::RollingBack);
    match deploy.outcome {
        Some(outcome) => ended(outcome),
        None if deploy.is_waiting() => DeployState::Queued,
        None if deploy.cancelled.is_some() || going_back() => DeployState::RollingBack,
        None => DeployState::Running,
    }
}

/// The deploy that has to end before this one begins: the last of the project's that were asked for before it.
pub(in crate::http) fn behind(cluster: &Cluster, deploy: &mill_fsm::Deploy) -> Option<DeployId> {
    let before = |other: &&std::sync::Arc<mill_fsm::Deploy>| {
        other.project == deploy.project && other.id < deploy.id && other.outcome.is_none()
    };
    let mut open = cluster.deploys.values().filter(before);
    deploy.is_waiting().then(|| open.next_back().map(|other| other.id)).flatten()
}

/// Names of a deploy's services and tasks in the order in which they are dealt with; those that left the config last.
pub(in crate::http) fn order(deploy: &mill_fsm::Deploy) -> Vec<WorkloadName> {
    let mut names = in_order(&deploy.target);
    let gone: Vec<WorkloadName> = deploy.steps.keys().filter(|name| !names.contains(name)).cloned().collect();
    names.extend(gone);
    names
}

fn services(deploy: &mill_fsm::Deploy) -> Vec<DeployService> {
    let outcome = |name: &WorkloadName| deploy.steps.get(name).map_or(ServiceOutcome::Pending, outcome);
    let names = order(deploy).into_iter();
    names.map(|name| DeployService { outcome: outcome(&name), name }).collect()
}

fn outcome(step: &Step) -> ServiceOutcome {
    let reason = || step.reason.as_ref().map(ToString::to_string).unwrap_or_default();
    match (step.state, step.change) {
        (StepState::Done, Change::Nothing) => ServiceOutcome::Unchanged,
        (StepState::Done, Change::Remove) => ServiceOutcome::Removed,
        (StepState::Done, _) => ServiceOutcome::Done,
        (StepState::Waiting, _) => ServiceOutcome::Pending,
        (StepState::Rolling | StepState::RollingBack, _) => ServiceOutcome::Running,
        (StepState::RolledBack, _) => ServiceOutcome::RolledBack { reason: reason() },
        (StepState::Skipped, _) => ServiceOutcome::Skipped { because: reason() },
    }
}

/// A step's failure or skip in a sentence, for those that ended so.
pub(in crate::http) fn failed(deploy: &mill_fsm::Deploy) -> Vec<&Step> {
    let failed = |step: &&Step| matches!(step.state, StepState::RolledBack | StepState::Skipped);
    order(deploy).iter().filter_map(|name| deploy.steps.get(name)).filter(failed).collect()
}

/// The answer to a deploy that finds everything as it asks for: that which brought it there, with nothing changed.
pub(in crate::http) fn unchanged(current: Deploy, kind: &DeployKind, target: &ProjectSpec) -> Deploy {
    let services = in_order(target).into_iter();
    Deploy {
        action: action(kind, target),
        state: DeployState::Succeeded,
        services: services.map(|name| DeployService { name, outcome: ServiceOutcome::Unchanged }).collect(),
        behind: None,
        ..current
    }
}
