//! Tasks: those that somebody had run, and those that deploys ran.

use std::collections::BTreeSet;

use mill_api::tasks::{Task, TaskQuery, TaskState};
use mill_control::leader::explain_spawn;
use mill_fsm::{Alloc, NO_DEPLOY, Runnable, Spawn, StopReason};
use mill_model::{AllocId, Failure, Phase, SpecHash, Workload};

use super::deploys::by;
use super::{View, node_refusals};

/// What a program's exit code is that Mill couldn't run: docker's.
const NOT_RUN: u8 = 125;
/// Of a program that isn't there, as shells have it.
const NO_PROGRAM: u8 = 127;
/// Of one that took too long, as timeout(1) has it.
const TIMED_OUT: u8 = 124;
/// Of one that a signal ended: this and its number.
const SIGNALLED: u8 = 128;
const SIGKILL: u8 = 9;
const SIGTERM: u8 = 15;

/// The tasks that a query asks for, those that were asked for last first.
pub(in crate::http) fn tasks(view: &View<'_>, query: &TaskQuery) -> Vec<Task> {
    let wanted = |workload: &Workload| {
        query.project.as_ref().is_none_or(|project| workload.project == *project)
            && query.task.as_ref().is_none_or(|task| workload.name == *task)
    };
    let ids = ids(view);
    let tasks = ids.iter().filter_map(|id| task(view, id)).filter(|task| wanted(&task.workload));
    let mut tasks: Vec<Task> = tasks.filter(|task| query.all || !task.state.is_over()).collect();
    tasks.sort_by(|a, b| (b.asked_at, &a.id).cmp(&(a.asked_at, &b.id)));
    tasks
}

/// The ids of all tasks that are listed.
pub(in crate::http) fn ids(view: &View<'_>) -> BTreeSet<AllocId> {
    let placed = view.cluster.allocs.values().filter(|alloc| alloc.is_task).map(|alloc| alloc.id.clone());
    placed.chain(view.cluster.spawns.keys().cloned()).collect()
}

/// A task; `None`: there is none.
pub(in crate::http) fn task(view: &View<'_>, id: &AllocId) -> Option<Task> {
    let spawn = view.cluster.spawns.get(id);
    match (view.cluster.allocs.get(id).filter(|alloc| alloc.is_task), spawn) {
        (Some(alloc), spawn) => Some(placed(view, alloc, spawn.map(AsRef::as_ref))),
        (None, Some(spawn)) => Some(unplaced(view, spawn)),
        (None, None) => None,
    }
}

fn unplaced(view: &View<'_>, spawn: &Spawn) -> Task {
    let unplaceable = explain_spawn(view.cluster, spawn);
    let bare = bare(view, &spawn.id, &spawn.workload, spawn.hash);
    let asked = Task { asked_at: spawn.asked_at, since: spawn.asked_at, by: by(&spawn.by), ..bare };
    match spawn.called_off_at {
        Some(at) => Task {
            state: TaskState::Killed,
            phase: Phase::Stopped,
            since: at,
            ended_at: Some(at),
            exit_code: Some(SIGNALLED + SIGTERM),
            reason: Some("killed before it had a place".to_owned()),
            ..asked
        },
        None => Task {
            reason: unplaceable.as_ref().map(|why| format!("no node can take it: {why}")),
            nodes: unplaceable.as_ref().map(node_refusals).unwrap_or_default(),
            ..asked
        },
    }
}

fn placed(view: &View<'_>, alloc: &Alloc, spawn: Option<&Spawn>) -> Task {
    let status = &alloc.status;
    let end = status.last_end.as_ref().filter(|_| status.phase.is_terminal());
    let failure = end.and_then(|end| end.failure.as_ref());
    let stop = alloc.stop.filter(|_| failure.is_none());
    let state = state(status.phase, stop, failure);
    let bare = bare(view, &alloc.id, &alloc.workload, alloc.version.hash);
    Task {
        state,
        phase: status.phase,
        since: status.since,
        asked_at: spawn.map_or(alloc.placed_at, |spawn| spawn.asked_at),
        by: spawn.and_then(|spawn| by(&spawn.by)),
        deploy: Some(alloc.deploy).filter(|deploy| *deploy != NO_DEPLOY),
        node: Some(view.node_name(alloc.node)),
        ended_at: state.is_over().then(|| end.map_or(status.since, |end| end.at)),
        exit_code: state.is_over().then(|| exit_code(stop, failure)),
        reason: failure.map(ToString::to_string).or_else(|| {
            let stop = stop.filter(|_| state.is_over())?;
            Some(words(stop) + &own_end(end.and_then(|end| end.code)))
        }),
        pulling: view.pulling(alloc),
        ..bare
    }
}

fn bare(view: &View<'_>, id: &AllocId, workload: &Workload, hash: SpecHash) -> Task {
    let runnable = view.cluster.runnables.get(&hash);
    let timeout = match runnable {
        Some(Runnable::Task(spec)) => u64::try_from(spec.timeout.as_millis()).ok(),
        Some(Runnable::Service(_)) | None => None,
    };
    Task {
        id: id.clone(),
        workload: workload.clone(),
        state: TaskState::Waiting,
        phase: Phase::Pending,
        since: mill_model::Timestamp::default(),
        asked_at: mill_model::Timestamp::default(),
        by: None,
        deploy: None,
        node: None,
        image: runnable.map(|runnable| runnable.container().image.clone()),
        timeout_ms: timeout,
        ended_at: None,
        exit_code: None,
        reason: None,
        nodes: vec![],
        pulling: None,
    }
}

const fn state(phase: Phase, stop: Option<StopReason>, failure: Option<&Failure>) -> TaskState {
    match (phase, failure, stop) {
        (Phase::Stopped | Phase::Failed, Some(Failure::TimedOut), _) => TaskState::TimedOut,
        (Phase::Stopped | Phase::Failed, Some(_), _) | (Phase::Failed, None, _) => TaskState::Failed,
        (Phase::Stopped, None, Some(_)) => TaskState::Killed,
        (Phase::Stopped, None, None) => TaskState::Succeeded,
        (Phase::Stopping, ..) => TaskState::Stopping,
        (Phase::Running | Phase::Healthy | Phase::Unhealthy, ..) => TaskState::Running,
        _ => TaskState::Waiting,
    }
}

fn exit_code(stop: Option<StopReason>, failure: Option<&Failure>) -> u8 {
    match failure {
        None if stop.is_some() => SIGNALLED + SIGTERM,
        None => 0,
        Some(Failure::Exited { code }) => *code,
        Some(Failure::Signalled { signal }) => SIGNALLED.saturating_add(*signal),
        Some(Failure::OutOfMemory | Failure::NodeOutOfMemory) => SIGNALLED + SIGKILL,
        Some(Failure::TimedOut) => TIMED_OUT,
        Some(Failure::NoSuchCommand { .. }) => NO_PROGRAM,
        Some(_) => NOT_RUN,
    }
}

/// How a program that was told to stop ended, where it ended otherwise than by that.
fn own_end(code: Option<u8>) -> String {
    match code {
        Some(code) if code != SIGNALLED + SIGTERM => format!("; its program ended with code {code}"),
        _ => String::new(),
    }
}

fn words(stop: StopReason) -> String {
    match stop {
        StopReason::Killed => "killed",
        StopReason::Removed => "its project was undeployed",
        StopReason::Replaced | StopReason::RolledBack | StopReason::Surplus => "its deploy was called off",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_has_the_exit_code_that_a_shell_would_give_it() {
        let exited = |code| Some(Failure::Exited { code });
        for (stop, failure, code, named) in [
            (None, None, 0, TaskState::Succeeded),
            (None, exited(3), 3, TaskState::Failed),
            (None, Some(Failure::Signalled { signal: 11 }), 139, TaskState::Failed),
            (None, Some(Failure::OutOfMemory), 137, TaskState::Failed),
            (None, Some(Failure::NodeOutOfMemory), 137, TaskState::Failed),
            (None, Some(Failure::TimedOut), 124, TaskState::TimedOut),
            (None, Some(Failure::NoSuchCommand { command: "x".into() }), 127, TaskState::Failed),
            (None, Some(Failure::NoSuchImage { detail: "x".into() }), 125, TaskState::Failed),
            (Some(StopReason::Killed), None, 143, TaskState::Killed),
        ] {
            let phase = if failure.is_some() { Phase::Failed } else { Phase::Stopped };
            assert_eq!(exit_code(stop, failure.as_ref()), code, "{failure:?}");
            assert_eq!(state(phase, stop, failure.as_ref()), named, "{failure:?}");
        }
    }
}
