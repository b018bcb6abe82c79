//! The cluster on one page.

use std::time::Duration;

use mill_api::status::Status;
use mill_model::{NodeName, Timestamp};

use super::{View, deploys, nodes, services};
use crate::raft::Jump;

/// The page, as the node of that name and version sees it.
pub(in crate::http) fn status(view: &View<'_>, node: NodeName, version: &str, now: Timestamp) -> Status {
    let leader = view.role.leader.map(|id| view.node_name(id));
    let open = view.cluster.deploys.values().filter(|deploy| deploy.outcome.is_none());
    Status {
        node,
        version: version.to_owned(),
        leader,
        nodes: nodes::nodes(view),
        services: services::services(view),
        deploys: open.map(|deploy| deploys::deploy(view.cluster, deploy)).collect(),
        warnings: warnings(view, now),
    }
}

fn warnings(view: &View<'_>, now: Timestamp) -> Vec<String> {
    let mut warnings = vec![];
    if let Some(trouble) = &view.trouble {
        warnings.push(format!("the log is in trouble: what runs goes on, writes are refused: {trouble}"));
    } else if view.role.leader.is_none() {
        warnings.push("nobody leads the cluster: what runs goes on, writes are refused".to_owned());
    }
    if let Some(halt) = &view.halted {
        warnings.push(format!("this node applies the log no more: {halt}"));
    }
    if let Some(reason) = &view.moment.unmapped {
        warnings.push(format!("this node's kernel maps no ports: programs must listen on $PORT ({reason})"));
    }
    let jump = view.jump.filter(|jump| now.since(jump.at) < view.tempo.jump_told_for);
    if let Some(Jump { at, by_ms }) = jump {
        let by = humantime::format_duration(Duration::from_millis(by_ms.unsigned_abs() / 1000 * 1000));
        let whither = if by_ms < 0 { "back" } else { "forward" };
        warnings.push(format!("this node's clock was set {whither} by {by} at {at}; deadlines don't mind"));
    }
    warnings
}
