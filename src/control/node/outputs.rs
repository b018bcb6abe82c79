//! Whose output may still come, and whose logs may still be asked for.

use std::collections::{BTreeMap, BTreeSet};

use mill_model::{AllocId, AllocStatus, Incarnation, Phase};

use super::Node;

/// What a node knew when it compared. Pipes and logs of anything else belong to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outputs {
    containers: BTreeSet<(AllocId, Incarnation)>,
    /// The first run of each living alloc that may have a container, or get one.
    living: BTreeMap<AllocId, Incarnation>,
    known: Option<BTreeSet<AllocId>>,
}

impl Outputs {
    /// Whether a run's output isn't at its end: its container is there, or may come.
    pub fn may_come(&self, alloc: &AllocId, incarnation: Incarnation) -> bool {
        // A later run than the node has heard of may have begun meanwhile.
        self.living.get(alloc).is_some_and(|first| incarnation >= *first)
            || self.containers.contains(&(alloc.clone(), incarnation))
    }

    /// Whether somebody may still ask for an alloc's logs.
    pub fn may_be_read(&self, alloc: &AllocId) -> bool {
        self.known.as_ref().is_none_or(|known| known.contains(alloc))
    }
}

impl Node {
    /// Compares with these containers, which are all there are.
    pub fn outputs(&self, containers: &[(AllocId, Incarnation)]) -> Outputs {
        let living = self.allocs.iter().filter(|(_, entry)| !entry.status.phase.is_terminal());
        let first = |status: &AllocStatus| match status.phase {
            // Its current run is over, if there was one.
            Phase::Pending | Phase::Waiting => status.incarnation.next(),
            _ => status.incarnation,
        };
        Outputs {
            containers: containers.iter().cloned().collect(),
            living: living.map(|(id, entry)| (id.clone(), first(&entry.status))).collect(),
            // Before it has caught up, what it doesn't know may be ordered in a moment.
            known: self.caught_up.then(|| self.allocs.keys().cloned().collect()),
        }
    }
}
