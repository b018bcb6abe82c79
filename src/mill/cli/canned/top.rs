//! What things use.

use mill_api::nodes::NodeState;
use mill_api::top::{Spent, Top, TopAlloc, TopNode};
use mill_model::{Bytes, Millicores, Phase, Resources};

use super::{NOW, workload};

/// Two looks, two seconds apart.
pub(crate) fn tops() -> (Top, Top) {
    let alloc = |id: &str, phase, restarts, spent| TopAlloc {
        id: id.parse().unwrap(),
        workload: workload("shop", id.split_once('-').unwrap().0),
        node: "node-1".parse().unwrap(),
        phase,
        restarts,
        limit: Resources { cpu: Millicores(500), memory: Bytes(512 << 20) },
        spent,
    };
    let look = |at_us, db, web| Top {
        node: "node-1".parse().unwrap(),
        at: NOW,
        at_us,
        problem: None,
        nodes: vec![TopNode {
            name: "node-1".parse().unwrap(),
            state: NodeState::Ready,
            capacity: Resources { cpu: Millicores(2000), memory: Bytes(4 << 30) },
        }],
        allocs: vec![
            alloc("db-2b2b", Phase::Healthy, 0, Some(Spent { cpu_us: db, memory: 430 << 20 })),
            alloc("web-7k2f", Phase::Healthy, 0, Some(Spent { cpu_us: web, memory: 120 << 20 })),
            alloc("web-9x9x", Phase::Waiting, 4, None),
        ],
    };
    (look(5_000_000, 700_000, 1_000_000), look(7_000_000, 800_000, 1_960_000))
}
