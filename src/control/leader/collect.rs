//! Forgets what has ended: allocs beyond what is kept for looking into, projects of which nothing is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use mill_fsm::{Alloc, Cluster, Command};
use mill_model::{AllocId, Timestamp, Workload, limits};

use super::{Decision, Facts};

pub(super) fn ended(facts: &Facts<'_>, decision: &mut Decision) {
    let cluster = facts.cluster;
    let active = cluster.active_deploys();
    let (mut forgotten, mut ended_tasks) = (vec![], vec![]);
    for (workload, ended) in ended_by_workload(cluster) {
        let is_task = ended.first().is_some_and(|alloc| alloc.is_task);
        let kept = if is_task { usize::MAX } else { limits::ENDED_ALLOCS_KEPT };
        let in_deploy =
            |alloc: &Alloc| active.get(&workload.project).is_some_and(|deploy| deploy.id == alloc.deploy);
        for (count, alloc) in ended.into_iter().filter(|alloc| !in_deploy(alloc)).enumerate() {
            let until = alloc.status.since.after(facts.tempo.ended_kept);
            if count >= kept || until <= facts.now {
                forgotten.push(alloc.id.clone());
            } else {
                decision.wake_at(until);
                if is_task {
                    ended_tasks.push((alloc.status.since, alloc.id.clone()));
                }
            }
        }
    }
    for spawn in cluster.spawns.values() {
        let Some(since) = spawn.called_off_at else { continue };
        let until = since.after(facts.tempo.ended_kept);
        if until <= facts.now {
            forgotten.push(spawn.id.clone());
        } else {
            decision.wake_at(until);
            ended_tasks.push((since, spawn.id.clone()));
        }
    }
    forgotten.extend(beyond_kept(ended_tasks));
    if !forgotten.is_empty() {
        decision.commands.push(Command::ForgetAllocs(forgotten));
    }
    projects(facts, decision);
}

/// Ended allocs of each workload, the newest first.
fn ended_by_workload(cluster: &Cluster) -> BTreeMap<&Workload, Vec<&Arc<Alloc>>> {
    let mut by_workload: BTreeMap<&Workload, Vec<&Arc<Alloc>>> = BTreeMap::new();
    for alloc in cluster.ended_allocs() {
        by_workload.entry(&alloc.workload).or_default().push(alloc);
    }
    for ended in by_workload.values_mut() {
        ended.sort_by_key(|alloc| std::cmp::Reverse((alloc.status.since, alloc.placed_at)));
    }
    by_workload
}

fn beyond_kept(mut ended: Vec<(Timestamp, AllocId)>) -> impl Iterator<Item = AllocId> {
    ended.sort_by(|a, b| b.cmp(a));
    ended.into_iter().skip(limits::ENDED_TASKS_KEPT).map(|(_, id)| id)
}

fn projects(facts: &Facts<'_>, decision: &mut Decision) {
    let cluster = facts.cluster;
    for project in cluster.projects.values().filter(|project| project.services.is_empty()) {
        let has_allocs = cluster.workloads_with_allocs().any(|workload| workload.project == project.name);
        let has_tasks = cluster.waiting_spawns().any(|spawn| spawn.workload.project == project.name);
        let has_deploys = cluster.deploys.values().any(|d| d.project == project.name && d.outcome.is_none());
        if has_allocs || has_tasks || has_deploys {
            continue;
        }
        let until = project.changed_at.after(facts.tempo.ended_kept);
        match until <= facts.now {
            true => decision.commands.push(Command::ForgetProject(project.name.clone())),
            false => decision.wake_at(until),
        }
    }
}
