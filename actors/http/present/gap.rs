//! How long a service had no healthy replica while it was replaced.

use std::collections::BTreeSet;

use mill_fsm::{Cluster, Event, EventKind};
use mill_model::{AllocId, DeployId, Phase, Timestamp, Workload};

use super::millis;

/// The longest time without a healthy replica, in milliseconds, from when `events` begin until the moment `until`.
/// `None`: there always was one.
///
/// `events` are those since the deploy began, in order. What was healthy before them isn't among them: it is what was
/// placed by an earlier deploy and is still healthy, or is told to stop in them.
pub(super) fn gap<'a>(
    cluster: &Cluster,
    workload: &Workload,
    deploy: DeployId,
    events: impl Iterator<Item = &'a Event> + Clone,
    until: Timestamp,
) -> Option<u64> {
    let mut healthy = healthy_before(cluster, workload, deploy, events.clone());
    let mut since: Option<Timestamp> = None;
    let mut longest = 0;
    for event in events {
        let was_healthy = !healthy.is_empty();
        match &event.kind {
            EventKind::AllocStopping { workload: of, alloc, .. } if of == workload => {
                healthy.remove(alloc);
            }
            EventKind::AllocChanged { workload: of, alloc, phase, stopping, .. } if of == workload => {
                match (phase, stopping) {
                    (Phase::Healthy, false) => healthy.insert(alloc.clone()),
                    _ => healthy.remove(alloc),
                };
            }
            _ => continue,
        }
        match (was_healthy, healthy.is_empty()) {
            (true, true) => since = Some(event.at),
            (false, false) => longest = longest.max(since.take().map_or(0, |since| millis(since, event.at))),
            _ => {}
        }
    }
    longest = longest.max(since.map_or(0, |since| millis(since, until)));
    (longest > 0).then_some(longest)
}

fn healthy_before<'a>(
    cluster: &Cluster,
    workload: &Workload,
    deploy: DeployId,
    events: impl Iterator<Item = &'a Event>,
) -> BTreeSet<AllocId> {
    let mut seen = BTreeSet::new();
    let mut healthy = BTreeSet::new();
    for event in events {
        let (alloc, placed_by, leaves) = match &event.kind {
            EventKind::AllocStopping { workload: of, alloc, deploy, .. } if of == workload => {
                (alloc, deploy, true)
            }
            EventKind::AllocChanged { workload: of, alloc, deploy, phase, .. } if of == workload => {
                (alloc, deploy, *phase == Phase::Unhealthy)
            }
            EventKind::AllocPlaced { workload: of, alloc, deploy, .. } if of == workload => {
                (alloc, deploy, false)
            }
            _ => continue,
        };
        // The first news of an alloc tells what it was before.
        if seen.insert(alloc.clone()) && leaves && *placed_by < deploy {
            healthy.insert(alloc.clone());
        }
    }
    let untouched = cluster.allocs_of(workload).filter(|alloc| alloc.status.phase == Phase::Healthy);
    let untouched = untouched.filter(|alloc| alloc.deploy < deploy && !seen.contains(&alloc.id));
    healthy.extend(untouched.map(|alloc| alloc.id.clone()));
    healthy
}
