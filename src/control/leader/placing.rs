//! Finds nodes for new allocs, counting those placed in the same decision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mill_fsm::command::NewAlloc;
use mill_fsm::{Alloc, Cluster, Version};
use mill_model::{AllocId, DeployId, NodeId, Resources, Workload};
use mill_scheduler::{NodeView, Request, Unplaceable, place};

/// Nodes with what this decision has placed on them so far.
pub(super) struct Placing<'a> {
    cluster: &'a Cluster,
    /// Made by the first that is placed: most decisions place nothing.
    nodes: Option<Vec<NodeView>>,
    random: &'a mut dyn FnMut() -> u64,
    taken: BTreeSet<AllocId>,
}

/// What a new alloc runs.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) workload: &'a Workload,
    pub(super) version: Version,
    pub(super) resources: Resources,
    pub(super) deploy: DeployId,
}

impl<'a> Placing<'a> {
    pub(super) fn new(cluster: &'a Cluster, random: &'a mut dyn FnMut() -> u64) -> Self {
        Self { cluster, nodes: None, random, taken: BTreeSet::new() }
    }

    /// A place for each of `indexes`, as far as there is room.
    pub(super) fn place(&mut self, wanted: Wanted<'_>, indexes: &[u32]) -> Vec<NewAlloc> {
        if indexes.is_empty() {
            return vec![];
        }
        let nodes = self.nodes.get_or_insert_with(|| views(self.cluster));
        count_replicas(nodes, self.cluster, wanted.workload);
        indexes.iter().map_while(|index| self.place_one(wanted, *index)).collect()
    }

    /// A place for a task whose id is given; `None`: there is no room.
    pub(super) fn place_as(&mut self, wanted: Wanted<'_>, id: AllocId) -> Option<NewAlloc> {
        let nodes = self.nodes.get_or_insert_with(|| views(self.cluster));
        count_replicas(nodes, self.cluster, wanted.workload);
        let node = self.reserve(wanted)?;
        let Wanted { workload, version, deploy, .. } = wanted;
        Some(NewAlloc { id, workload: workload.clone(), index: 0, version, node, deploy })
    }

    fn reserve(&mut self, wanted: Wanted<'_>) -> Option<NodeId> {
        let nodes = self.nodes.as_mut()?;
        let node = place(nodes, &Request { resources: wanted.resources }).ok()?;
        let view = nodes.iter_mut().find(|view| view.id == node)?;
        view.free = view.free.minus(wanted.resources);
        view.replicas_here += 1;
        Some(node)
    }

    fn place_one(&mut self, wanted: Wanted<'_>, index: u32) -> Option<NewAlloc> {
        let node = self.reserve(wanted)?;
        let id = self.fresh_id(wanted.workload);
        let Wanted { workload, version, deploy, .. } = wanted;
        Some(NewAlloc { id, workload: workload.clone(), index, version, node, deploy })
    }

    /// Where the successors of replicas that leave would be placed, one after the other, as things stand; where none
    /// fits, at the old one's place, whose room is the first to be had.
    pub(super) fn successors(
        &mut self,
        workload: &Workload,
        resources: Resources,
        leaving: &[&Arc<Alloc>],
    ) -> Vec<NodeId> {
        let mut nodes = self.nodes.get_or_insert_with(|| views(self.cluster)).clone();
        count_replicas(&mut nodes, self.cluster, workload);
        let successor = |alloc: &&Arc<Alloc>| {
            give_back(&mut nodes, alloc.node, alloc.resources);
            let Ok(node) = place(&nodes, &Request { resources }) else { return alloc.node };
            take(&mut nodes, node, resources);
            node
        };
        leaving.iter().map(successor).collect()
    }

    fn fresh_id(&mut self, workload: &Workload) -> AllocId {
        // With a thousand replicas of one name, one draw in a thousand repeats; some draws are always enough.
        let mut id = AllocId::derive(&workload.name, (self.random)());
        for _ in 0..16 {
            let is_known = self.cluster.allocs.contains_key(&id) || self.cluster.spawns.contains_key(&id);
            if !is_known && !self.taken.contains(&id) {
                break;
            }
            id = AllocId::derive(&workload.name, (self.random)());
        }
        self.taken.insert(id.clone());
        id
    }
}

/// A replica is placed.
pub(super) fn take(nodes: &mut [NodeView], node: NodeId, resources: Resources) {
    if let Some(view) = nodes.iter_mut().find(|view| view.id == node) {
        view.free = view.free.minus(resources);
        view.replicas_here += 1;
    }
}

/// A replica leaves.
pub(super) fn give_back(nodes: &mut [NodeView], node: NodeId, resources: Resources) {
    if let Some(view) = nodes.iter_mut().find(|view| view.id == node) {
        view.free = view.free.plus(resources);
        view.replicas_here = view.replicas_here.saturating_sub(1);
    }
}

/// Whether one replica could be placed now.
pub(super) fn try_place(
    cluster: &Cluster,
    workload: &Workload,
    resources: Resources,
) -> Result<NodeId, Unplaceable> {
    let mut nodes = views(cluster);
    count_replicas(&mut nodes, cluster, workload);
    place(&nodes, &Request { resources })
}

pub(super) fn views(cluster: &Cluster) -> Vec<NodeView> {
    let view = |node: &mill_fsm::Node| NodeView {
        id: node.facts.id,
        name: node.facts.name.clone(),
        is_ready: true,
        capacity: node.facts.capacity,
        free: node.free(),
        replicas_here: 0,
    };
    cluster.nodes.values().map(view).collect()
}

pub(super) fn count_replicas(nodes: &mut [NodeView], cluster: &Cluster, workload: &Workload) {
    let mut counts: BTreeMap<NodeId, u32> = BTreeMap::new();
    for alloc in cluster.allocs_of(workload).filter(|alloc| alloc.is_wanted()) {
        *counts.entry(alloc.node).or_default() += 1;
    }
    for node in nodes {
        node.replicas_here = counts.get(&node.id).copied().unwrap_or_default();
    }
}
