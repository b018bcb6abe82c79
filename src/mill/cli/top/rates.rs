//! Rates of two looks.

use std::cmp::Reverse;
use std::collections::HashMap;

use mill_api::nodes::NodeState;
use mill_api::top::{Top, TopAlloc};
use mill_model::{AllocId, Bytes, Millicores, NodeName, Phase, ProjectName, Resources, Timestamp, Workload};
use serde::Serialize;

use super::Sort;

/// What is remembered of a look until the next.
pub(super) struct Since {
    at_us: u64,
    /// Processor time by alloc and restarts: another number of those is another container.
    spent: HashMap<(AllocId, u32), u64>,
}

impl Since {
    pub(super) fn of(top: &Top) -> Self {
        let spent = |alloc: &TopAlloc| Some(((alloc.id.clone(), alloc.restarts), alloc.spent?.cpu_us));
        Self { at_us: top.at_us, spent: top.allocs.iter().filter_map(spent).collect() }
    }

    /// When that was, by the node's own count.
    pub(super) const fn at_us(&self) -> u64 {
        self.at_us
    }
}

/// What is used, between two looks.
#[derive(Debug, Serialize)]
pub(super) struct Sample {
    /// The node that looked.
    pub(super) node: NodeName,
    pub(super) at: Timestamp,
    /// The time between the looks.
    over_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
    pub(super) nodes: Vec<NodeRow>,
    pub(super) allocs: Vec<AllocRow>,
}

/// A node and what its allocs use.
#[derive(Debug, Serialize)]
pub(super) struct NodeRow {
    pub(super) name: NodeName,
    pub(super) state: NodeState,
    pub(super) allocs: usize,
    /// `None`: it isn't known here.
    pub(super) cpu: Option<Millicores>,
    pub(super) memory: Option<Bytes>,
    pub(super) capacity: Resources,
}

/// An alloc and what it uses.
#[derive(Debug, Serialize)]
pub(super) struct AllocRow {
    pub(super) id: AllocId,
    #[serde(flatten)]
    pub(super) workload: Workload,
    pub(super) node: NodeName,
    pub(super) phase: Phase,
    pub(super) restarts: u32,
    /// `None`: it has no container, or had another at the look before.
    pub(super) cpu: Option<Millicores>,
    pub(super) cpu_percent: Option<u32>,
    pub(super) memory: Option<Bytes>,
    pub(super) memory_percent: Option<u32>,
    pub(super) limit: Resources,
}

/// What was used since a look, as a later one knows it.
pub(super) fn sample(since: &Since, top: &Top, project: Option<&ProjectName>) -> Sample {
    // A daemon that was restarted counts from nothing again.
    let over_us = top.at_us.saturating_sub(since.at_us);
    let all: Vec<AllocRow> = top.allocs.iter().map(|alloc| row(since, over_us, alloc)).collect();
    let nodes = top.nodes.iter().map(|node| {
        let on = || all.iter().filter(|row| row.node == node.name);
        let sum = |values: &mut dyn Iterator<Item = u64>| values.fold(0, u64::saturating_add);
        // Others' containers aren't looked at from here.
        let is_known = node.name == top.node && top.problem.is_none();
        let cpu = sum(&mut on().filter_map(|row| Some(u64::from(row.cpu?.0))));
        NodeRow {
            name: node.name.clone(),
            state: node.state,
            allocs: on().count(),
            cpu: (is_known && over_us > 0).then(|| Millicores(u32::try_from(cpu).unwrap_or(u32::MAX))),
            memory: is_known.then(|| Bytes(sum(&mut on().filter_map(|row| Some(row.memory?.0))))),
            capacity: node.capacity,
        }
    });
    let nodes = nodes.collect();
    Sample {
        node: top.node.clone(),
        at: top.at,
        over_ms: over_us / 1000,
        problem: top.problem.clone(),
        nodes,
        allocs: all
            .into_iter()
            .filter(|row| project.is_none_or(|only| row.workload.project == *only))
            .collect(),
    }
}

fn row(since: &Since, over_us: u64, alloc: &TopAlloc) -> AllocRow {
    let before = since.spent.get(&(alloc.id.clone(), alloc.restarts)).copied();
    let cpu = alloc.spent.zip(before).and_then(|(spent, before)| {
        let millis = u128::from(spent.cpu_us.checked_sub(before)?) * 1000;
        let rate = millis.checked_div(u128::from(over_us))?;
        Some(Millicores(u32::try_from(rate).unwrap_or(u32::MAX)))
    });
    let memory = alloc.spent.map(|spent| Bytes(spent.memory));
    AllocRow {
        id: alloc.id.clone(),
        workload: alloc.workload.clone(),
        node: alloc.node.clone(),
        phase: alloc.phase,
        restarts: alloc.restarts,
        cpu,
        cpu_percent: cpu.and_then(|cpu| percent(u64::from(cpu.0), u64::from(alloc.limit.cpu.0))),
        memory,
        memory_percent: memory.and_then(|memory| percent(memory.0, alloc.limit.memory.0)),
        limit: alloc.limit,
    }
}

/// `used` of `all` in per cent, which may be more than a hundred; `None`: there is nothing to be compared with.
pub(super) fn percent(used: u64, all: u64) -> Option<u32> {
    let percent = (u128::from(used) * 100).checked_div(u128::from(all))?;
    u32::try_from(percent).ok()
}

/// Puts rows in order. What is equal stays as the server has it: by name.
pub(super) fn sort(rows: &mut [AllocRow], by: Sort) {
    let name = |row: &AllocRow| (row.workload.clone(), row.id.clone());
    match by {
        Sort::Cpu => rows.sort_by_cached_key(|row| (Reverse(row.cpu), name(row))),
        Sort::Memory => rows.sort_by_cached_key(|row| (Reverse(row.memory), name(row))),
        Sort::Restarts => rows.sort_by_cached_key(|row| (Reverse(row.restarts), name(row))),
        Sort::Name => rows.sort_by_cached_key(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::canned;

    #[test]
    fn a_rate_is_of_one_container_and_of_time_that_went_by() {
        let (first, second) = canned::tops();
        let rates = |first: &Top, second: &Top| {
            let sample = sample(&Since::of(first), second, None);
            sample.allocs.iter().map(|row| row.cpu.map(|cpu| cpu.0)).collect::<Vec<_>>()
        };
        assert_eq!(rates(&first, &second), [Some(50), Some(480), None]);
        assert_eq!(rates(&second, &second), [None, None, None], "no time went by");
        let mut other = second.clone();
        other.allocs[1].restarts += 1;
        assert_eq!(
            rates(&first, &other),
            [Some(50), None, None],
            "another container's counter begins at nothing"
        );
        let mut reset = second.clone();
        reset.allocs[1].spent.as_mut().unwrap().cpu_us = 1;
        assert_eq!(rates(&first, &reset)[1], None, "a counter never goes back");
        let mut restarted = second;
        restarted.at_us = 1;
        assert_eq!(rates(&first, &restarted), [None, None, None], "the daemon was restarted in between");
    }

    #[test]
    fn a_nodes_sum_has_all_projects_whatever_is_shown() {
        let (first, second) = canned::tops();
        let blog = "blog".parse().unwrap();
        let sample = sample(&Since::of(&first), &second, Some(&blog));
        assert!(sample.allocs.is_empty());
        assert_eq!(sample.nodes[0].cpu, Some(Millicores(530)));
        assert_eq!(sample.nodes[0].allocs, 3);
        assert_eq!(percent(1, 0), None);
    }
}
