//! What must hold at every step. What a decision does is judged by what it was decided from; what is done to a
//! container, by what was agreed on and by how its program behaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mill_fsm::command::NewAlloc;
use mill_fsm::{Alloc, Cluster, Command, Runnable, StepState, Target};
use mill_model::spec::{Update, UpdateOrder};
use mill_model::{AllocId, Phase, Workload};

use super::{Go, World, broken};
use crate::outside::{Container, Name};

impl World {
    /// A state that is published.
    pub(crate) fn judge_state(&mut self, cluster: &Cluster) -> Go {
        if let Err(what) = cluster.check() {
            return broken(format!("the state is broken: {what}"));
        }
        for alloc in cluster.allocs.values() {
            let status = &alloc.status;
            let over = status.phase.is_terminal();
            let up = matches!(status.phase, Phase::Running | Phase::Healthy | Phase::Unhealthy);
            let ended = status.last_end.as_ref().is_some_and(|end| end.incarnation >= status.incarnation);
            if up && ended {
                return broken(format!(
                    "{}.{} has ended and is {}",
                    alloc.id, status.incarnation, status.phase
                ));
            }
            let before = self.seen.insert(alloc.id.clone(), (status.incarnation, over));
            if alloc.is_task {
                let ends = over && before.is_none_or(|(_, was_over)| !was_over);
                let late = status.last_end.as_ref().and_then(|end| end.failure.as_ref());
                self.tally.spawned += u64::from(before.is_none() && alloc.deploy == mill_fsm::NO_DEPLOY);
                self.tally.killed += u64::from(ends && alloc.stop == Some(mill_fsm::StopReason::Killed));
                self.tally.timed_out += u64::from(ends && late == Some(&mill_model::Failure::TimedOut));
            }
            let Some((incarnation, was_over)) = before else { continue };
            if status.incarnation < incarnation || (was_over && !over) {
                return broken(format!("{} was .{incarnation} (over: {was_over}), now {status:?}", alloc.id));
            }
        }
        self.seen.retain(|id, _| cluster.allocs.contains_key(id));
        Ok(())
    }

    /// Mill is about to end a container, or what is left of one.
    pub(crate) fn judge_end_of(&self, name: &Name) -> Go {
        let Some(container) = self.runtime.containers.get(name) else { return Ok(()) };
        if !container.is_running() || !container.known || container.deserves_its_end(self.now, self.wall()) {
            return Ok(());
        }
        let alloc = self.truth.as_ref().and_then(|(_, cluster)| cluster.allocs.get(&name.0));
        // One of an earlier number has ended, as far as anyone was told.
        let wanted = alloc.is_some_and(|alloc| alloc.is_wanted() && alloc.status.incarnation <= name.1);
        match wanted {
            true => broken(format!("{}.{} runs well and is wanted, and Mill ends it", name.0, name.1)),
            false => Ok(()),
        }
    }

    /// A container starts. What has ended, as far as everyone was told, has its place given away.
    pub(crate) fn judge_start_of(&self, name: &Name) -> Go {
        let alloc = self.truth.as_ref().and_then(|(_, cluster)| cluster.allocs.get(&name.0));
        match alloc.filter(|alloc| !alloc.is_live()) {
            Some(alloc) => {
                broken(format!("{} is {} and {}.{} starts", name.0, alloc.status.phase, name.0, name.1))
            }
            None => self.judge_secrets_of(name),
        }
    }

    /// A container starts with the versions that its alloc was placed with, whatever was set, rolled and deleted since.
    fn judge_secrets_of(&self, name: &Name) -> Go {
        let Some((_, cluster)) = &self.truth else { return Ok(()) };
        let (Some(container), Some(alloc)) = (self.runtime.containers.get(name), cluster.allocs.get(&name.0))
        else {
            return Ok(());
        };
        let pins = &container.assignment.container.pins;
        let text = cluster.runnables.get(&alloc.version.hash).map(Runnable::container);
        if text.is_some_and(|text| text.pins != *pins) {
            return broken(format!(
                "{}.{} starts with other secrets than agreed on: {pins:?}",
                name.0, name.1
            ));
        }
        for pin in pins {
            if cluster.sealed(pin).is_none() {
                return broken(format!("{}.{} starts, and the secret {pin} is no more", name.0, name.1));
            }
            if !pin.secret.scope.is_open_to(&alloc.workload.project) {
                return broken(format!("{}.{} starts with another project's {pin}", name.0, name.1));
            }
        }
        Ok(())
    }

    /// A node is about to remove a container of which it knows no owner. It must know them all.
    pub(crate) fn judge_sweep_of(&self, name: &Name) -> Go {
        let known = self.daemon.as_ref().is_some_and(|daemon| daemon.agent.begun.contains_key(&name.0));
        let alloc = self.truth.as_ref().and_then(|(_, cluster)| cluster.allocs.get(&name.0));
        match alloc {
            Some(alloc) if alloc.is_wanted() && !known => {
                broken(format!("{}.{} is swept away, and {} is wanted", name.0, name.1, name.0))
            }
            _ => Ok(()),
        }
    }

    /// What the leader has decided, before anything of it is proposed.
    pub(crate) fn judge_decision(&self, cluster: &Cluster, commands: &[Command]) -> Go {
        let mut stopped: BTreeMap<&Workload, BTreeSet<&AllocId>> = BTreeMap::new();
        for command in commands {
            if let Command::PlaceAllocs(allocs) = command {
                allocs.iter().try_for_each(|new| self.judge_slot(cluster, new))?;
            }
            let Command::StopAllocs { allocs, .. } = command else { continue };
            for alloc in allocs.iter().filter_map(|id| cluster.allocs.get(id)).filter(|alloc| !alloc.is_task)
            {
                stopped.entry(&alloc.workload).or_default().insert(&alloc.id);
            }
        }
        stopped.into_iter().try_for_each(|(workload, stopped)| {
            let loss = Loss { cluster, workload, stopped };
            match self.complaint(&loss) {
                Some(complaint) => broken(format!("{workload}: {complaint}")),
                None => Ok(()),
            }
        })
    }

    /// Stop-first, a replica's number is given again when whoever had it has ended.
    fn judge_slot(&self, cluster: &Cluster, new: &NewAlloc) -> Go {
        if order_now(cluster, &new.workload) != Some(UpdateOrder::StopFirst) {
            return Ok(());
        }
        let slot = |alloc: &&Arc<Alloc>| alloc.index == new.index && alloc.is_live();
        if let Some(other) = cluster.allocs_of(&new.workload).find(slot) {
            return broken(format!(
                "{} gets the slot of {}, which is {}",
                new.id, other.id, other.status.phase
            ));
        }
        let in_slot = |container: &Container| {
            container.assignment.workload == new.workload && container.assignment.index == new.index
        };
        match self.runtime.running().find(|(_, container)| in_slot(container)) {
            Some((name, _)) => {
                broken(format!("{} gets the slot in which {}.{} runs", new.id, name.0, name.1))
            }
            None => Ok(()),
        }
    }

    fn complaint(&self, loss: &Loss<'_>) -> Option<String> {
        let cluster = loss.cluster;
        let deploy = cluster.active_deploy(&loss.workload.project);
        let step = deploy.and_then(|deploy| deploy.steps.get(&loss.workload.name));
        let Some(step) = step.filter(|s| matches!(s.state, StepState::Rolling | StepState::RollingBack))
        else {
            return kept_up(loss);
        };
        let rolling = step.state == StepState::Rolling;
        let wanted = if rolling { step.to } else { step.from };
        let update = wanted.and_then(|target| update_of(cluster, target));
        let (Some(update), Some(to), Some(from)) = (update, step.to, step.from) else { return None };
        match order_now(cluster, loss.workload)? {
            UpdateOrder::StartFirst => self.start_first(loss, to, from),
            UpdateOrder::StopFirst if rolling => {
                stop_first(loss, update, to).or_else(|| self.without_image(loss, to))
            }
            UpdateOrder::StopFirst => None,
        }
    }

    /// Stop-first, a replica goes only when its successor's image is there.
    fn without_image(&self, loss: &Loss<'_>, to: Target) -> Option<String> {
        let (there, _) = loss.staying(|alloc| alloc.version == to.version);
        let (before, after) = loss.staying(|alloc| alloc.version != to.version);
        let image = &loss.cluster.runnables.get(&to.version.hash)?.container().image;
        let here = image.digest.as_ref().is_some_and(|digest| self.runtime.images.contains(digest));
        let early = after < before && there < count(to.replicas) && !here;
        early.then(|| format!("{} of {before} replicas are stopped and {image} isn't here", before - after))
    }

    fn start_first(&self, loss: &Loss<'_>, to: Target, from: Target) -> Option<String> {
        let (before, after) = loss.healthy(|_| true);
        let floor = from.replicas.min(to.replicas);
        if after < before.min(count(floor)) {
            return Some(format!("of {before} healthy replicas {after} are left, {floor} must serve"));
        }
        let (before, after) = loss.healthy(|alloc| alloc.version == from.version);
        let bad = from.version != to.version && to.replicas > 0 && self.is_bad(loss.cluster, to);
        if bad && after < before.min(count(from.replicas)) {
            return Some(format!("{after} of {before} old replicas are left for a version that never works"));
        }
        None
    }

    fn is_bad(&self, cluster: &Cluster, target: Target) -> bool {
        let digest =
            cluster.runnables.get(&target.version.hash).and_then(|r| r.container().image.digest.as_ref());
        digest.and_then(|digest| self.runtime.kinds.get(digest)).is_some_and(|kind| kind.is_bad())
    }
}

/// Replicas that a decision stops.
struct Loss<'a> {
    cluster: &'a Cluster,
    workload: &'a Workload,
    stopped: BTreeSet<&'a AllocId>,
}

impl Loss<'_> {
    /// Replicas that stay, before and after.
    fn staying(&self, of: impl Fn(&Alloc) -> bool) -> (usize, usize) {
        let there: Vec<_> =
            self.cluster.allocs_of(self.workload).filter(|alloc| alloc.is_wanted() && of(alloc)).collect();
        (there.len(), there.iter().filter(|alloc| !self.stopped.contains(&alloc.id)).count())
    }

    fn healthy(&self, of: impl Fn(&Alloc) -> bool) -> (usize, usize) {
        self.staying(|alloc| alloc.status.phase == Phase::Healthy && of(alloc))
    }
}

/// No deploy works on it: nobody is stopped who would be missed.
fn kept_up(loss: &Loss<'_>) -> Option<String> {
    let project = loss.cluster.projects.get(&loss.workload.project)?;
    let service = project.services.get(&loss.workload.name)?;
    let (before, after) = loss.healthy(|_| true);
    let short = service.spec.update.order == UpdateOrder::StartFirst
        && after < before.min(count(service.spec.replicas));
    short.then(|| format!("of {before} healthy replicas {after} are left though no deploy works on it"))
}

fn stop_first(loss: &Loss<'_>, update: &Update, to: Target) -> Option<String> {
    // One that fails serves nobody.
    let fails = |alloc: &Alloc| alloc.status.failures > 0 && alloc.status.phase != Phase::Healthy;
    let old = |alloc: &Alloc| alloc.version != to.version && !fails(alloc);
    let (old_before, old) = loss.staying(old);
    let (_, new) = loss.healthy(|alloc| alloc.version == to.version);
    if old == old_before || new >= count(to.replicas) {
        return None;
    }
    let slots = count(to.replicas);
    let missing = slots.saturating_sub(old + new);
    (missing > count(update.parallel))
        .then(|| format!("{missing} of {slots} replicas are missing, at most {} may", update.parallel))
}

/// How replicas of a service give way to each other now.
fn order_now(cluster: &Cluster, workload: &Workload) -> Option<UpdateOrder> {
    let deploy = cluster.active_deploy(&workload.project);
    let step = deploy.and_then(|deploy| deploy.steps.get(&workload.name).map(|step| (deploy, step.state)));
    let named = |spec: &&mill_model::ServiceSpec| spec.name == workload.name;
    match step {
        Some((deploy, StepState::Rolling)) => Some(deploy.target.services.iter().find(named)?.update.order),
        Some((deploy, StepState::RollingBack)) => Some(deploy.before.get(&workload.name)?.spec.update.order),
        _ => Some(cluster.projects.get(&workload.project)?.services.get(&workload.name)?.spec.update.order),
    }
}

fn update_of(cluster: &Cluster, target: Target) -> Option<&Update> {
    match cluster.runnables.get(&target.version.hash)? {
        Runnable::Service(spec) => Some(&spec.update),
        Runnable::Task(_) => None,
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
