//! A deploy's progress, told from the state's events: while one deploy of a project is under way there is no other,
//! so that what happens to the project between its beginning and its end is the deploy's doing.

use mill_api::progress::{FailedService, Outcome, Progress, Step};
use mill_fsm::{Change, Cluster, Deploy, Event, EventKind, StepReason, StepState, StopReason};
use mill_model::spec::UpdateOrder;
use mill_model::{AllocId, DeployId, NodeName, Phase, Timestamp, Workload, WorkloadName};

use super::{deploys, failures, gap, millis, node_name};

/// Everything told so far, or as much as the state still knows.
pub(in crate::http) fn so_far(cluster: &Cluster, deploy: &Deploy) -> Vec<Progress> {
    match events(cluster, deploy, 0) {
        Some(events) => events.iter().flat_map(|event| told(cluster, deploy, event)).collect(),
        None => as_it_stands(cluster, deploy),
    }
}

/// A deploy's events after the one numbered `after`; `None`: some of them are forgotten.
pub(in crate::http) fn events<'a>(
    cluster: &'a Cluster,
    deploy: &Deploy,
    after: u64,
) -> Option<Vec<&'a Event>> {
    let asked = |event: &&Event| match &event.kind {
        EventKind::DeployChanged { deploy: id, started, outcome, .. } => {
            *id == deploy.id && !started && outcome.is_none()
        }
        _ => false,
    };
    let first = cluster.events.iter().find(asked).map(|event| event.id);
    let after = match first {
        Some(first) => after.max(first - 1),
        // Its beginning is forgotten. Whoever knows an event that isn't misses nothing.
        None if after > 0 => after,
        None => return None,
    };
    let events = cluster.events_after(after)?;
    Some(events.filter(|event| belongs(deploy, event)).collect())
}

/// Whether an event is part of a deploy.
fn belongs(deploy: &Deploy, event: &Event) -> bool {
    let under_way = deploy.started_at.is_some_and(|start| start <= event.at)
        && deploy.ended_at.is_none_or(|end| event.at <= end);
    match &event.kind {
        EventKind::NodeRegistered { .. }
        | EventKind::SecretSet { .. }
        | EventKind::SecretDeleted { .. }
        | EventKind::TaskSpawned { .. }
        | EventKind::TaskCalledOff { .. } => false,
        EventKind::DeployChanged { deploy: id, .. } | EventKind::StepChanged { deploy: id, .. } => {
            *id == deploy.id
        }
        // Of a later one is not of this, even within the same millisecond.
        EventKind::AllocPlaced { workload, deploy: id, .. }
        | EventKind::AllocStopping { workload, deploy: id, .. }
        | EventKind::AllocChanged { workload, deploy: id, .. } => {
            under_way && workload.project == deploy.project && *id <= deploy.id
        }
    }
}

/// What an event of a deploy tells. Log lines aren't in it yet.
pub(in crate::http) fn told(cluster: &Cluster, deploy: &Deploy, event: &Event) -> Option<Progress> {
    let teller = Teller { cluster, deploy, event };
    match &event.kind {
        EventKind::NodeRegistered { .. }
        | EventKind::SecretSet { .. }
        | EventKind::SecretDeleted { .. }
        | EventKind::TaskSpawned { .. }
        | EventKind::TaskCalledOff { .. } => None,
        EventKind::DeployChanged { started, outcome, .. } => teller.of_deploy(*started, *outcome),
        EventKind::StepChanged { workload, change, state, reason, .. } => {
            teller.of_step(workload, *change, *state, reason.as_ref())
        }
        EventKind::AllocPlaced { .. } => None,
        EventKind::AllocStopping { workload, alloc, reason, deploy: by } => {
            let old = match reason {
                StopReason::Replaced | StopReason::Removed => true,
                StopReason::RolledBack | StopReason::Surplus | StopReason::Killed => {
                    teller.is_old(workload, alloc, *by)
                }
            };
            Some(teller.about_alloc(workload, alloc, Step::Stopping { old }))
        }
        EventKind::AllocChanged { .. } => teller.of_alloc(),
    }
}

struct Teller<'a> {
    cluster: &'a Cluster,
    deploy: &'a Deploy,
    event: &'a Event,
}

impl Teller<'_> {
    fn about(&self, service: Option<WorkloadName>, alloc: Option<AllocId>, step: Step) -> Progress {
        Progress { id: self.event.id, at: self.event.at, service, alloc, step }
    }

    fn about_alloc(&self, workload: &Workload, alloc: &AllocId, step: Step) -> Progress {
        self.about(Some(workload.name.clone()), Some(alloc.clone()), step)
    }

    fn of_deploy(&self, started: bool, outcome: Option<mill_fsm::Outcome>) -> Option<Progress> {
        let deploy = self.deploy;
        let step = match (outcome, started) {
            (Some(outcome), _) => finished(self.cluster, deploy, outcome, self.event.at),
            (None, true) => Step::Planned { services: deploys::order(deploy) },
            // It began in the same moment: there was nothing to wait for.
            (None, false) if deploy.started_at == Some(deploy.created_at) => return None,
            (None, false) => Step::Queued { behind: predecessor(self.cluster, deploy)? },
        };
        Some(self.about(None, None, step))
    }

    fn of_step(
        &self,
        workload: &Workload,
        change: Change,
        state: StepState,
        reason: Option<&StepReason>,
    ) -> Option<Progress> {
        let said = || reason.map(ToString::to_string).unwrap_or_default();
        let step = match (state, change) {
            (StepState::Waiting, _) => {
                let on = depends_on(self.deploy, &workload.name);
                if on.is_empty() {
                    return None;
                }
                Step::Waiting { on }
            }
            (StepState::Rolling, _) => return None,
            (StepState::RollingBack, _) => Step::RollingBack { reason: said() },
            (StepState::RolledBack, _) => Step::RolledBack { gap_ms: self.gap_of(workload) },
            (StepState::Skipped, _) => Step::Skipped { because: said() },
            (StepState::Done, Change::Nothing) => Step::Unchanged,
            (StepState::Done, Change::Remove) => Step::Removed,
            (StepState::Done, _) => self.done(workload),
        };
        Some(self.about(Some(workload.name.clone()), None, step))
    }

    fn done(&self, workload: &Workload) -> Step {
        let step = self.deploy.steps.get(&workload.name);
        let began = step.and_then(|step| step.started_at).unwrap_or(self.event.at);
        Step::Done { took_ms: millis(began, self.event.at), gap_ms: self.gap_of(workload) }
    }

    /// How long a stop-first service had no healthy replica while it was replaced.
    fn gap_of(&self, workload: &Workload) -> Option<u64> {
        let step = self.deploy.steps.get(&workload.name)?;
        let stops_first = |spec: &mill_model::ServiceSpec| {
            spec.name == workload.name && spec.update.order == UpdateOrder::StopFirst
        };
        let stop_first = self.deploy.target.services.iter().any(stops_first);
        (stop_first && step.change == Change::Replace).then(|| self.gap(workload)).flatten()
    }

    fn gap(&self, workload: &Workload) -> Option<u64> {
        let id = self.event.id;
        let events = events(self.cluster, self.deploy, 0)?;
        let events = events.into_iter().filter(move |event| event.id <= id);
        gap::gap(
            self.cluster,
            workload,
            self.deploy.id,
            events.collect::<Vec<_>>().into_iter(),
            self.event.at,
        )
    }

    fn of_alloc(&self) -> Option<Progress> {
        let EventKind::AllocChanged { deploy: by, workload, alloc, phase, incarnation, failure, stopping } =
            &self.event.kind
        else {
            return None;
        };
        let old = || self.is_old(workload, alloc, *by);
        let step = match (phase, failure) {
            (Phase::Pending, None) | (Phase::Pulling | Phase::Lost, _) => return None,
            (Phase::Starting, _) => Step::Starting { node: self.node_of(alloc) },
            (Phase::Pending | Phase::Running, Some(failure)) => Step::NotYetHealthy {
                last: failures::ailment(Some(failure)),
                attempt: incarnation.0.max(1),
                log_tail: vec![],
            },
            (Phase::Running, None) => Step::Running,
            (Phase::Healthy, _) => Step::Healthy,
            (Phase::Unhealthy, failure) => Step::Unhealthy { last: failures::ailment(failure.as_ref()) },
            (Phase::Stopping, _) => Step::Stopping { old: old() },
            (Phase::Waiting | Phase::Stopped | Phase::Failed, Some(failure)) if !stopping => {
                Step::Failed { failure: failure.clone(), attempt: incarnation.0.max(1), log_tail: vec![] }
            }
            (Phase::Waiting, _) => return None,
            (Phase::Stopped | Phase::Failed, _) if !stopping && self.is_task(workload) => Step::Succeeded,
            (Phase::Stopped | Phase::Failed, _) => Step::Stopped { old: old() },
        };
        Some(self.about_alloc(workload, alloc, step))
    }

    fn is_task(&self, workload: &Workload) -> bool {
        self.deploy.target.tasks.iter().any(|task| task.name == workload.name)
    }

    /// Whether an alloc is of the version that is replaced. One that the state has forgotten is judged by who placed
    /// it.
    fn is_old(&self, workload: &Workload, alloc: &AllocId, placed_by: DeployId) -> bool {
        let to = self.deploy.steps.get(&workload.name).and_then(|step| step.to);
        match self.cluster.allocs.get(alloc) {
            Some(alloc) => to.map(|to| to.version) != Some(alloc.version),
            None => placed_by != self.deploy.id,
        }
    }

    fn node_of(&self, alloc: &AllocId) -> NodeName {
        let placed = self.cluster.events.iter().find_map(|event| match &event.kind {
            EventKind::AllocPlaced { alloc: placed, node, .. } if placed == alloc => Some(*node),
            _ => None,
        });
        let known = self.cluster.allocs.get(alloc).map(|alloc| alloc.node);
        node_name(self.cluster, known.or(placed).unwrap_or_default())
    }
}

/// What has to be done before a service's turn comes.
fn depends_on(deploy: &Deploy, name: &WorkloadName) -> Vec<WorkloadName> {
    let service = deploy.target.services.iter().find(|service| service.name == *name);
    let changes =
        |name: &&WorkloadName| deploy.steps.get(*name).is_some_and(|step| step.change != Change::Nothing);
    service.map_or(vec![], |service| service.depends_on.iter().filter(changes).cloned().collect())
}

/// The deploy that stood before this one in the line.
fn predecessor(cluster: &Cluster, deploy: &Deploy) -> Option<DeployId> {
    let before = |other: &&std::sync::Arc<Deploy>| {
        let open = other.ended_at.is_none_or(|end| end >= deploy.created_at);
        other.project == deploy.project && other.id < deploy.id && open
    };
    cluster.deploys.values().rfind(before).map(|other| other.id)
}

fn finished(cluster: &Cluster, deploy: &Deploy, outcome: mill_fsm::Outcome, at: Timestamp) -> Step {
    let outcome = match outcome {
        mill_fsm::Outcome::Succeeded => Outcome::Succeeded,
        mill_fsm::Outcome::Failed => Outcome::Failed { services: failed(deploy) },
        mill_fsm::Outcome::Cancelled => Outcome::Cancelled,
        mill_fsm::Outcome::Replaced => {
            let later = |other: &&DeployId| {
                **other > deploy.id
                    && cluster.deploys.get(*other).is_some_and(|d| d.project == deploy.project)
            };
            let by = cluster.deploys.keys().find(later).copied();
            Outcome::Replaced { by: by.unwrap_or_else(|| deploy.id.next()) }
        }
    };
    Step::Finished { outcome, took_ms: millis(deploy.started_at.unwrap_or(deploy.created_at), at) }
}

fn failed(deploy: &Deploy) -> Vec<FailedService> {
    let failed = deploys::failed(deploy).into_iter();
    failed
        .map(|step| FailedService {
            name: step.name.clone(),
            reason: step.reason.as_ref().map(ToString::to_string).unwrap_or_default(),
            hint: match &step.reason {
                Some(StepReason::AllocFailed { alloc, failure }) => Some(failures::hint(failure, Some(alloc))),
                Some(StepReason::FetchFailed { failure, .. }) => Some(failures::hint(failure, None)),
                Some(StepReason::Deadline { .. }) => Some(format!(
                    "`mill why {}/{}` says what it waited for; a longer `update deadline=…` gives it more time",
                    deploy.project, step.name
                )),
                _ => None,
            },
        })
        .collect()
}

/// What a client that comes too late for the events is told: how each service stands. All of it carries the number of
/// the newest event, so that the client goes on after it.
pub(in crate::http) fn as_it_stands(cluster: &Cluster, deploy: &Deploy) -> Vec<Progress> {
    let id = cluster.events.back().map_or(0, |event| event.id);
    let about = |at, service, step| Progress { id, at, service, alloc: None, step };
    let Some(started_at) = deploy.started_at else {
        let queued = predecessor(cluster, deploy).map(|behind| Step::Queued { behind });
        let ended = deploy.outcome.zip(deploy.ended_at);
        let ended = ended.map(|(outcome, at)| about(at, None, finished(cluster, deploy, outcome, at)));
        return queued.map(|step| about(deploy.created_at, None, step)).into_iter().chain(ended).collect();
    };
    let mut all = vec![about(started_at, None, Step::Planned { services: deploys::order(deploy) })];
    for name in deploys::order(deploy) {
        let Some(step) = deploy.steps.get(&name) else { continue };
        let said = || step.reason.as_ref().map(ToString::to_string).unwrap_or_default();
        let took_ms = millis(step.started_at.unwrap_or(step.since), step.since);
        let stands = match (step.state, step.change) {
            (StepState::Waiting, _) => Step::Waiting { on: depends_on(deploy, &name) },
            (StepState::Rolling, _) => continue,
            (StepState::RollingBack, _) => Step::RollingBack { reason: said() },
            (StepState::RolledBack, _) => Step::RolledBack { gap_ms: None },
            (StepState::Skipped, _) => Step::Skipped { because: said() },
            (StepState::Done, Change::Nothing) => Step::Unchanged,
            (StepState::Done, Change::Remove) => Step::Removed,
            (StepState::Done, _) => Step::Done { took_ms, gap_ms: None },
        };
        all.push(about(step.since, Some(name), stands));
    }
    if let Some((outcome, at)) = deploy.outcome.zip(deploy.ended_at) {
        all.push(about(at, None, finished(cluster, deploy, outcome, at)));
    }
    all
}
