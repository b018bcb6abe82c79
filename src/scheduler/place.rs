//! Which node gets a replica: those that fit, then spread, then pack.

use std::collections::BTreeMap;
use std::fmt;

use mill_model::{Bytes, Millicores, NodeId, NodeName, Resources};
use thiserror::Error;

/// A node as placing sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// What people call it.
    pub name: NodeName,
    /// Whether it may get new replicas.
    pub is_ready: bool,
    /// All that it has.
    pub capacity: Resources,
    /// What is left of it.
    pub free: Resources,
    /// Replicas of the same service already there.
    pub replicas_here: u32,
}

/// What is to be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What it reserves.
    pub resources: Resources,
}

/// Why a node can't take a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// It is down or being emptied.
    NotReady,
    /// Too little processor time is left.
    Cpu {
        /// What is left.
        free: Millicores,
        /// What is asked for.
        wanted: Millicores,
    },
    /// Too little memory is left.
    Memory {
        /// What is left.
        free: Bytes,
        /// What is asked for.
        wanted: Bytes,
    },
    /// It never had that much.
    TooSmall {
        /// All that it has.
        capacity: Resources,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady => f.write_str("not ready"),
            Self::Cpu { free, wanted } => write!(f, "{free} cpu free, {wanted} wanted"),
            Self::Memory { free, wanted } => write!(f, "{free} memory free, {wanted} wanted"),
            Self::TooSmall { capacity } => {
                write!(f, "has only {} cpu and {} memory", capacity.cpu, capacity.memory)
            }
        }
    }
}

/// No node fits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Unplaceable {
    /// Every node's reason.
    pub misfits: BTreeMap<NodeName, Misfit>,
}

impl fmt::Display for Unplaceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.misfits.is_empty() {
            return f.write_str("there is no node");
        }
        f.write_str("no node fits: ")?;
        for (count, (node, misfit)) in self.misfits.iter().enumerate() {
            let separator = if count == 0 { "" } else { "; " };
            write!(f, "{separator}{node}: {misfit}")?;
        }
        Ok(())
    }
}

/// Chooses the node for one replica: of those that fit the one with the fewest replicas of the same service,
/// then the fullest that still fits, so that large requests find room later; the lowest id breaks ties.
///
/// # Errors
/// No node fits; every node's reason.
pub fn place(nodes: &[NodeView], request: &Request) -> Result<NodeId, Unplaceable> {
    let fits = nodes.iter().filter(|node| misfit(node, request).is_none());
    let best = fits.min_by_key(|node| (node.replicas_here, node.free.memory, node.free.cpu, node.id));
    best.map(|node| node.id).ok_or_else(|| Unplaceable {
        misfits: nodes.iter().filter_map(|node| Some((node.name.clone(), misfit(node, request)?))).collect(),
    })
}

fn misfit(node: &NodeView, request: &Request) -> Option<Misfit> {
    let wanted = request.resources;
    if !node.is_ready {
        Some(Misfit::NotReady)
    } else if !node.capacity.holds(&wanted) {
        Some(Misfit::TooSmall { capacity: node.capacity })
    } else if wanted.cpu > node.free.cpu {
        Some(Misfit::Cpu { free: node.free.cpu, wanted: wanted.cpu })
    } else if wanted.memory > node.free.memory {
        Some(Misfit::Memory { free: node.free.memory, wanted: wanted.memory })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(cpu: u32, memory: u64) -> Resources {
        Resources { cpu: Millicores(cpu), memory: Bytes(memory << 20) }
    }

    fn node(id: u64, free: Resources, replicas_here: u32) -> NodeView {
        let name = NodeName::new(format!("node-{id}")).unwrap();
        NodeView {
            id: NodeId(id),
            name,
            is_ready: true,
            capacity: resources(4000, 4096),
            free,
            replicas_here,
        }
    }

    #[test]
    fn replicas_spread_first_and_pack_second() {
        let request = Request { resources: resources(500, 512) };
        let roomy = resources(4000, 4096);
        let tight = resources(1000, 1024);
        for (nodes, chosen) in [
            (vec![node(1, roomy, 1), node(2, tight, 0)], 2),
            (vec![node(1, roomy, 0), node(2, tight, 0)], 2),
            (vec![node(1, roomy, 0), node(2, roomy, 0)], 1),
            (vec![node(1, resources(100, 4096), 0), node(2, roomy, 7)], 2),
        ] {
            assert_eq!(place(&nodes, &request), Ok(NodeId(chosen)), "{nodes:?}");
        }
    }

    #[test]
    fn a_refusal_names_every_node_with_its_reason() {
        let down = NodeView { is_ready: false, ..node(4, resources(4000, 4096), 0) };
        let nodes = [node(1, resources(100, 4096), 0), node(2, resources(4000, 64), 0), down];
        let refusal = place(&nodes, &Request { resources: resources(500, 512) }).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "no node fits: node-1: 0.1 cpu free, 0.5 wanted; node-2: 64M memory free, 512M wanted; node-4: not ready"
        );
        let refusal = place(&nodes[..1], &Request { resources: resources(8000, 512) }).unwrap_err();
        assert_eq!(refusal.to_string(), "no node fits: node-1: has only 4 cpu and 4G memory");
        assert_eq!(
            place(&[], &Request { resources: resources(1, 1) }).unwrap_err().to_string(),
            "there is no node"
        );
    }
}
