//! Moves a deploy on: each step starts when what it depends on is done, rolls, and is rolled back if it fails.

use mill_fsm::{Change, Command, Deploy, Step, StepReason, StepState, StopReason, Target};
use mill_model::spec::{Update, defaults};
use mill_model::{AllocId, Phase, Workload, WorkloadName};
use mill_scheduler::Verdict;

use super::placing::{Placing, Wanted};
use super::rollouts::{OnBehalf, Posed, REMOVAL};
use super::{Decision, Facts};

/// What a program that is killed gets first, unless it or its config says otherwise.
const SIGTERM: u8 = 15;

pub(super) fn advance(
    facts: &Facts<'_>,
    deploy: &Deploy,
    placing: &mut Placing<'_>,
    decision: &mut Decision,
) {
    let mut work = Work { facts, deploy, placing, decision };
    for step in deploy.steps.values() {
        match step.state {
            StepState::Waiting => work.waiting(step),
            StepState::Rolling if step.is_task => work.task(step),
            StepState::Rolling => work.rolling(step),
            StepState::RollingBack if step.is_task => work.task_back(step),
            StepState::RollingBack => work.rolling_back(step),
            StepState::Done if must_undo(deploy, step) => {
                work.advance(step, StepState::RollingBack, Some(StepReason::Cancelled));
            }
            StepState::Done | StepState::RolledBack | StepState::Skipped => {}
        }
    }
    let ended = |step: &Step| step.state.is_ended() && !must_undo(deploy, step);
    if deploy.steps.values().all(ended) {
        work.decision.commands.push(Command::EndDeploy(deploy.id));
    }
}

/// A cancelled deploy takes back what it has done; a task that has run can't be.
fn must_undo(deploy: &Deploy, step: &Step) -> bool {
    let changed = step.change != Change::Nothing && !step.is_task;
    deploy.cancelled.is_some() && step.state == StepState::Done && changed
}

/// A deploy on its way, and what was decided so far.
pub(super) struct Work<'a, 'b, 'c> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) deploy: &'a Deploy,
    pub(super) placing: &'b mut Placing<'c>,
    pub(super) decision: &'b mut Decision,
}

impl Work<'_, '_, '_> {
    fn advance(&mut self, step: &Step, state: StepState, reason: Option<StepReason>) {
        let (deploy, name) = (self.deploy.id, step.name.clone());
        self.decision.commands.push(Command::AdvanceStep { deploy, name, state, reason });
    }

    fn waiting(&mut self, step: &Step) {
        if self.deploy.cancelled.is_some() {
            return self.advance(step, StepState::Skipped, Some(StepReason::Cancelled));
        }
        match self.readiness(step) {
            Readiness::Ready => self.advance(step, StepState::Rolling, None),
            Readiness::Never(name) => {
                let reason = match step.change {
                    Change::Remove => StepReason::StillUsed { name },
                    _ => StepReason::Dependency { name },
                };
                self.advance(step, StepState::Skipped, Some(reason));
            }
            Readiness::NotYet => {}
        }
    }

    fn readiness(&self, step: &Step) -> Readiness {
        let waited_for: Vec<&WorkloadName> = match step.change {
            // What left the config is stopped last, when nobody is left who might have used it.
            Change::Remove => {
                let others = self.deploy.steps.values().filter(|other| other.change != Change::Remove);
                others.map(|other| &other.name).collect()
            }
            _ => self.depends_on(&step.name),
        };
        let mut ready = Readiness::Ready;
        for name in waited_for {
            match self.deploy.steps.get(name).map_or(StepState::Done, |step| step.state) {
                StepState::Done => {}
                StepState::Waiting | StepState::Rolling => ready = Readiness::NotYet,
                StepState::RollingBack | StepState::RolledBack | StepState::Skipped => {
                    return Readiness::Never(name.clone());
                }
            }
        }
        ready
    }

    fn depends_on(&self, name: &WorkloadName) -> Vec<&WorkloadName> {
        let service = self.deploy.target.services.iter().find(|service| service.name == *name);
        service.map_or(vec![], |service| service.depends_on.iter().collect())
    }

    fn workload(&self, step: &Step) -> Workload {
        Workload { project: self.deploy.project.clone(), name: step.name.clone() }
    }

    fn rolling(&mut self, step: &Step) {
        let service = self.deploy.target.services.iter().find(|service| service.name == step.name);
        let update = service.map_or(&REMOVAL, |service| &service.update);
        let workload = self.workload(step);
        let keep = step.from.map_or(0, |from| from.replicas);
        let posed = Posed { workload: &workload, cluster: self.facts.cluster, to: step.to, keep, update };
        if let Some(reason) = self.must_turn_back(step, update) {
            return self.advance(step, StepState::RollingBack, Some(reason));
        }
        match posed.rollout().next() {
            Verdict::Done => self.advance(step, StepState::Done, None),
            Verdict::Failed { id, failure } => {
                let reason = StepReason::AllocFailed { alloc: id, failure };
                self.advance(step, StepState::RollingBack, Some(reason));
            }
            Verdict::Going(actions) => {
                let actions = match self.admit(&posed, actions) {
                    Ok(actions) => actions,
                    Err(reason) => return self.advance(step, StepState::RollingBack, Some(reason)),
                };
                let old = if step.to.is_none() { StopReason::Removed } else { StopReason::Replaced };
                let on_behalf = OnBehalf { deploy: self.deploy.id, old };
                posed.carry_out(actions, on_behalf, self.placing, self.decision);
            }
        }
    }

    fn must_turn_back(&mut self, step: &Step, update: &Update) -> Option<StepReason> {
        if self.deploy.cancelled.is_some() {
            return Some(StepReason::Cancelled);
        }
        let deadline = step.started_at.unwrap_or(step.since).after(update.deadline);
        if deadline <= self.facts.now {
            return Some(StepReason::Deadline { deadline: update.deadline });
        }
        self.decision.wake_at(deadline);
        None
    }

    /// The same rollout with the versions changed over: what the new one started goes, healthy replicas of it
    /// only when old ones stand in for them.
    fn rolling_back(&mut self, step: &Step) {
        let before = self.deploy.before.get(&step.name);
        let update = before.map_or(&REMOVAL, |service| &service.spec.update);
        let workload = self.workload(step);
        let cluster = self.facts.cluster;
        let posed =
            Posed { workload: &workload, cluster, to: step.from, keep: 0, update }.keeping_what_serves();
        let deadline = step.since.after(update.deadline);
        match posed.rollout().next_regardless() {
            Verdict::Going(actions) if deadline > self.facts.now => {
                self.decision.wake_at(deadline);
                let on_behalf = OnBehalf { deploy: self.deploy.id, old: StopReason::RolledBack };
                posed.carry_out(actions, on_behalf, self.placing, self.decision);
            }
            // Past its deadline the deploy ends; the service is kept at its count like any other.
            _ => self.advance(step, StepState::RolledBack, None),
        }
    }

    fn task(&mut self, step: &Step) {
        if self.deploy.cancelled.is_some() {
            return self.advance(step, StepState::RollingBack, Some(StepReason::Cancelled));
        }
        // A task that nobody waits for is only learnt.
        let (Change::Run, Some(target)) = (step.change, step.to) else {
            return self.advance(step, StepState::Done, None);
        };
        let workload = self.workload(step);
        let mine = |alloc: &&std::sync::Arc<mill_fsm::Alloc>| alloc.deploy == self.deploy.id;
        let Some(alloc) = self.facts.cluster.allocs_of(&workload).find(mine) else {
            let deadline = step.started_at.unwrap_or(step.since).after(defaults::UPDATE_DEADLINE);
            if deadline <= self.facts.now {
                let deadline = defaults::UPDATE_DEADLINE;
                return self.advance(step, StepState::RollingBack, Some(StepReason::Deadline { deadline }));
            }
            self.decision.wake_at(deadline);
            return self.start_task(&workload, target);
        };
        let failure = alloc.status.last_end.as_ref().and_then(|end| end.failure.clone());
        match (alloc.status.phase, failure) {
            (Phase::Stopped, None) if alloc.stop.is_none() => self.advance(step, StepState::Done, None),
            (Phase::Stopped | Phase::Failed, failure) => {
                // Without a failure it was killed on somebody's word.
                let failure = failure.unwrap_or(mill_model::Failure::Signalled { signal: SIGTERM });
                let reason = StepReason::AllocFailed { alloc: alloc.id.clone(), failure };
                self.advance(step, StepState::RollingBack, Some(reason));
            }
            _ => {}
        }
    }

    fn start_task(&mut self, workload: &Workload, target: Target) {
        let Some(runnable) = self.facts.cluster.runnables.get(&target.version.hash) else { return };
        let resources = runnable.container().resources;
        let wanted = Wanted { workload, version: target.version, resources, deploy: self.deploy.id };
        let allocs = self.placing.place(wanted, &[0]);
        if !allocs.is_empty() {
            self.decision.commands.push(Command::PlaceAllocs(allocs));
        }
    }

    fn task_back(&mut self, step: &Step) {
        let workload = self.workload(step);
        let mine = self.facts.cluster.allocs_of(&workload).filter(|alloc| alloc.deploy == self.deploy.id);
        let live: Vec<AllocId> = mine.filter(|alloc| alloc.is_live()).map(|alloc| alloc.id.clone()).collect();
        if live.is_empty() {
            self.advance(step, StepState::RolledBack, None);
        } else {
            self.decision.commands.push(Command::StopAllocs { allocs: live, reason: StopReason::RolledBack });
        }
    }
}

enum Readiness {
    Ready,
    NotYet,
    Never(WorkloadName),
}
