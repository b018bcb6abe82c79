//! Where a deploy, planned or under way, would place the replicas that it still has to, and what wouldn't fit.
//!
//! Services are gone through one after the other, what they depend on first. In a deploy those that don't depend on
//! each other roll at the same time, so that in a tight cluster one may have to wait for another for a moment: it is
//! placed as soon as it fits, and a forecast needn't know.

use std::collections::BTreeMap;

use mill_fsm::{Change, Cluster, Step};
use mill_model::spec::{Update, UpdateOrder};
use mill_model::{NodeId, ProjectSpec, Resources, Workload, WorkloadName};
use mill_scheduler::{Request, Unplaceable, place};

use super::placing::{count_replicas, give_back, take, views};

/// What would become of one service's or task's new replicas.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// How many would be placed on which node.
    pub placed: BTreeMap<NodeId, u32>,
    /// Why the next one wouldn't; `None`: all of them would.
    pub unplaceable: Option<Unplaceable>,
}

/// Forecasts the `steps` that lead to `target`, as [`Cluster::preview`] makes them.
pub fn forecast<'a>(
    cluster: &Cluster,
    target: &ProjectSpec,
    steps: impl IntoIterator<Item = &'a Step>,
) -> BTreeMap<WorkloadName, Forecast> {
    let steps: BTreeMap<&WorkloadName, &Step> = steps.into_iter().map(|step| (&step.name, step)).collect();
    let mut nodes = views(cluster);
    let mut forecasts = BTreeMap::new();
    for name in in_order(target) {
        let Some(step) = steps.get(&name).copied() else { continue };
        let workload = Workload { project: target.name.clone(), name: name.clone() };
        let Some(asked) = asked(target, step, there(cluster, &workload, step)) else { continue };
        count_replicas(&mut nodes, cluster, &workload);
        let mut olds = olds(cluster, &workload, step);
        let mut forecast = Forecast::default();
        for number in 0..asked.replicas {
            // One that is replaced makes room: before its successor comes, or when that many successors are there.
            if asked.order == UpdateOrder::StopFirst || number >= asked.parallel {
                olds.pop().into_iter().for_each(|(node, resources)| give_back(&mut nodes, node, resources));
            }
            match place(&nodes, &Request { resources: asked.resources }) {
                Ok(node) => {
                    take(&mut nodes, node, asked.resources);
                    *forecast.placed.entry(node).or_default() += 1;
                }
                Err(unplaceable) => {
                    forecast.unplaceable = Some(unplaceable);
                    break;
                }
            }
        }
        olds.into_iter().for_each(|(node, resources)| give_back(&mut nodes, node, resources));
        if step.is_task {
            // It has ended before what waits for it is placed.
            for (node, count) in &forecast.placed {
                (0..*count).for_each(|_| give_back(&mut nodes, *node, asked.resources));
            }
        }
        forecasts.insert(name, forecast);
    }
    forecasts
}

/// Names of a project's tasks and services, each after those that it depends on, else in the order of the config.
pub fn in_order(target: &ProjectSpec) -> Vec<WorkloadName> {
    let mut ordered: Vec<WorkloadName> = target.tasks.iter().map(|task| task.name.clone()).collect();
    let mut left: Vec<_> = target.services.iter().collect();
    while !left.is_empty() {
        let ready = |name: &WorkloadName| {
            ordered.contains(name) || !target.services.iter().any(|service| service.name == *name)
        };
        let next = left.iter().position(|service| service.depends_on.iter().all(ready));
        // A cycle, which no config that was let in has: any order will do.
        ordered.push(left.remove(next.unwrap_or_default()).name.clone());
    }
    ordered
}

/// New replicas of one step.
struct Asked {
    replicas: u32,
    resources: Resources,
    parallel: u32,
    order: UpdateOrder,
}

/// Replicas of the version that a step leads to, placed already: when a deploy begins, or is only planned, those that
/// stay.
fn there(cluster: &Cluster, workload: &Workload, step: &Step) -> u32 {
    let version = step.to.map(|to| to.version);
    let there =
        cluster.allocs_of(workload).filter(|alloc| alloc.is_wanted() && Some(alloc.version) == version);
    u32::try_from(there.count()).unwrap_or(u32::MAX)
}

fn asked(target: &ProjectSpec, step: &Step, there: u32) -> Option<Asked> {
    if let Some(task) = target.tasks.iter().find(|task| task.name == step.name) {
        let resources = task.container.resources;
        let due = step.change == Change::Run && there == 0;
        return due.then_some(Asked { replicas: 1, resources, parallel: 1, order: UpdateOrder::StartFirst });
    }
    let service = target.services.iter().find(|service| service.name == step.name)?;
    let before = step.from.map_or(0, |from| from.replicas);
    let replicas = match step.change {
        Change::Create | Change::Replace => service.replicas.saturating_sub(there),
        Change::Scale => service.replicas.saturating_sub(before.max(there)),
        Change::Settings | Change::Remove | Change::Run | Change::Nothing => 0,
    };
    let Update { parallel, order, .. } = service.update;
    let resources = service.container.resources;
    (replicas > 0).then_some(Asked { replicas, resources, parallel: parallel.max(1), order })
}

/// What a replica that goes will give back, and where.
fn olds(cluster: &Cluster, workload: &Workload, step: &Step) -> Vec<(NodeId, Resources)> {
    if step.change != Change::Replace {
        return vec![];
    }
    let version = step.to.map(|to| to.version);
    let old = cluster.allocs_of(workload).filter(|alloc| alloc.is_live() && Some(alloc.version) != version);
    old.map(|alloc| (alloc.node, alloc.resources)).collect()
}

#[cfg(test)]
mod tests {
    use mill_fsm::DeployKind;

    use super::*;
    use crate::leader::tests::{World, project, service};

    fn forecast_of(
        world: &World,
        services: Vec<mill_model::ServiceSpec>,
    ) -> BTreeMap<WorkloadName, Forecast> {
        let target = project("shop", services, vec![]);
        let steps = world.cluster.preview(&target, DeployKind::Deploy);
        forecast(&world.cluster, &target, &steps)
    }

    fn large(image: &str, replicas: u32, order: UpdateOrder) -> mill_model::ServiceSpec {
        let mut service = service("web", image, replicas, &[]);
        service.container.resources.memory = mill_model::Bytes(400 << 20);
        service.update.order = order;
        service
    }

    /// The world's node has 1 GiB: two replicas of 400 MiB and no third.
    #[test]
    fn a_forecast_counts_what_fits_and_names_what_does_not() {
        let mut world = World::new();
        let web: WorkloadName = "web".parse().unwrap();
        let fits = forecast_of(&world, vec![large("web1", 2, UpdateOrder::StartFirst)]);
        assert_eq!(fits[&web].placed, BTreeMap::from([(NodeId(1), 2)]));
        assert_eq!(fits[&web].unplaceable, None);
        let short = forecast_of(&world, vec![large("web1", 3, UpdateOrder::StartFirst)]);
        assert_eq!(short[&web].placed, BTreeMap::from([(NodeId(1), 2)]));
        assert_eq!(short[&web].unplaceable.as_ref().unwrap().misfits.len(), 1);

        let running = project("shop", vec![large("web1", 2, UpdateOrder::StartFirst)], vec![]);
        world.begin(&running, DeployKind::Deploy);
        world.settle("shop/web");
        for (order, fits) in [(UpdateOrder::StartFirst, false), (UpdateOrder::StopFirst, true)] {
            let forecast = forecast_of(&world, vec![large("web2", 2, order)]);
            assert_eq!(forecast[&web].unplaceable.is_none(), fits, "{order:?}");
        }
        assert_eq!(forecast_of(&world, vec![large("web1", 2, UpdateOrder::StartFirst)]), BTreeMap::new());
    }

    #[test]
    fn a_service_takes_the_room_that_another_leaves_once_it_is_replaced() {
        let mut world = World::new();
        let services = |image| vec![service("web", image, 3, &["db"]), service("db", "db1", 1, &[])];
        world.begin(&project("shop", services("web1"), vec![]), DeployKind::Deploy);
        world.settle("shop/web");
        let forecasts = forecast_of(&world, services("web2"));
        assert_eq!(forecasts.keys().map(WorkloadName::as_str).collect::<Vec<_>>(), ["web"]);
        assert_eq!(in_order(&project("p", services("x"), vec![])).last().unwrap().as_str(), "web");
    }
}
