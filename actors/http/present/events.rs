//! What happened, in words.

use mill_api::events::{Event, Kind};
use mill_fsm::{Change, Cluster, DeployKind, EventKind, Outcome, StepState, StopReason};
use mill_model::{AllocId, DeployId, Failure, Phase, SecretId, Workload};

use super::{failures, node_name};

/// One event.
pub(in crate::http) fn event(cluster: &Cluster, event: &mill_fsm::Event) -> Event {
    let empty = Event {
        id: event.id,
        at: event.at,
        kind: String::new(),
        project: None,
        service: None,
        alloc: None,
        node: None,
        deploy: None,
        message: String::new(),
    };
    let of = |deploy: DeployId, workload: &Workload| Event {
        project: Some(workload.project.clone()),
        service: Some(workload.name.clone()),
        deploy: Some(deploy),
        ..empty.clone()
    };
    match &event.kind {
        EventKind::NodeRegistered { node } => {
            let node = node_name(cluster, *node);
            let message = format!("node {node} registered");
            Event { kind: word(Kind::NodeRegistered), node: Some(node), message, ..empty }
        }
        EventKind::SecretSet { secret, version, by } => secret_set(empty, secret, *version, by),
        EventKind::SecretDeleted { secret, by } => secret_deleted(empty, secret, by),
        EventKind::DeployChanged { deploy, project, kind, started, outcome, by } => {
            let (kind_of, what) = deploy_words(*started, *outcome);
            let asked = if kind_of == Kind::DeployQueued { by_whom(by) } else { String::new() };
            Event {
                kind: word(kind_of),
                project: Some(project.clone()),
                deploy: Some(*deploy),
                message: format!("{} {project} #{deploy} {what}{asked}", asked_for(kind)),
                ..empty
            }
        }
        EventKind::StepChanged { deploy, workload, change, state, reason } => {
            let (kind, what) = step_words(*change, *state);
            let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let message = format!("deploy #{deploy}: {workload} {what}{why}");
            Event { kind: word(kind), message, ..of(*deploy, workload) }
        }
        EventKind::TaskSpawned { workload, alloc, by } => task_spawned(empty, workload, alloc, by),
        EventKind::TaskCalledOff { workload, alloc } => task_called_off(empty, workload, alloc),
        EventKind::AllocPlaced { deploy, workload, alloc, node } => {
            let node = node_name(cluster, *node);
            let message = format!("{alloc} placed on {node}");
            let kind = word(Kind::AllocPlaced);
            Event { kind, alloc: Some(alloc.clone()), node: Some(node), message, ..of(*deploy, workload) }
        }
        EventKind::AllocStopping { deploy, workload, alloc, reason } => {
            let message = format!("{alloc} is to stop: {}", stop_words(*reason));
            let kind = word(Kind::AllocStopping);
            Event { kind, alloc: Some(alloc.clone()), message, ..of(*deploy, workload) }
        }
        EventKind::AllocChanged { deploy, workload, alloc, phase, incarnation, failure, .. } => {
            let node = cluster.allocs.get(alloc).map(|alloc| node_name(cluster, alloc.node));
            let why = because(*phase, failure.as_ref());
            let run = if incarnation.0 > 1 { format!(" (run {incarnation})") } else { String::new() };
            Event {
                kind: word(Kind::of(*phase)),
                alloc: Some(alloc.clone()),
                node,
                message: format!("{alloc} is {phase}{run}{why}"),
                ..of(*deploy, workload)
            }
        }
    }
}

fn word(kind: Kind) -> String {
    kind.as_str().to_owned()
}

fn secret_set(empty: Event, secret: &SecretId, version: u32, by: &str) -> Event {
    let message = format!("secret {secret} has version {version}{}", by_whom(by));
    Event { kind: word(Kind::SecretSet), project: secret.scope.project().cloned(), message, ..empty }
}

fn secret_deleted(empty: Event, secret: &SecretId, by: &str) -> Event {
    let message = format!("secret {secret} is deleted{}", by_whom(by));
    Event { kind: word(Kind::SecretDeleted), project: secret.scope.project().cloned(), message, ..empty }
}

fn task_spawned(empty: Event, workload: &Workload, alloc: &AllocId, by: &str) -> Event {
    let message = format!("{alloc} is to be run{}", asked_by(by));
    Event { kind: word(Kind::TaskSpawned), message, ..of_task(empty, workload, alloc) }
}

fn task_called_off(empty: Event, workload: &Workload, alloc: &AllocId) -> Event {
    let message = format!("{alloc} was killed before it had a place");
    Event { kind: word(Kind::TaskCalledOff), message, ..of_task(empty, workload, alloc) }
}

fn of_task(empty: Event, workload: &Workload, alloc: &AllocId) -> Event {
    let (project, service) = (Some(workload.project.clone()), Some(workload.name.clone()));
    Event { project, service, alloc: Some(alloc.clone()), ..empty }
}

fn asked_by(by: &str) -> String {
    if by.is_empty() { String::new() } else { format!(": {by} asked for it") }
}

fn by_whom(by: &str) -> String {
    if by.is_empty() { String::new() } else { format!(" by {by}") }
}

/// What follows the word for a phase.
fn because(phase: Phase, failure: Option<&Failure>) -> String {
    match (phase, failure) {
        (Phase::Unhealthy, failure) => format!(": {}", failures::ailment(failure)),
        (Phase::Pending | Phase::Running, Some(failure)) => {
            format!(", not healthy yet: {}", failures::ailment(Some(failure)))
        }
        (_, Some(failure)) => format!(": {failure}"),
        (_, None) => String::new(),
    }
}

const fn asked_for(kind: &DeployKind) -> &'static str {
    match kind {
        DeployKind::Deploy => "deploy",
        DeployKind::Rollback { .. } => "rollback",
        DeployKind::Scale { .. } => "scale",
        DeployKind::Restart { .. } => "restart",
        DeployKind::Undeploy => "undeploy",
        DeployKind::Roll { .. } => "roll",
    }
}

const fn deploy_words(started: bool, outcome: Option<Outcome>) -> (Kind, &'static str) {
    match (outcome, started) {
        (None, false) => (Kind::DeployQueued, "asked for"),
        (None, true) => (Kind::DeployStarted, "began"),
        (Some(Outcome::Succeeded), _) => (Kind::DeploySucceeded, "succeeded"),
        (Some(Outcome::Failed), _) => (Kind::DeployFailed, "failed"),
        (Some(Outcome::Cancelled), _) => (Kind::DeployCancelled, "was cancelled"),
        (Some(Outcome::Replaced), _) => (Kind::DeployReplaced, "was replaced"),
    }
}

const fn step_words(change: Change, state: StepState) -> (Kind, &'static str) {
    match (state, change) {
        (StepState::Waiting, _) => (Kind::ServiceWaiting, "is to be changed"),
        (StepState::Rolling, Change::Remove) => (Kind::ServiceRolling, "is being stopped"),
        (StepState::Rolling, Change::Run) => (Kind::ServiceRolling, "is run"),
        (StepState::Rolling, _) => (Kind::ServiceRolling, "is being changed"),
        (StepState::RollingBack, _) => (Kind::ServiceRollingBack, "is going back"),
        (StepState::Done, Change::Nothing) => (Kind::ServiceUnchanged, "is unchanged"),
        (StepState::Done, Change::Remove) => (Kind::ServiceRemoved, "is removed"),
        (StepState::Done, _) => (Kind::ServiceDone, "is done"),
        (StepState::RolledBack, _) => (Kind::ServiceRolledBack, "is as before"),
        (StepState::Skipped, _) => (Kind::ServiceSkipped, "is skipped"),
    }
}

const fn stop_words(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Replaced => "a newer version takes its place",
        StopReason::RolledBack => "its version is rolled back",
        StopReason::Surplus => "fewer replicas are wanted",
        StopReason::Removed => "its service is removed",
        StopReason::Killed => "somebody killed it",
    }
}
