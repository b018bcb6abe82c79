//! The cluster on one page.

use std::time::Duration;

use mill_api::status::{Alarm, Status};
use mill_model::NodeName;

use super::{View, deploys, nodes, services};
use crate::raft::Jump;

/// The page, as the node of that name and version sees it.
pub(in crate::http) fn status(view: &View<'_>, node: NodeName, version: &str) -> Status {
    let leader = view.role.leader.map(|id| view.node_name(id));
    let open = view.cluster.deploys.values().filter(|deploy| deploy.outcome.is_none());
    Status {
        node,
        version: version.to_owned(),
        leader,
        nodes: nodes::nodes(view),
        services: services::services(view),
        deploys: open.map(|deploy| deploys::deploy(view.cluster, deploy)).collect(),
        warnings: warnings(view),
    }
}

fn warnings(view: &View<'_>) -> Vec<String> {
    let mut alarms: Vec<(Alarm, String)> = vec![];
    let waits = "what runs goes on, writes are refused";
    if let Some(trouble) = &view.trouble {
        alarms.push((Alarm::LogTrouble, format!(": {waits}: {trouble}")));
    } else if view.role.leader.is_none() {
        alarms.push((Alarm::NoLeader, format!(": {waits}")));
    }
    if let Some(halt) = &view.halted {
        alarms.push((Alarm::Halted, format!(": {halt}")));
    }
    if let Some(reason) = &view.moment.unmapped {
        alarms.push((Alarm::Unmapped, format!(": programs must listen on $PORT ({reason})")));
    }
    if let Some(Jump { at, by_ms }) = view.jump {
        let by = humantime::format_duration(Duration::from_millis(by_ms.unsigned_abs() / 1000 * 1000));
        let whither = if by_ms < 0 { "back" } else { "forward" };
        alarms.push((Alarm::ClockSet, format!(" {whither} by {by} at {at}; deadlines don't mind")));
    }
    alarms.into_iter().map(|(alarm, detail)| format!("{}{detail}", alarm.as_str())).collect()
}
