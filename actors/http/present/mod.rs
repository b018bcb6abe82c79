//! The replicated state in the shapes of the API: pure functions, one file per shape.

pub(super) mod allocs;
pub(super) mod deploys;
pub(super) mod events;
pub(super) mod failures;
pub(super) mod fields;
pub(super) mod gap;
pub(super) mod inspect;
pub(super) mod nodes;
pub(super) mod plan;
pub(super) mod progress;
pub(super) mod projects;
pub(super) mod services;
pub(super) mod status;
pub(super) mod tasks;
pub(super) mod why;

use mill_api::names::Known;
use mill_api::nodes::Usage;
use mill_api::plan::NodeRefusal;
use mill_api::pulling::Pulling;
use mill_control::fetch::{Fetch, FetchState, Fetched};
use mill_control::leader::ahead;
use mill_drivers::containers::ContainerName;
use mill_fsm::{Cluster, Deploy, Halt};
use mill_model::{NodeId, NodeName, Phase, Tempo, Timestamp, Workload, WorkloadName};
use mill_scheduler::Unplaceable;

use super::backend::Moment;
use crate::raft::{Jump, Role};

/// What an answer is made from.
pub(super) struct View<'a> {
    /// What all agree on.
    pub(super) cluster: &'a Cluster,
    /// What this node is in Raft.
    pub(super) role: Role,
    /// Why it applies the log no more; `None`: it does.
    pub(super) halted: Option<Halt>,
    /// Why the log can't be read or written.
    pub(super) trouble: Option<String>,
    /// The last time that its wall clock was set.
    pub(super) jump: Option<Jump>,
    /// What this node knows of this moment.
    pub(super) moment: Moment,
    /// Durations.
    pub(super) tempo: &'a Tempo,
}

/// An image on its way to a node before allocs need it.
pub(super) struct Ahead {
    /// For which service or task.
    pub(super) name: WorkloadName,
    /// To which node.
    pub(super) node: NodeName,
    /// How far, in a word.
    pub(super) state: FetchState,
    /// How far, in numbers, while it comes.
    pub(super) pulling: Option<Pulling>,
}

impl View<'_> {
    /// What a node is called. One that the state doesn't know (it never does) goes by its number.
    pub(super) fn node_name(&self, id: NodeId) -> NodeName {
        node_name(self.cluster, id)
    }

    /// What an alloc uses; `None`: nothing, or it isn't known.
    pub(super) fn used(&self, alloc: &mill_fsm::Alloc) -> Option<Usage> {
        let (id, incarnation) = (alloc.id.clone(), alloc.status.incarnation);
        let name = ContainerName { alloc: id, incarnation };
        self.moment.used.get(&name).filter(|_| alloc.status.phase.may_run()).copied()
    }

    /// How far an alloc's image is, while it waits for it.
    pub(super) fn pulling(&self, alloc: &mill_fsm::Alloc) -> Option<Pulling> {
        let waits = alloc.status.phase == Phase::Pulling;
        let runnable = self.cluster.runnables.get(&alloc.version.hash).filter(|_| waits)?;
        self.moment.pulling(&runnable.container().image)
    }

    /// How nodes are with the images that a deploy is going to start: service or task, node, image.
    pub(super) fn ahead(&self, deploy: &Deploy) -> Vec<Ahead> {
        let wanted = ahead(self.cluster, deploy).flat_map(|(name, image)| {
            let fetched =
                |(node, fetched): (&NodeName, &Fetched)| Some((node.clone(), fetched.get(image)?.clone()));
            let pulling = self.moment.pulling(image);
            let nodes: Vec<(NodeName, Fetch)> = self.moment.ahead.iter().filter_map(fetched).collect();
            let of_node = move |(node, fetch): (NodeName, Fetch)| {
                let pulling = if fetch.state == FetchState::Here { None } else { pulling.clone() };
                Ahead { name: name.clone(), node, state: fetch.state, pulling }
            };
            nodes.into_iter().map(of_node)
        });
        wanted.collect()
    }

    /// Everything that has a name.
    pub(super) fn known(&self) -> Known {
        let cluster = self.cluster;
        Known {
            workloads: workloads(cluster),
            allocs: cluster.allocs.keys().cloned().collect(),
            projects: cluster.projects.keys().cloned().collect(),
            nodes: cluster.nodes.values().map(|node| node.facts.name.clone()).collect(),
            deploys: cluster.deploys.keys().copied().collect(),
        }
    }
}

/// What a node is called.
pub(super) fn node_name(cluster: &Cluster, id: NodeId) -> NodeName {
    let known = cluster.nodes.get(&id).map(|node| node.facts.name.clone());
    let numbered = || NodeName::new(format!("node-{id}")).ok();
    known.or_else(numbered).unwrap_or_else(unnamed)
}

/// `node-N` is a name for every number, so this is never called; the compiler can't know.
#[expect(clippy::expect_used, reason = "`node` is a name")]
fn unnamed() -> NodeName {
    NodeName::new("node").expect("it is a DNS label")
}

/// Every service and task that runs, shall run, can be run, or is on its way, by project and name.
pub(super) fn workloads(cluster: &Cluster) -> Vec<Workload> {
    let mut all: Vec<Workload> = cluster.workloads_with_allocs().cloned().collect();
    for project in cluster.projects.values() {
        let steps = cluster.active_deploy(&project.name).map(|deploy| deploy.steps.keys().cloned());
        let names = project.services.keys().chain(project.tasks.keys()).cloned();
        for name in names.chain(steps.into_iter().flatten()) {
            all.push(Workload { project: project.name.clone(), name });
        }
    }
    all.extend(cluster.waiting_spawns().map(|spawn| spawn.workload.clone()));
    all.sort();
    all.dedup();
    all
}

/// Why no node can take something, node by node.
pub(super) fn node_refusals(unplaceable: &Unplaceable) -> Vec<NodeRefusal> {
    let refusal = |(node, misfit): (&NodeName, &mill_scheduler::Misfit)| NodeRefusal {
        node: node.clone(),
        reason: misfit.to_string(),
    };
    unplaceable.misfits.iter().map(refusal).collect()
}

/// What some containers use together; `None`: of none of them it is known.
pub(super) fn total(used: impl Iterator<Item = Option<Usage>>) -> Option<Usage> {
    used.flatten().reduce(|sum, one| sum.plus(&one))
}

/// A number of things.
pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Milliseconds between two moments.
pub(super) fn millis(from: Timestamp, to: Timestamp) -> u64 {
    to.0.saturating_sub(from.0)
}
