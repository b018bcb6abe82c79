//! What nodes and allocs use, read from the kernel when somebody asks.
//!
//! # Why
//! Nothing is looked at while nobody looks. Any number of people who look cost as much as one: a look is answered to all
//! who ask within [`mill_model::Tempo::usage_shared_for`] of it, and there is one at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use mill_api::top::{Spent, Top, TopAlloc, TopNode};
use mill_drivers::containers::{ContainerName, Containers as _, Usage};
use mill_model::Resources;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::backend::Backend;
use super::gate::Seen;
use super::present::View;
use super::server::Server;

/// The last look, if there was one.
#[derive(Debug, Default)]
pub(super) struct Looked {
    first: std::sync::OnceLock<Instant>,
    last: Mutex<Option<Look>>,
}

/// What containers had used at a moment; `Err`: why it isn't known.
#[derive(Debug, Clone)]
struct Look {
    at: Instant,
    used: Result<Arc<BTreeMap<ContainerName, Usage>>, String>,
}

pub(super) async fn look<B: Backend>(State(server): State<Server<B>>, Seen(cluster): Seen) -> Json<Top> {
    let look = fresh(&server).await;
    let since = look.at.duration_since(*server.looked.first.get_or_init(|| look.at));
    let view = server.view(&cluster);
    let (problem, used) = match &look.used {
        Ok(used) => (None, Arc::clone(used)),
        Err(problem) => (Some(problem.clone()), Arc::default()),
    };
    let nodes = cluster.nodes.values().map(|node| TopNode {
        name: node.facts.name.clone(),
        state: super::present::nodes::node(&view, node).state,
        capacity: node.facts.capacity,
    });
    let mut nodes: Vec<TopNode> = nodes.collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let mut allocs: Vec<(u32, TopAlloc)> = cluster
        .allocs
        .values()
        .filter(|alloc| alloc.is_live())
        .map(|known| (known.index, alloc(&view, known, &used)))
        .collect();
    allocs.sort_by(|(a_index, a), (b_index, b)| {
        (&a.workload, a_index, &a.id).cmp(&(&b.workload, b_index, &b.id))
    });
    Json(Top {
        node: server.node_name(),
        at: server.now(),
        at_us: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
        problem,
        nodes,
        allocs: allocs.into_iter().map(|(_, alloc)| alloc).collect(),
    })
}

/// The last look, or a new one when that is too old.
async fn fresh<B: Backend>(server: &Server<B>) -> Look {
    // Who comes while one looks waits for it, and gets the same.
    let mut last = server.looked.last.lock().await;
    if let Some(look) = last.as_ref().filter(|look| look.at.elapsed() < server.tempo.usage_shared_for) {
        return look.clone();
    }
    let used = server.backend.containers().usage().await;
    let used = used.map(Arc::new).map_err(|error| crate::alloc::words(&error));
    let look = Look { at: Instant::now(), used };
    last.replace(look.clone());
    look
}

fn alloc(view: &View<'_>, alloc: &mill_fsm::Alloc, used: &BTreeMap<ContainerName, Usage>) -> TopAlloc {
    let status = &alloc.status;
    let container = ContainerName { alloc: alloc.id.clone(), incarnation: status.incarnation };
    let limit = view.cluster.runnables.get(&alloc.version.hash);
    TopAlloc {
        id: alloc.id.clone(),
        workload: alloc.workload.clone(),
        node: view.node_name(alloc.node),
        phase: status.phase,
        restarts: status.incarnation.0.saturating_sub(1),
        limit: limit.map_or_else(Resources::default, |runnable| runnable.container().resources),
        spent: used.get(&container).map(|usage| Spent {
            cpu_us: u64::try_from(usage.cpu_time.as_micros()).unwrap_or(u64::MAX),
            memory: usage.memory.0,
        }),
    }
}
