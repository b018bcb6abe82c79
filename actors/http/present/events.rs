//! What happened, in words.

use mill_api::events::Event;
use mill_fsm::{Change, Cluster, DeployKind, EventKind, Outcome, StepState, StopReason};
use mill_model::{DeployId, Failure, Phase, SecretId, Workload};

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
            Event { kind: "node_registered".to_owned(), node: Some(node), message, ..empty }
        }
        EventKind::SecretSet { secret, version, by } => secret_set(empty, secret, *version, by),
        EventKind::SecretDeleted { secret, by } => secret_deleted(empty, secret, by),
        EventKind::DeployChanged { deploy, project, kind, started, outcome, by } => {
            let (word, what) = deploy_words(*started, *outcome);
            let asked = if word == "queued" { by_whom(by) } else { String::new() };
            Event {
                kind: format!("deploy_{word}"),
                project: Some(project.clone()),
                deploy: Some(*deploy),
                message: format!("{} {project} #{deploy} {what}{asked}", asked_for(kind)),
                ..empty
            }
        }
        EventKind::StepChanged { deploy, workload, change, state, reason } => {
            let (word, what) = step_words(*change, *state);
            let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let message = format!("deploy #{deploy}: {workload} {what}{why}");
            Event { kind: format!("service_{word}"), message, ..of(*deploy, workload) }
        }
        EventKind::AllocPlaced { deploy, workload, alloc, node } => {
            let node = node_name(cluster, *node);
            let message = format!("{alloc} placed on {node}");
            let kind = "alloc_placed".to_owned();
            Event { kind, alloc: Some(alloc.clone()), node: Some(node), message, ..of(*deploy, workload) }
        }
        EventKind::AllocStopping { deploy, workload, alloc, reason } => {
            let message = format!("{alloc} is to stop: {}", stop_words(*reason));
            let kind = "alloc_stopping".to_owned();
            Event { kind, alloc: Some(alloc.clone()), message, ..of(*deploy, workload) }
        }
        EventKind::AllocChanged { deploy, workload, alloc, phase, incarnation, failure, .. } => {
            let node = cluster.allocs.get(alloc).map(|alloc| node_name(cluster, alloc.node));
            let why = because(*phase, failure.as_ref());
            // A word of its own, since `alloc_stopping` says that somebody wants it to stop.
            let kind = if *phase == Phase::Stopping { "signalled".to_owned() } else { phase.to_string() };
            let run = if incarnation.0 > 1 { format!(" (run {incarnation})") } else { String::new() };
            Event {
                kind: format!("alloc_{kind}"),
                alloc: Some(alloc.clone()),
                node,
                message: format!("{alloc} is {phase}{run}{why}"),
                ..of(*deploy, workload)
            }
        }
    }
}

fn secret_set(empty: Event, secret: &SecretId, version: u32, by: &str) -> Event {
    let message = format!("secret {secret} has version {version}{}", by_whom(by));
    Event { kind: "secret_set".to_owned(), project: secret.scope.project().cloned(), message, ..empty }
}

fn secret_deleted(empty: Event, secret: &SecretId, by: &str) -> Event {
    let message = format!("secret {secret} is deleted{}", by_whom(by));
    Event { kind: "secret_deleted".to_owned(), project: secret.scope.project().cloned(), message, ..empty }
}

fn by_whom(by: &str) -> String {
    if by.is_empty() { String::new() } else { format!(" by {by}") }
}

/// What follows the word for a phase.
fn because(phase: Phase, failure: Option<&Failure>) -> String {
    match (phase, failure) {
        (Phase::Unhealthy, failure) => format!(": {}", failures::ailment(failure)),
        (Phase::Running, Some(failure)) => format!(", not healthy yet: {}", failures::ailment(Some(failure))),
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

const fn deploy_words(started: bool, outcome: Option<Outcome>) -> (&'static str, &'static str) {
    match (outcome, started) {
        (None, false) => ("queued", "asked for"),
        (None, true) => ("started", "began"),
        (Some(Outcome::Succeeded), _) => ("succeeded", "succeeded"),
        (Some(Outcome::Failed), _) => ("failed", "failed"),
        (Some(Outcome::Cancelled), _) => ("cancelled", "was cancelled"),
        (Some(Outcome::Replaced), _) => ("replaced", "was replaced"),
    }
}

const fn step_words(change: Change, state: StepState) -> (&'static str, &'static str) {
    match (state, change) {
        (StepState::Waiting, _) => ("waiting", "is to be changed"),
        (StepState::Rolling, Change::Remove) => ("rolling", "is being stopped"),
        (StepState::Rolling, Change::Run) => ("rolling", "is run"),
        (StepState::Rolling, _) => ("rolling", "is being changed"),
        (StepState::RollingBack, _) => ("rolling_back", "is going back"),
        (StepState::Done, Change::Nothing) => ("unchanged", "is unchanged"),
        (StepState::Done, Change::Remove) => ("removed", "is removed"),
        (StepState::Done, _) => ("done", "is done"),
        (StepState::RolledBack, _) => ("rolled_back", "is as before"),
        (StepState::Skipped, _) => ("skipped", "is skipped"),
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
