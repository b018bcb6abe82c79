//! Machines.

use mill_api::nodes::{Node, NodeState};

use super::{View, count, total};

/// All machines, by name.
pub(in crate::http) fn nodes(view: &View<'_>) -> Vec<Node> {
    let mut nodes: Vec<Node> = view.cluster.nodes.values().map(|known| node(view, known)).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    nodes
}

/// One machine.
pub(in crate::http) fn node(view: &View<'_>, node: &mill_fsm::Node) -> Node {
    let facts = &node.facts;
    let on: Vec<_> = view.cluster.allocs_on(facts.id).filter(|alloc| alloc.is_live()).collect();
    Node {
        id: facts.id,
        name: facts.name.clone(),
        advertise: facts.advertise,
        state: NodeState::Ready,
        since: node.registered_at,
        leader: view.role.leader == Some(facts.id),
        version: facts.version.clone(),
        capacity: facts.capacity,
        reserved: node.reserved,
        used: total(on.iter().map(|alloc| view.used(alloc))),
        allocs: count(on.len()),
    }
}
