//! Why a service or task isn't as wanted.

use std::sync::Arc;

use mill_api::why::{Reason, Why};
use mill_control::fetch::FetchState;
use mill_control::leader::{explain, explain_spawn};
use mill_fsm::{Alloc, StepReason, StepState};
use mill_model::{Failure, Phase, Workload};
use mill_scheduler::Failing;

use super::{Ahead, View, allocs, failures, node_refusals, services};

/// Why it is as it is; `None`: the state knows none of this name. Log lines aren't in it yet.
pub(in crate::http) fn why(view: &View<'_>, workload: &Workload) -> Option<Why> {
    let service = services::service(view, workload)?;
    let reasons = reasons(view, workload);
    Some(Why { service, reasons, allocs: allocs::allocs_of(view, workload, false) })
}

/// What keeps it from being as wanted, gravest first: what fails, what can't be placed, what a deploy left undone,
/// what is merely on its way.
pub(in crate::http) fn reasons(view: &View<'_>, workload: &Workload) -> Vec<Reason> {
    let live: Vec<&Arc<Alloc>> = view.cluster.allocs_of(workload).filter(|alloc| alloc.is_wanted()).collect();
    let mut failing: Vec<Reason> = live.iter().filter_map(|alloc| failing(view, alloc)).collect();
    failing.sort_by_key(|reason| reason.since);
    let unplaced = explain(view.cluster, workload).map(|unplaceable| Reason {
        what: format!("no node can take its next replica: {unplaceable}"),
        nodes: node_refusals(&unplaceable),
        hint: Some("it is placed as soon as it fits; `mill nodes` shows what is free".to_owned()),
        ..reason(String::new())
    });
    let coming = live.iter().filter_map(|alloc| coming(view, alloc));
    failing
        .into_iter()
        .chain(unplaced)
        .chain(spawns(view, workload))
        .chain(waits(view, workload))
        .chain(images(view, workload))
        .chain(undone(view, workload))
        .chain(coming)
        .collect()
}

/// Tasks of this name that wait for a place.
fn spawns(view: &View<'_>, workload: &Workload) -> Vec<Reason> {
    let mine = view.cluster.waiting_spawns().filter(|spawn| spawn.workload == *workload);
    let waits = |unplaceable: mill_scheduler::Unplaceable, id: &mill_model::AllocId| Reason {
        what: format!("no node can take {id}: {unplaceable}"),
        nodes: node_refusals(&unplaceable),
        hint: Some(format!("it is placed as soon as it fits; `mill kill {id}` calls it off")),
        ..reason(String::new())
    };
    mine.filter_map(|spawn| Some(waits(explain_spawn(view.cluster, spawn)?, &spawn.id))).collect()
}

fn reason(what: String) -> Reason {
    Reason { what, since: None, alloc: None, next_try: None, nodes: vec![], log_tail: vec![], hint: None }
}

fn failing(view: &View<'_>, alloc: &Alloc) -> Option<Reason> {
    let (id, status) = (&alloc.id, &alloc.status);
    let last = status.last_end.as_ref().and_then(|end| end.failure.as_ref());
    let what = match (status.phase, last) {
        (Phase::Unhealthy, _) => {
            format!("{id} is unhealthy: {}", failures::ailment(status.ailment.as_ref()))
        }
        (Phase::Pending | Phase::Running, _) if status.ailment.is_some() => {
            format!("{id} isn't healthy yet: {}", failures::ailment(status.ailment.as_ref()))
        }
        (Phase::Lost, _) => format!("{id} is on a node that is down"),
        (Phase::Waiting, Some(failure)) => format!("{id} {failure}{}", times(status.failures)),
        (Phase::Pulling | Phase::Starting | Phase::Running, Some(failure)) if status.failures > 0 => {
            format!("{id} {failure}{}, and is started again", times(status.failures))
        }
        _ => return None,
    };
    let waits = status.phase == Phase::Waiting;
    let unhealthy = Failure::Unhealthy { last: String::new() };
    let failure = match status.phase {
        Phase::Unhealthy => status.ailment.as_ref().unwrap_or(&unhealthy),
        _ => status.ailment.as_ref().or(last).unwrap_or(&unhealthy),
    };
    Some(Reason {
        since: Some(status.since),
        alloc: Some(id.clone()),
        next_try: waits.then(|| status.since.after(view.tempo.restart_delay(status.failures))),
        hint: Some(failures::hint(failure, Some(id))),
        ..reason(what)
    })
}

fn times(failures: u32) -> String {
    match failures {
        0 | 1 => String::new(),
        failures => format!(", {failures} times in a row"),
    }
}

fn coming(view: &View<'_>, alloc: &Alloc) -> Option<Reason> {
    let (id, status) = (&alloc.id, &alloc.status);
    if status.failures > 0 || alloc.is_task && status.phase == Phase::Running {
        return None;
    }
    let what = match status.phase {
        Phase::Pending if status.ailment.is_none() => format!("{id} is placed and waits for its node"),
        Phase::Pulling => match view.pulling(alloc) {
            Some(pulling) => format!("the image of {id} is being fetched: {pulling}"),
            None => format!("the image of {id} is being fetched"),
        },
        Phase::Starting => format!("{id} is being started"),
        Phase::Running if status.ailment.is_none() => format!("{id} runs and isn't healthy yet"),
        _ => return None,
    };
    Some(Reason { since: Some(status.since), alloc: Some(id.clone()), ..reason(what) })
}

/// What a deploy waits for before it begins with it.
fn waits(view: &View<'_>, workload: &Workload) -> Option<Reason> {
    let deploy = view.cluster.active_deploy(&workload.project)?;
    let step = deploy.steps.get(&workload.name).filter(|step| step.state == StepState::Waiting)?;
    let service = deploy.target.services.iter().find(|service| service.name == workload.name)?;
    let open =
        |name: &&mill_model::WorkloadName| deploy.steps.get(*name).is_some_and(|step| !step.state.is_ended());
    let on: Vec<String> = service.depends_on.iter().filter(open).map(|name| format!("`{name}`")).collect();
    let what = format!("deploy #{} waits for {} before it begins with it", deploy.id, on.join(", "));
    (!on.is_empty()).then(|| Reason { since: Some(step.since), ..reason(what) })
}

/// Images that a deploy waits for before anything of them is placed.
fn images(view: &View<'_>, workload: &Workload) -> Vec<Reason> {
    let Some(deploy) = view.cluster.active_deploy(&workload.project) else { return vec![] };
    let step = deploy.steps.get(&workload.name);
    let to = step.and_then(|step| step.to).map(|to| to.version);
    if view.cluster.allocs_of(workload).any(|alloc| alloc.is_wanted() && Some(alloc.version) == to) {
        return vec![];
    }
    let about = |ahead: Ahead| {
        let node = ahead.node;
        let (what, hint) = match (ahead.state, ahead.pulling) {
            (FetchState::Here, _) => return None,
            (_, Some(pulling)) => (format!("its image is being fetched on {node}: {pulling}"), None),
            (FetchState::UnderWay, None) => (format!("its image is being fetched on {node}"), None),
            (FetchState::Failing(Failing { failures, last }), None) => (
                format!("its image doesn't come to {node}: {last}{}", times(failures)),
                Some(failures::hint(&last, None)),
            ),
        };
        Some(Reason { since: step.map(|step| step.since), hint, ..reason(what) })
    };
    let mine = view.ahead(deploy).into_iter().filter(|ahead| ahead.name == workload.name);
    mine.filter_map(about).collect()
}

/// What the project's last deploy left undone.
fn undone(view: &View<'_>, workload: &Workload) -> Option<Reason> {
    let project = view.cluster.projects.get(&workload.project)?;
    let last = view.cluster.deploys.get(&project.history.back()?.deploy)?;
    let step = last.steps.get(&workload.name)?;
    let said = step.reason.as_ref()?;
    let id = last.id;
    let what = match step.state {
        StepState::RolledBack => format!("deploy #{id} was rolled back: {said}"),
        StepState::Skipped => format!("deploy #{id} didn't begin with it: {said}"),
        _ => return None,
    };
    let alloc = match said {
        StepReason::AllocFailed { alloc, .. } => Some(alloc.clone()),
        _ => None,
    };
    let hint = match said {
        StepReason::AllocFailed { failure, .. } | StepReason::FetchFailed { failure, .. } => {
            failures::hint(failure, alloc.as_ref())
        }
        StepReason::Deadline { .. } => "a longer `update deadline=…` gives it more time".to_owned(),
        StepReason::Dependency { name } | StepReason::StillUsed { name } => {
            format!("`mill why {}/{name}` says what is wrong there", workload.project)
        }
        StepReason::Cancelled => "deploy again if it is still wanted".to_owned(),
    };
    Some(Reason { since: Some(step.since), alloc, hint: Some(hint), ..reason(what) })
}
