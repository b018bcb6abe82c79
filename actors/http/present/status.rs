//! The cluster on one page.

use mill_api::status::Status;
use mill_model::NodeName;

use super::{View, deploys, nodes, services};

/// The page, as the node of that name and version sees it.
pub(in crate::http) fn status(view: &View<'_>, node: NodeName, version: &str) -> Status {
    let leader = view.role.leader.map(|id| view.node_name(id));
    let mut warnings = vec![];
    if leader.is_none() {
        warnings.push("nobody leads the cluster: what runs goes on, writes are refused".to_owned());
    }
    let open = view.cluster.deploys.values().filter(|deploy| deploy.outcome.is_none());
    Status {
        node,
        version: version.to_owned(),
        leader,
        nodes: nodes::nodes(view),
        services: services::services(view),
        deploys: open.map(|deploy| deploys::deploy(view.cluster, deploy)).collect(),
        warnings,
    }
}
