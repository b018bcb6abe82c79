//! Which images are fetched where while deploys are under way, and whether a replica may be stopped for one.

use std::collections::{BTreeMap, BTreeSet};

use mill_fsm::{Change, Cluster, Deploy, Step, StepReason, StepState};
use mill_model::spec::UpdateOrder;
use mill_model::{DeployId, ImageRef, NodeId, Workload, WorkloadName};
use mill_scheduler::Action;

use super::deploys::Work;
use super::forecast::forecast;
use super::rollouts::Posed;
use crate::fetch::{FetchState, Fetches, Fetching};

/// Images that a deploy's unfinished steps are going to start. None once it is being taken back.
pub fn ahead<'a>(
    cluster: &'a Cluster,
    deploy: &'a Deploy,
) -> impl Iterator<Item = (&'a WorkloadName, &'a ImageRef)> {
    open(deploy).filter_map(|step| Some((&step.name, image(cluster, step)?)))
}

fn open(deploy: &Deploy) -> impl Iterator<Item = &Step> {
    let goes_on = deploy.is_active() && deploy.cancelled.is_none();
    deploy.steps.values().filter(move |step| {
        let open = matches!(step.state, StepState::Waiting | StepState::Rolling);
        let starts = matches!(step.change, Change::Create | Change::Replace | Change::Scale | Change::Run);
        goes_on && open && starts
    })
}

fn image<'a>(cluster: &'a Cluster, step: &Step) -> Option<&'a ImageRef> {
    let runnable = cluster.runnables.get(&step.to?.version.hash)?;
    Some(&runnable.container().image)
}

/// What each node shall fetch now. Where a deploy's replicas would be placed is forecast once, when it begins. What was
/// asked for stays so until no step will start it any more: as replicas come and go a forecast shifts, and mustn't
/// break off what is under way.
pub(super) fn wanted(cluster: &Cluster, before: &Fetching) -> BTreeMap<NodeId, Fetches> {
    let mut wanted = BTreeMap::new();
    let mut latest: BTreeMap<&ImageRef, DeployId> = BTreeMap::new();
    let asked: BTreeSet<DeployId> =
        before.asked.values().flat_map(|fetches| fetches.values().copied()).collect();
    for deploy in cluster.deploys.values().filter(|deploy| deploy.is_active()) {
        // Ids grow.
        latest.extend(ahead(cluster, deploy).map(|(_, image)| (image, deploy.id)));
        if !asked.contains(&deploy.id) {
            foresee(cluster, deploy, &mut wanted);
        }
    }
    for (node, fetches) in before.asked.iter().filter(|(node, _)| cluster.nodes.contains_key(*node)) {
        for (image, deploy) in fetches.keys().filter_map(|image| latest.get_key_value(image)) {
            want(&mut wanted, *node, image, *deploy);
        }
    }
    wanted
}

/// A deploy's images on the nodes where its replicas would be placed now; stop-first also where old ones make room.
fn foresee(cluster: &Cluster, deploy: &Deploy, wanted: &mut BTreeMap<NodeId, Fetches>) {
    if open(deploy).next().is_none() {
        return;
    }
    let forecasts = forecast(cluster, &deploy.target, open(deploy));
    for step in open(deploy) {
        let Some(image) = image(cluster, step) else { continue };
        let placed =
            forecasts.get(&step.name).into_iter().flat_map(|forecast| forecast.placed.keys().copied());
        placed.for_each(|node| want(wanted, node, image, deploy.id));
        if is_stop_first(deploy, step) {
            let workload = Workload { project: deploy.project.clone(), name: step.name.clone() };
            let old = cluster.allocs_of(&workload).filter(|alloc| alloc.is_live());
            old.for_each(|alloc| want(wanted, alloc.node, image, deploy.id));
        }
    }
}

fn is_stop_first(deploy: &Deploy, step: &Step) -> bool {
    let service = deploy.target.services.iter().find(|service| service.name == step.name);
    service.is_some_and(|service| service.update.order == UpdateOrder::StopFirst)
}

/// Adds an image to what a node shall fetch.
fn want(wanted: &mut BTreeMap<NodeId, Fetches>, node: NodeId, image: &ImageRef, deploy: DeployId) {
    let latest = wanted.entry(node).or_default().entry(image.clone()).or_insert(deploy);
    *latest = deploy.max(*latest);
}

impl Work<'_, '_, '_> {
    /// Of a stop-first rollout's actions those that may be taken: an old replica is stopped only once the node where
    /// its successor would be placed has the image. What it lacks it is told to fetch.
    ///
    /// # Errors
    /// A node can't get the image: the step is to turn back.
    pub(super) fn admit(
        &mut self,
        posed: &Posed<'_>,
        actions: Vec<Action>,
    ) -> Result<Vec<Action>, StepReason> {
        let needs_room = posed.update.order == UpdateOrder::StopFirst && posed.rollout().misses_some();
        let Some(runnable) = posed.runnable().filter(|_| needs_room) else { return Ok(actions) };
        let (cluster, image) = (self.facts.cluster, &runnable.container().image);
        let is_old = |action: &Action| matches!(action, Action::Stop { id } if !posed.is_new(id));
        let (stops, mut admitted): (Vec<Action>, Vec<Action>) = actions.into_iter().partition(is_old);
        let leaving = stops.iter().filter_map(|stop| match stop {
            Action::Stop { id } => cluster.allocs.get(id),
            Action::Start { .. } => None,
        });
        let leaving: Vec<_> = leaving.collect();
        let nodes = self.placing.successors(posed.workload, runnable.container().resources, &leaving);
        for (stop, node) in stops.into_iter().zip(nodes) {
            want(&mut self.decision.fetches, node, image, self.deploy.id);
            match self.facts.fetching.heard(node, image, self.deploy.id) {
                Some(FetchState::Here) => admitted.push(stop),
                Some(FetchState::Failing(failing)) if failing.is_final() => {
                    let Some(node) = cluster.nodes.get(&node) else { continue };
                    let (node, failure) = (node.facts.name.clone(), failing.last.clone());
                    return Err(StepReason::FetchFailed { node, failure });
                }
                Some(FetchState::UnderWay | FetchState::Failing(_)) | None => {}
            }
        }
        Ok(admitted)
    }
}

#[cfg(test)]
mod tests;
