//! Allocs as they are looked for: by workload, by node, those that have ended; and how many of a workload serve.
//!
//! All of it follows from [`Cluster::allocs`] and is kept up by the two functions that change those.
//!
//! # Why
//! - A leader decides after every change. Most services are as wanted, and that must not be learnt by looking at each
//!   of their allocs: with 100,000 of them a decision took a quarter of a second, with the tallies it is a look per
//!   service.
//! - What a command touched is checked after it. Adding up all allocs of a node for each of those that a command
//!   places was most of what placing cost; now the node's reservation, which commands keep, is held against a tally
//!   that they don't, and only where the two differ are the allocs themselves looked at.

use std::sync::Arc;

use imbl::OrdMap;
use mill_model::{AllocId, NodeId, Phase, Resources, Workload};

use crate::alloc::{Alloc, Version};
use crate::cluster::Cluster;
use crate::deploy::Target;

/// Allocs by id.
pub(crate) type Allocs = OrdMap<AllocId, Arc<Alloc>>;

/// The allocs of one service or task.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Instances {
    /// All, ended ones too.
    pub(crate) allocs: Allocs,
    /// Those that haven't ended.
    live: u32,
    /// Of each version those that are healthy and shall go on; no zeros.
    serving: OrdMap<Version, u32>,
}

impl Instances {
    fn count(&mut self, alloc: &Alloc) {
        self.live += u32::from(alloc.is_live());
        if serves(alloc) {
            *self.serving.entry(alloc.version).or_default() += 1;
        }
    }

    fn discount(&mut self, alloc: &Alloc) {
        self.live = self.live.saturating_sub(u32::from(alloc.is_live()));
        if serves(alloc) {
            let left = self.serving.get(&alloc.version).map_or(0, |count| count.saturating_sub(1));
            match left {
                0 => self.serving.remove(&alloc.version),
                left => self.serving.insert(alloc.version, left),
            };
        }
    }
}

/// The allocs of one node.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct OnNode {
    /// All, ended ones too.
    pub(crate) allocs: Allocs,
    /// What those that haven't ended reserve.
    reserved: Resources,
    /// How often those that haven't ended name each mapped port; no zeros.
    ports: OrdMap<u16, u32>,
    /// Ports that are named more than once.
    clashes: u32,
}

impl OnNode {
    fn count(&mut self, alloc: &Alloc) {
        if !alloc.is_live() {
            return;
        }
        self.reserved = self.reserved.plus(alloc.resources);
        for port in &alloc.status.ports {
            let named = self.ports.entry(port.mapped.get()).or_default();
            *named += 1;
            self.clashes += u32::from(*named == 2);
        }
    }

    fn discount(&mut self, alloc: &Alloc) {
        if !alloc.is_live() {
            return;
        }
        self.reserved = self.reserved.minus(alloc.resources);
        for port in alloc.status.ports.iter().map(|port| port.mapped.get()) {
            match self.ports.get(&port).copied().unwrap_or_default() {
                0 | 1 => drop(self.ports.remove(&port)),
                named => {
                    self.clashes = self.clashes.saturating_sub(u32::from(named == 2));
                    self.ports.insert(port, named - 1);
                }
            }
        }
    }
}

fn serves(alloc: &Alloc) -> bool {
    alloc.stop.is_none() && alloc.status.phase == Phase::Healthy
}

impl Cluster {
    /// Adds an alloc, or puts it in the place of an earlier state of itself.
    pub(crate) fn put_alloc(&mut self, alloc: Alloc) {
        let alloc = Arc::new(alloc);
        let before = self.allocs.insert(alloc.id.clone(), Arc::clone(&alloc));
        let instances = self.by_workload.entry(alloc.workload.clone()).or_default();
        if let Some(before) = &before {
            instances.discount(before);
        }
        instances.count(&alloc);
        instances.allocs.insert(alloc.id.clone(), Arc::clone(&alloc));
        let on_node = self.by_node.entry(alloc.node).or_default();
        if let Some(before) = &before {
            on_node.discount(before);
        }
        on_node.count(&alloc);
        on_node.allocs.insert(alloc.id.clone(), Arc::clone(&alloc));
        if !alloc.is_live() {
            self.ended.insert(alloc.id.clone(), alloc);
        }
    }

    /// Removes an alloc.
    pub(crate) fn drop_alloc(&mut self, id: &AllocId) {
        let Some(alloc) = self.allocs.remove(id) else { return };
        self.ended.remove(id);
        if let Some(instances) = self.by_workload.get_mut(&alloc.workload) {
            instances.discount(&alloc);
            instances.allocs.remove(id);
            if instances.allocs.is_empty() {
                self.by_workload.remove(&alloc.workload);
            }
        }
        if let Some(on_node) = self.by_node.get_mut(&alloc.node) {
            on_node.discount(&alloc);
            on_node.allocs.remove(id);
            if on_node.allocs.is_empty() {
                self.by_node.remove(&alloc.node);
            }
        }
    }

    /// All allocs of a service or task, ended ones too.
    pub fn allocs_of(&self, workload: &Workload) -> impl Iterator<Item = &Arc<Alloc>> {
        self.by_workload.get(workload).into_iter().flat_map(|instances| instances.allocs.values())
    }

    /// All allocs of a node, ended ones too.
    pub fn allocs_on(&self, node: NodeId) -> impl Iterator<Item = &Arc<Alloc>> {
        self.by_node.get(&node).into_iter().flat_map(|on_node| on_node.allocs.values())
    }

    /// All allocs that have ended and aren't forgotten.
    pub fn ended_allocs(&self) -> impl Iterator<Item = &Arc<Alloc>> {
        self.ended.values()
    }

    /// Every service and task that has allocs.
    pub fn workloads_with_allocs(&self) -> impl Iterator<Item = &Workload> {
        self.by_workload.keys()
    }

    /// Whether exactly this runs of a service: so many replicas, all of this version, healthy and to go on, and none
    /// besides. Costs the same however many there are.
    pub fn is_settled(&self, workload: &Workload, target: Target) -> bool {
        let Some(instances) = self.by_workload.get(workload) else { return target.replicas == 0 };
        let serving = instances.serving.get(&target.version).copied().unwrap_or_default();
        instances.live == target.replicas && serving == target.replicas
    }

    /// Whether the tallies of a node's allocs raise no doubt: what they reserve is what the node says, and no port is
    /// named twice.
    pub(crate) fn adds_up(&self, node: NodeId, reserved: Resources) -> bool {
        let none = OnNode::default();
        let on_node = self.by_node.get(&node).unwrap_or(&none);
        on_node.reserved == reserved && on_node.clashes == 0
    }

    /// Whether the indexes are what follows from the allocs.
    pub(crate) fn has_right_indexes(&self) -> bool {
        let mut anew = Self::default();
        self.allocs.values().for_each(|alloc| anew.put_alloc(alloc.as_ref().clone()));
        anew.by_workload == self.by_workload && anew.by_node == self.by_node && anew.ended == self.ended
    }
}

#[cfg(test)]
mod tests {
    use mill_model::{
        AllocStatus, Bytes, DeployId, Incarnation, Millicores, SpecHash, Timestamp, WorkloadName,
    };

    use super::*;
    use crate::alloc::StopReason;

    const VERSION: Version = Version { hash: SpecHash([1; 32]), restarts: 0 };
    const OTHER: Version = Version { hash: SpecHash([2; 32]), restarts: 0 };

    fn workload() -> Workload {
        Workload { project: "shop".parse().unwrap(), name: WorkloadName::new("web").unwrap() }
    }

    fn alloc(number: u64, phase: Phase, version: Version) -> Alloc {
        let id = AllocId::derive(&workload().name, number);
        let status = AllocStatus {
            id: id.clone(),
            incarnation: Incarnation(1),
            revision: 1,
            phase,
            since: Timestamp(1),
            failures: 0,
            given_back: false,
            ports: vec![],
            last_end: None,
            ailment: None,
        };
        Alloc {
            id,
            workload: workload(),
            is_task: false,
            index: 0,
            version,
            node: NodeId(1),
            deploy: DeployId(1),
            placed_at: Timestamp(1),
            resources: Resources { cpu: Millicores(100), memory: Bytes(1 << 20) },
            stop: None,
            status,
        }
    }

    #[test]
    fn settled_is_so_many_healthy_replicas_of_this_version_and_nothing_else() {
        use Phase::{Healthy, Running, Stopped, Unhealthy};
        let told_to_stop = Alloc { stop: Some(StopReason::Surplus), ..alloc(2, Healthy, VERSION) };
        for (second, settled) in [
            (alloc(2, Healthy, VERSION), true),
            (alloc(2, Running, VERSION), false),
            (alloc(2, Unhealthy, VERSION), false),
            (alloc(2, Healthy, OTHER), false),
            (told_to_stop, false),
            (alloc(2, Stopped, VERSION), false),
        ] {
            let mut cluster = Cluster::default();
            cluster.put_alloc(alloc(1, Healthy, VERSION));
            // each is the later state of an alloc that was on its way
            cluster.put_alloc(alloc(2, Running, VERSION));
            let (stopped, said) = (second.status.phase == Stopped, format!("{second:?}"));
            cluster.put_alloc(second);
            let target = |replicas| Target { version: VERSION, replicas };
            assert_eq!(cluster.is_settled(&workload(), target(2)), settled, "{said}");
            // one that has ended doesn't count
            assert_eq!(cluster.is_settled(&workload(), target(1)), stopped, "{said}");
            assert!(
                !cluster.is_settled(&workload(), target(3)) && !cluster.is_settled(&workload(), target(0))
            );
            assert!(cluster.has_right_indexes());
        }
        assert!(Cluster::default().is_settled(&workload(), Target { version: VERSION, replicas: 0 }));
    }

    #[test]
    fn what_is_dropped_leaves_no_trace() {
        let mut cluster = Cluster::default();
        for phase in [Phase::Healthy, Phase::Stopped] {
            cluster.put_alloc(alloc(1, phase, VERSION));
        }
        assert_eq!(cluster.ended_allocs().count(), 1);
        cluster.drop_alloc(&alloc(1, Phase::Stopped, VERSION).id);
        assert_eq!(cluster, Cluster::default());
    }

    #[test]
    fn a_tally_that_differs_from_the_allocs_is_found() {
        let mut cluster = Cluster::default();
        cluster.put_alloc(alloc(1, Phase::Healthy, VERSION));
        assert!(cluster.adds_up(NodeId(1), alloc(1, Phase::Healthy, VERSION).resources));
        assert!(!cluster.adds_up(NodeId(1), Resources::default()));
        if let Some(on_node) = cluster.by_node.get_mut(&NodeId(1)) {
            on_node.reserved = Resources::default();
        }
        assert!(!cluster.has_right_indexes());
    }
}
