//! Finds places for tasks that somebody had run, those that were asked for first before all others.

use std::sync::Arc;

use mill_fsm::{Cluster, Command, DeployKind, NO_DEPLOY, Spawn, StopReason, Version};
use mill_model::{AllocId, ProjectName};
use mill_scheduler::Unplaceable;

use super::placing::{self, Placing, Wanted};
use super::{Decision, Facts};

pub(super) fn place(facts: &Facts<'_>, placing: &mut Placing<'_>, decision: &mut Decision) {
    let cluster = facts.cluster;
    if cluster.spawns.is_empty() {
        return;
    }
    clear_undeployed(cluster, decision);
    let mut waiting: Vec<&Arc<Spawn>> =
        cluster.waiting_spawns().filter(|spawn| !is_undeployed(cluster, &spawn.workload.project)).collect();
    waiting.sort_by_key(|spawn| (spawn.asked_at, &spawn.id));
    let mut allocs = vec![];
    for spawn in waiting {
        let Some(runnable) = cluster.runnables.get(&spawn.hash) else { continue };
        let (workload, version) = (&spawn.workload, Version { hash: spawn.hash, restarts: 0 });
        let resources = runnable.container().resources;
        let wanted = Wanted { workload, version, resources, deploy: NO_DEPLOY };
        // A small one may go before a large one that doesn't fit: neither waits for the other.
        allocs.extend(placing.place_as(wanted, spawn.id.clone()));
    }
    if !allocs.is_empty() {
        decision.commands.push(Command::PlaceAllocs(allocs));
    }
}

/// An undeploy ends everything of its project: what somebody had run of it too.
fn clear_undeployed(cluster: &Cluster, decision: &mut Decision) {
    let open = cluster.spawns.values().filter(|spawn| is_undeployed(cluster, &spawn.workload.project));
    let (mut running, mut waiting): (Vec<AllocId>, Vec<AllocId>) = (vec![], vec![]);
    for spawn in open {
        match cluster.allocs.get(&spawn.id) {
            Some(alloc) if alloc.is_wanted() => running.push(spawn.id.clone()),
            None if spawn.called_off_at.is_none() => waiting.push(spawn.id.clone()),
            _ => {}
        }
    }
    if !running.is_empty() {
        decision.commands.push(Command::StopAllocs { allocs: running, reason: StopReason::Removed });
    }
    decision.commands.extend(waiting.into_iter().map(Command::KillTask));
}

fn is_undeployed(cluster: &Cluster, project: &ProjectName) -> bool {
    cluster.active_deploy(project).is_some_and(|deploy| deploy.kind == DeployKind::Undeploy)
}

/// Why a task that waits can't be placed now; `None`: it can, or it doesn't wait.
pub fn explain_spawn(cluster: &Cluster, spawn: &Spawn) -> Option<Unplaceable> {
    if !cluster.is_waiting(spawn) {
        return None;
    }
    let resources = cluster.runnables.get(&spawn.hash)?.container().resources;
    placing::try_place(cluster, &spawn.workload, resources).err()
}
