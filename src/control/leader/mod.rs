//! The leader's side: what to do next, from what all agree on and the time.
//!
//! [`decide`] is asked after every change of the state and when its own `wake` comes. It keeps nothing: a new
//! leader, or the same after a crash, decides from the same state the same way; what nodes said of images they say
//! again to it. Its caller proposes the
//! commands and asks again once they are applied; a command that is rejected meanwhile is decided anew.

mod collect;
mod deploys;
mod fetches;
mod forecast;
mod keep;
mod placing;
mod rollouts;
pub mod session;
mod spawns;

use std::collections::BTreeMap;

use mill_fsm::{Cluster, Command, StepState, Target};
use mill_model::{NodeId, Tempo, Timestamp, Workload};
use mill_scheduler::Unplaceable;

pub use fetches::ahead;
pub use forecast::{Forecast, forecast, in_order};
use placing::Placing;
pub use spawns::explain_spawn;

use crate::fetch::{Fetches, Fetching};

/// What to do next.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Decision {
    /// To be proposed, in this order.
    pub commands: Vec<Command>,
    /// What each node shall fetch from now on.
    pub fetches: BTreeMap<NodeId, Fetches>,
    /// When to ask again though nothing changed.
    pub wake: Option<Timestamp>,
}

impl Decision {
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }
}

/// What a decision is made from.
pub struct Facts<'a> {
    /// What all agree on.
    pub cluster: &'a Cluster,
    /// What was asked of nodes' images, and heard.
    pub fetching: &'a Fetching,
    /// The leader's wall clock, at least the state's time.
    pub now: Timestamp,
    /// Durations.
    pub tempo: &'a Tempo,
}

/// Decides what to do next. `random` makes the ids of new allocs.
pub fn decide(facts: &Facts<'_>, random: &mut dyn FnMut() -> u64) -> Decision {
    let mut decision = Decision::default();
    if !facts.cluster.is_bootstrapped() {
        return decision;
    }
    decision.fetches = fetches::wanted(facts.cluster, facts.fetching);
    let mut placing = Placing::new(facts.cluster, random);
    for deploy in facts.cluster.deploys.values().filter(|deploy| deploy.is_active()) {
        deploys::advance(facts, deploy, &mut placing, &mut decision);
    }
    keep::services(facts, &mut placing, &mut decision);
    spawns::place(facts, &mut placing, &mut decision);
    collect::ended(facts, &mut decision);
    decision
}

/// What shall run of a service or task now: what a deploy brings it to, while one moves it.
pub fn wanted(cluster: &Cluster, workload: &Workload) -> Option<Target> {
    let step = cluster.active_deploy(&workload.project).and_then(|deploy| deploy.steps.get(&workload.name));
    match step {
        Some(step) if step.state == StepState::Rolling => return step.to,
        Some(step) if step.state == StepState::RollingBack => return step.from,
        _ => {}
    }
    let service = cluster.projects.get(&workload.project)?.services.get(&workload.name)?;
    Some(Target { version: service.version, replicas: service.spec.replicas })
}

/// Why the next replica of a service can't be placed now; `None`: it can, none is missing, or one of the service's
/// own is about to leave room.
pub fn explain(cluster: &Cluster, workload: &Workload) -> Option<Unplaceable> {
    let target = wanted(cluster, workload)?;
    let there =
        |alloc: &&std::sync::Arc<mill_fsm::Alloc>| alloc.is_wanted() && alloc.version == target.version;
    let there = cluster.allocs_of(workload).filter(there).count();
    let leaving = cluster.allocs_of(workload).any(|alloc| alloc.is_live() && alloc.stop.is_some());
    if leaving || there >= usize::try_from(target.replicas).unwrap_or(usize::MAX) {
        return None;
    }
    let resources = cluster.runnables.get(&target.version.hash)?.container().resources;
    placing::try_place(cluster, workload, resources).err()
}

#[cfg(test)]
pub(crate) mod tests;
