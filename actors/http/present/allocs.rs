//! Placed instances.

use mill_api::allocs::{Alloc, AllocQuery, WorkloadKind};
use mill_control::leader::wanted;
use mill_model::Workload;

use super::View;

/// The allocs that a query asks for, by workload, then by number.
pub(in crate::http) fn allocs(view: &View<'_>, query: &AllocQuery) -> Vec<Alloc> {
    let asked = |alloc: &&std::sync::Arc<mill_fsm::Alloc>| {
        query.project.as_ref().is_none_or(|project| alloc.workload.project == *project)
            && query.service.as_ref().is_none_or(|service| alloc.workload.name == *service)
            && (query.all || alloc.is_live())
    };
    sorted(view.cluster.allocs.values().filter(asked).map(|known| alloc(view, known)).collect())
}

/// The allocs of one service or task that live; ended ones too if `all`.
pub(in crate::http) fn allocs_of(view: &View<'_>, workload: &Workload, all: bool) -> Vec<Alloc> {
    let asked = view.cluster.allocs_of(workload).filter(|alloc| all || alloc.is_live());
    sorted(asked.map(|known| alloc(view, known)).collect())
}

fn sorted(mut allocs: Vec<Alloc>) -> Vec<Alloc> {
    allocs.sort_by(|a, b| {
        (&a.workload, a.index, a.created_at, &a.id).cmp(&(&b.workload, b.index, b.created_at, &b.id))
    });
    allocs
}

/// One alloc.
pub(in crate::http) fn alloc(view: &View<'_>, alloc: &mill_fsm::Alloc) -> Alloc {
    let status = &alloc.status;
    let node = view.cluster.nodes.get(&alloc.node);
    let address = node.map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |node| node.facts.advertise);
    Alloc {
        id: alloc.id.clone(),
        workload: alloc.workload.clone(),
        kind: kind(alloc.is_task),
        index: alloc.index,
        node: view.node_name(alloc.node),
        address,
        phase: status.phase,
        since: status.since,
        created_at: alloc.placed_at,
        incarnation: status.incarnation,
        restarts: status.incarnation.0.saturating_sub(1),
        ports: status.ports.clone(),
        last_end: status.last_end.clone(),
        spec_hash: alloc.version.hash,
        old: is_old(view, alloc),
        deploy: alloc.deploy,
        used: view.used(alloc),
        pulling: view.pulling(alloc),
    }
}

fn is_old(view: &View<'_>, alloc: &mill_fsm::Alloc) -> bool {
    let task = || {
        let project = view.cluster.projects.get(&alloc.workload.project)?;
        Some(project.tasks.get(&alloc.workload.name)?.hash != alloc.version.hash)
    };
    match alloc.is_task {
        // What somebody had run is what was asked for.
        true if alloc.deploy == mill_fsm::NO_DEPLOY => false,
        true => task().unwrap_or(false),
        false => wanted(view.cluster, &alloc.workload).is_none_or(|target| target.version != alloc.version),
    }
}

/// A service or a task.
pub(in crate::http) const fn kind(is_task: bool) -> WorkloadKind {
    match is_task {
        true => WorkloadKind::Task,
        false => WorkloadKind::Service,
    }
}
