//! Poses a service's replicas as a rollout, and turns its answer into commands.

use mill_fsm::{Alloc, Cluster, Command, Runnable, StopReason, Target};
use mill_model::spec::{Update, UpdateOrder, defaults};
use mill_model::{AllocId, DeployId, Failure, Phase, Workload};
use mill_scheduler::{Action, Failing, Health, Replica, Rollout};

use super::Decision;
use super::placing::{Placing, Wanted};

/// Replicas of one service, seen from the version that shall run.
pub(super) struct Posed<'a> {
    pub(super) workload: &'a Workload,
    pub(super) cluster: &'a Cluster,
    /// What shall run; `None`: nothing.
    pub(super) to: Option<Target>,
    /// How many others shall serve until those stand in for them.
    pub(super) keep: u32,
    pub(super) update: &'a Update,
}

impl Posed<'_> {
    pub(super) fn rollout(&self) -> Rollout {
        let version = self.to.map(|target| target.version);
        // What somebody had run under this name before there was such a service is no replica.
        let live = self.cluster.allocs_of(self.workload).filter(|alloc| alloc.is_live() && !alloc.is_task);
        let (new, old): (Vec<_>, Vec<_>) = live.partition(|alloc| Some(alloc.version) == version);
        let replicas = |allocs: Vec<_>| allocs.into_iter().map(replica).collect();
        Rollout {
            new: replicas(new),
            want: self.to.map_or(0, |target| target.replicas),
            old: replicas(old),
            keep: self.keep,
            parallel: self.update.parallel,
            order: self.update.order,
        }
    }

    /// The same, with all that serve now, of either version, to be kept until those that shall run stand in for
    /// them. Counted without the latter, those that were stopped would be missed by nobody, and the count would
    /// fall step by step.
    pub(super) fn keeping_what_serves(mut self) -> Self {
        let rollout = self.rollout();
        let all = rollout.new.iter().chain(&rollout.old);
        let serving = all.filter(|replica| replica.health == Health::Healthy).count();
        self.keep = u32::try_from(serving).unwrap_or(u32::MAX).min(rollout.want);
        self
    }

    /// Turns a rollout's actions into commands; what finds no room waits for the next decision.
    pub(super) fn carry_out(
        &self,
        actions: Vec<Action>,
        on_behalf: OnBehalf,
        placing: &mut Placing<'_>,
        decision: &mut Decision,
    ) {
        let (mut starts, mut old, mut surplus) = (vec![], vec![], vec![]);
        for action in actions {
            match action {
                Action::Start { index } => starts.push(index),
                Action::Stop { id } if self.is_new(&id) => surplus.push(id),
                Action::Stop { id } => old.push(id),
            }
        }
        if let Some((target, runnable)) = self.to.zip(self.runnable()) {
            let Target { version, .. } = target;
            let resources = runnable.container().resources;
            let wanted = Wanted { workload: self.workload, version, resources, deploy: on_behalf.deploy };
            let allocs = placing.place(wanted, &starts);
            if !allocs.is_empty() {
                decision.commands.push(Command::PlaceAllocs(allocs));
            }
        }
        for (allocs, reason) in [(old, on_behalf.old), (surplus, StopReason::Surplus)] {
            if !allocs.is_empty() {
                decision.commands.push(Command::StopAllocs { allocs, reason });
            }
        }
    }

    /// Whether an alloc is of the version that shall run.
    pub(super) fn is_new(&self, id: &AllocId) -> bool {
        let version = self.cluster.allocs.get(id).map(|alloc| alloc.version);
        version.is_some() && version == self.to.map(|target| target.version)
    }

    /// The text of the version that shall run.
    pub(super) fn runnable(&self) -> Option<&Runnable> {
        self.cluster.runnables.get(&self.to?.version.hash)
    }
}

/// For whom replicas are started and stopped.
#[derive(Clone, Copy)]
pub(super) struct OnBehalf {
    /// Which deploy.
    pub(super) deploy: DeployId,
    /// Why old replicas stop.
    pub(super) old: StopReason,
}

fn replica(alloc: &std::sync::Arc<Alloc>) -> Replica {
    let status = &alloc.status;
    let failure = || status.last_end.as_ref().and_then(|end| end.failure.clone());
    // One that its node takes down by itself, because it is ill, is started again there: it stays.
    let health = if alloc.stop.is_some() {
        Health::Stopping
    } else if status.phase == Phase::Healthy {
        Health::Healthy
    } else if status.failures > 0 {
        let last = failure().unwrap_or(Failure::Vanished);
        Health::Failing(Failing { failures: status.failures, last })
    } else {
        Health::Starting
    };
    Replica { id: alloc.id.clone(), index: alloc.index, health }
}

/// How a removed service's replicas are stopped.
pub(super) const REMOVAL: Update =
    Update { parallel: u32::MAX, order: UpdateOrder::StartFirst, deadline: defaults::UPDATE_DEADLINE };
