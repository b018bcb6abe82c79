//! Allocs are placed, stopped, reported and forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use mill_model::{AllocId, AllocStatus, Incarnation, NodeId, Phase, Resources};

use crate::alloc::{Alloc, StopReason};
use crate::check::Touched;
use crate::cluster::{Cluster, Runnable};
use crate::command::{Applied, Done, NewAlloc};
use crate::event::EventKind;
use crate::rejected::Rejected;

impl Cluster {
    pub(super) fn place_allocs(&mut self, allocs: Vec<NewAlloc>, touched: &mut Touched) -> Applied {
        let mut reserved: BTreeMap<NodeId, Resources> = BTreeMap::new();
        for new in allocs {
            if self.allocs.contains_key(&new.id) {
                return Err(Rejected::AllocExists(new.id));
            }
            let Some(runnable) = self.runnables.get(&new.version.hash) else {
                return Err(Rejected::VersionUnknown(new.id));
            };
            let pins = &runnable.container().pins;
            if let Some(pin) = pins.iter().find(|pin| self.sealed(pin).is_none()) {
                return Err(Rejected::SecretGone(pin.clone()));
            }
            if !self.may_be_placed(&new) {
                return Err(Rejected::NoSuchTask(new.id));
            }
            let node = self.nodes.get(&new.node).ok_or(Rejected::NoSuchNode(new.node))?;
            let wanted = runnable.container().resources;
            let sum = reserved.entry(new.node).or_default();
            if !node.free().minus(*sum).holds(&wanted) {
                return Err(Rejected::NoCapacity { node: new.node, alloc: new.id });
            }
            *sum = sum.plus(wanted);
            let is_task = matches!(runnable, Runnable::Task(_));
            self.insert_alloc(self.placed(new, wanted, is_task), touched);
        }
        for (id, sum) in reserved {
            self.reserve(id, |reserved| reserved.plus(sum));
        }
        Ok(Done::Plain)
    }

    fn placed(&self, new: NewAlloc, resources: Resources, is_task: bool) -> Alloc {
        let status = AllocStatus {
            id: new.id.clone(),
            incarnation: Incarnation(0),
            revision: 0,
            phase: Phase::Pending,
            since: self.time,
            failures: 0,
            given_back: false,
            ports: vec![],
            last_end: None,
            ailment: None,
        };
        Alloc {
            id: new.id,
            workload: new.workload,
            is_task,
            index: new.index,
            version: new.version,
            node: new.node,
            deploy: new.deploy,
            placed_at: self.time,
            resources,
            stop: None,
            status,
        }
    }

    fn insert_alloc(&mut self, alloc: Alloc, touched: &mut Touched) {
        touched.nodes.insert(alloc.node);
        self.record(EventKind::AllocPlaced {
            deploy: alloc.deploy,
            workload: alloc.workload.clone(),
            alloc: alloc.id.clone(),
            node: alloc.node,
        });
        self.put_alloc(alloc);
    }

    fn reserve(&mut self, node: NodeId, change: impl FnOnce(Resources) -> Resources) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.reserved = change(node.reserved);
        }
    }

    pub(super) fn stop_allocs(&mut self, allocs: &[AllocId], reason: StopReason) -> Applied {
        for id in allocs {
            let Some(alloc) = self.allocs.get(id).filter(|alloc| alloc.is_wanted()) else { continue };
            let (deploy, workload) = (alloc.deploy, alloc.workload.clone());
            let stopping = Alloc { stop: Some(reason), ..alloc.as_ref().clone() };
            self.put_alloc(stopping);
            self.record(EventKind::AllocStopping { deploy, workload, alloc: id.clone(), reason });
        }
        Ok(Done::Plain)
    }

    pub(super) fn report_allocs(
        &mut self,
        node: NodeId,
        statuses: Vec<AllocStatus>,
        touched: &mut Touched,
    ) -> Applied {
        if !self.nodes.contains_key(&node) {
            return Err(Rejected::NoSuchNode(node));
        }
        for status in statuses {
            self.report_alloc(node, status, touched);
        }
        Ok(Done::Plain)
    }

    fn report_alloc(&mut self, node: NodeId, status: AllocStatus, touched: &mut Touched) {
        let Some(known) = self.allocs.get(&status.id).filter(|alloc| alloc.node == node) else { return };
        let stale = status.revision <= known.status.revision || status.incarnation < known.status.incarnation;
        if stale || known.status.phase.is_terminal() {
            return;
        }
        let ill = status.ailment.is_some() && known.status.ailment.is_none();
        let news =
            status.phase != known.status.phase || status.incarnation != known.status.incarnation || ill;
        let updated = Alloc { status, ..known.as_ref().clone() };
        if news {
            self.record(changed(&updated));
        }
        if updated.status.phase.is_terminal() {
            let freed = updated.resources;
            self.reserve(node, |reserved| reserved.minus(freed));
        } else {
            self.take_ports_from_others(&updated);
        }
        touched.nodes.insert(node);
        self.put_alloc(updated);
    }

    /// A port is used again before the report of its release arrives: its owner's newer word wins.
    fn take_ports_from_others(&mut self, taker: &Alloc) {
        let taken = |alloc: &Alloc| {
            let mapped =
                |other: &Alloc| other.status.ports.iter().map(|port| port.mapped).collect::<Vec<_>>();
            let mine = mapped(taker);
            mapped(alloc).iter().any(|port| mine.contains(port))
        };
        let losers: Vec<Arc<Alloc>> = match taker.status.ports.is_empty() {
            true => vec![],
            false => self
                .allocs_on(taker.node)
                .filter(|alloc| alloc.id != taker.id && alloc.is_live() && taken(alloc))
                .cloned()
                .collect(),
        };
        for loser in losers {
            let mut loser = loser.as_ref().clone();
            loser.status.ports.clear();
            self.put_alloc(loser);
        }
    }

    pub(super) fn forget_allocs(&mut self, allocs: &[AllocId]) -> Applied {
        for id in allocs {
            if self.allocs.get(id).is_some_and(|alloc| !alloc.is_live()) {
                self.drop_alloc(id);
                self.spawns.remove(id);
            }
            if self.spawns.get(id).is_some_and(|spawn| spawn.called_off_at.is_some()) {
                self.spawns.remove(id);
            }
        }
        self.sweep_runnables();
        Ok(Done::Plain)
    }
}

fn changed(alloc: &Alloc) -> EventKind {
    let status = &alloc.status;
    let failure = match status.phase {
        Phase::Waiting | Phase::Stopped | Phase::Failed => {
            status.last_end.as_ref().and_then(|end| end.failure.clone())
        }
        _ => status.ailment.clone(),
    };
    EventKind::AllocChanged {
        deploy: alloc.deploy,
        workload: alloc.workload.clone(),
        alloc: alloc.id.clone(),
        phase: status.phase,
        incarnation: status.incarnation,
        failure,
        stopping: alloc.stop.is_some(),
    }
}
