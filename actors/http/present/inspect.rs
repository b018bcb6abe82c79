//! All that is known about one thing.

use mill_api::inspect::{Inspected, WorkloadSpec};
use mill_api::names::Target;
use mill_fsm::Runnable;
use mill_model::{AllocId, Workload};

use super::{View, allocs, deploys, nodes, progress, projects, services, tasks};

/// All that is known about it; `None`: it is gone.
pub(in crate::http) fn inspect(view: &View<'_>, target: &Target) -> Option<Inspected> {
    let cluster = view.cluster;
    match target {
        Target::Workload(workload) => service(view, workload),
        Target::Alloc(id) => {
            let known = cluster.allocs.get(id)?;
            let spec = Box::new(spec(cluster.runnables.get(&known.version.hash)?));
            Some(Inspected::Alloc { alloc: Box::new(allocs::alloc(view, known)), spec })
        }
        Target::Project(name) => {
            let known = cluster.projects.get(name)?;
            let project = Box::new(projects::project(cluster, known));
            let history = projects::history(cluster, known);
            Some(Inspected::Project { project, spec: Box::new(known.spec()), history })
        }
        Target::Node(name) => {
            let known = cluster.nodes.values().find(|node| node.facts.name == *name)?;
            let on = cluster.allocs_on(known.facts.id).filter(|alloc| alloc.is_live());
            let allocs = on.map(|alloc| allocs::alloc(view, alloc)).collect();
            Some(Inspected::Node { node: Box::new(nodes::node(view, known)), allocs })
        }
        Target::Deploy(id) => {
            let known = cluster.deploys.get(id)?;
            let progress = progress::so_far(cluster, known);
            Some(Inspected::Deploy { deploy: Box::new(deploys::deploy(cluster, known)), progress })
        }
    }
}

/// A task that was asked for.
pub(in crate::http) fn task(view: &View<'_>, id: &AllocId) -> Option<Inspected> {
    let task = tasks::task(view, id)?;
    let known = view.cluster.allocs.get(id);
    let hash = known.map(|alloc| alloc.version.hash);
    let hash = hash.or_else(|| Some(view.cluster.spawns.get(id)?.hash))?;
    let spec = Box::new(spec(view.cluster.runnables.get(&hash)?));
    let alloc = known.map(|known| Box::new(allocs::alloc(view, known)));
    Some(Inspected::Task { task: Box::new(task), spec, alloc })
}

fn service(view: &View<'_>, workload: &Workload) -> Option<Inspected> {
    let service = services::service(view, workload)?;
    let spec = Box::new(spec(view.cluster.runnables.get(&service.spec_hash)?));
    let allocs = allocs::allocs_of(view, workload, true);
    Some(Inspected::Service { service: Box::new(service), spec, allocs })
}

fn spec(runnable: &Runnable) -> WorkloadSpec {
    match runnable {
        Runnable::Service(spec) => WorkloadSpec::Service(spec.as_ref().clone()),
        Runnable::Task(spec) => WorkloadSpec::Task(spec.as_ref().clone()),
    }
}
