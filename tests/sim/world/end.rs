//! Once nothing goes wrong any more: within a bounded time what runs is exactly what is wanted (P13). Then the daemon
//! dies once more, and no container notices (P2).

use std::collections::BTreeSet;

use mill_control::leader::{explain, explain_spawn};
use mill_drivers::disk::Crash;
use mill_fsm::Cluster;
use mill_model::{AllocId, DeployId, Phase, ProjectName, Timestamp, Workload};

use super::log::note;
use super::{Event, Go, World, broken};
use crate::outside::Name;

/// Longest time from calm to peace: several deploys in a row with a deadline of ten minutes to each of their steps,
/// forwards and backwards.
const PEACE_WITHIN_MS: u64 = 12 * 3600 * 1000;
/// Peace must hold this long, so that a sweep falls into it.
const PEACE_HOLDS_MS: u64 = 70_000;
const LOOK_EVERY_MS: u64 = 1000;

/// How far the end has come.
#[derive(Debug, Default)]
pub(crate) struct Calmness {
    began: Option<Timestamp>,
    peace_since: Option<Timestamp>,
    /// What ran when the daemon died the last time, in peace.
    running: Option<BTreeSet<Name>>,
    last_complaint: String,
}

impl World {
    pub(super) fn look(&mut self) -> Go {
        let now = self.now;
        let began = *self.calmness.began.get_or_insert(now);
        match self.unrest() {
            None => {
                let since = *self.calmness.peace_since.get_or_insert(now);
                if let Some(before) = &self.calmness.running {
                    let running: BTreeSet<Name> =
                        self.runtime.running().map(|(name, _)| name.clone()).collect();
                    if running != *before {
                        return broken(format!(
                            "{before:?} ran when the daemon died in peace, now {running:?}"
                        ));
                    }
                }
                if since.after(std::time::Duration::from_millis(PEACE_HOLDS_MS)) <= now {
                    return self.peace();
                }
            }
            Some(complaint) => {
                self.calmness.peace_since = None;
                self.calmness.last_complaint = complaint;
            }
        }
        if now.0 > began.0 + PEACE_WITHIN_MS {
            return broken(format!("no peace: {}", self.calmness.last_complaint));
        }
        self.at(LOOK_EVERY_MS, Event::Look);
        Ok(())
    }

    fn peace(&mut self) -> Go {
        if self.calmness.running.is_some() {
            note!(self, "======== peace");
            self.done = true;
            return Ok(());
        }
        note!(self, "======== peace, once more");
        self.calmness.running = Some(self.runtime.running().map(|(name, _)| name.clone()).collect());
        self.calmness.peace_since = None;
        self.at(LOOK_EVERY_MS, Event::Look);
        self.die(Crash::Process)
    }

    /// Why there is no peace yet.
    fn unrest(&self) -> Option<String> {
        let Some(daemon) = &self.daemon else { return Some("the daemon is away".to_owned()) };
        let Some((_, cluster)) = &self.truth else { return Some("there is no state".to_owned()) };
        if let Some(deploy) = cluster.deploys.values().find(|deploy| deploy.outcome.is_none()) {
            return Some(format!("deploy {} has no outcome", deploy.id));
        }
        if let Some(lost) = self.acked.iter().find(|(id, project)| !is_remembered(cluster, **id, project)) {
            return Some(format!("deploy {} was acknowledged and is lost", lost.0));
        }
        if !daemon.pulls.is_empty() {
            return Some("a pull is under way".to_owned());
        }
        if let Some(task) = cluster.allocs.values().find(|alloc| alloc.is_task && alloc.is_live()) {
            return Some(format!("task {} is {}", task.id, task.status.phase));
        }
        let fits = |spawn: &&std::sync::Arc<mill_fsm::Spawn>| explain_spawn(cluster, spawn).is_none();
        if let Some(task) = cluster.waiting_spawns().find(fits) {
            return Some(format!("task {} waits, and fits", task.id));
        }
        self.missing(cluster).or_else(|| self.extra(cluster)).or_else(|| self.disagreement(cluster))
    }

    /// A service that doesn't run as wanted.
    fn missing(&self, cluster: &Cluster) -> Option<String> {
        for project in cluster.projects.values() {
            for (name, service) in &project.services {
                let workload = Workload { project: project.name.clone(), name: name.clone() };
                let serves = |alloc: &&std::sync::Arc<mill_fsm::Alloc>| {
                    let container =
                        self.runtime.containers.get(&(alloc.id.clone(), alloc.status.incarnation));
                    alloc.is_wanted()
                        && alloc.status.phase == Phase::Healthy
                        && container.is_some_and(|container| container.is_running())
                };
                let all = cluster.allocs_of(&workload).filter(serves);
                let (right, other): (Vec<_>, Vec<_>) =
                    all.partition(|alloc| alloc.version == service.version);
                let serving = right.len();
                let there = cluster.allocs_of(&workload).filter(|alloc| alloc.is_live()).count();
                let wanted = usize::try_from(service.spec.replicas).unwrap_or(usize::MAX);
                // Others serve on where those that are wanted find no room.
                let no_room = serving + other.len() == there
                    && serving < wanted
                    && explain(cluster, &workload).is_some();
                if serving != wanted && !no_room {
                    return Some(format!("{workload} has {serving} of {wanted} replicas"));
                }
            }
        }
        None
    }

    /// Something that nobody asks for.
    fn extra(&self, cluster: &Cluster) -> Option<String> {
        for (name, container) in &self.runtime.containers {
            let alloc = cluster.allocs.get(&name.0).filter(|alloc| alloc.is_wanted() && !alloc.is_task);
            let project = cluster.projects.get(&container.assignment.workload.project);
            let service =
                project.and_then(|project| project.services.get(&container.assignment.workload.name));
            let asked_for = alloc.zip(service).is_some_and(|(alloc, service)| {
                alloc.version == service.version || explain(cluster, &alloc.workload).is_some()
            });
            if !asked_for || !container.is_running() {
                return Some(format!("container {}.{} is left ({:?})", name.0, name.1, container.state));
            }
        }
        let live = |id: &AllocId| cluster.allocs.get(id).is_some_and(|alloc| alloc.is_live());
        if let Some(alloc) = self.runtime.scratch.iter().find(|id| !live(id)) {
            return Some(format!("directories of {alloc} are left"));
        }
        let alloc = self.records.keys().find(|id| !cluster.allocs.contains_key(*id))?;
        Some(format!("the record of {alloc} is left"))
    }

    /// A difference between what the node says and what all agree on.
    fn disagreement(&self, cluster: &Cluster) -> Option<String> {
        let node = &self.daemon.as_ref()?.agent.node;
        let mut ports = 0;
        for status in node.statuses() {
            let Some(alloc) = cluster.allocs.get(&status.id) else {
                return Some(format!("the node has {}, and nobody else knows it", status.id));
            };
            // An end is final; what an earlier daemon told of it, and couldn't write down, stays as it was told.
            let same_end = status.phase.is_terminal() && alloc.status.phase.is_terminal();
            if alloc.status != *status && !same_end {
                return Some(format!("the node says {status:?}, the state {:?}", alloc.status));
            }
            if !status.phase.is_terminal() {
                ports += status.ports.len();
                if !self.runtime.containers.contains_key(&(status.id.clone(), status.incarnation)) {
                    return Some(format!("{} lives and has no container", status.id));
                }
            }
        }
        if node.ports_held() != ports {
            return Some(format!("{} ports are held, {ports} are in use", node.ports_held()));
        }
        let here: BTreeSet<&AllocId> = node.statuses().map(|status| &status.id).collect();
        let lost = cluster.allocs.values().find(|alloc| alloc.is_live() && !here.contains(&alloc.id))?;
        Some(format!("{} is live and the node doesn't have it", lost.id))
    }
}

/// Whether a deploy is there, or forgotten by rule: with its project, or because the history has grown past it.
fn is_remembered(cluster: &Cluster, id: DeployId, project: &ProjectName) -> bool {
    let Some(project) = cluster.projects.get(project) else { return true };
    cluster.deploys.contains_key(&id) || project.history.front().is_some_and(|oldest| id < oldest.deploy)
}
