//! What happens in a deploy, until its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use mill_api::plan::NodeRefusal;
use mill_api::{Progress, Step};
use mill_control::leader::explain;
use mill_drivers::images::Progress as Pulling;
use mill_fsm::{Alloc, Cluster, Deploy, StepState};
use mill_model::{AllocId, DeployId, NodeName, Phase, Timestamp, Workload, WorkloadName};

use super::{Gone, Out, answer, last_event_id};
use crate::http::backend::Backend;
use crate::http::body::Named;
use crate::http::present::{node_name, node_refusals, progress};
use crate::http::reads::add_tail;
use crate::http::refusal::{Refusal, no_such_deploy};
use crate::http::server::Server;

pub(in crate::http) async fn stream<B: Backend>(
    State(server): State<Server<B>>,
    headers: HeaderMap,
    Named(id): Named<DeployId>,
) -> Result<Response, Refusal> {
    if !server.cluster().deploys.contains_key(&id) {
        return Err(no_such_deploy(id).into());
    }
    let last = last_event_id(&headers).and_then(|id| id.parse().ok()).unwrap_or_default();
    let keeping = server.keeping();
    Ok(answer(keeping, |out| {
        let watch = Watch { server, id, last, pulls: BTreeMap::new(), unplaced: BTreeMap::new(), out };
        watch.to_the_end()
    }))
}

struct Watch<B> {
    server: Server<B>,
    id: DeployId,
    /// The last event that was told.
    last: u64,
    /// Pulls that were told of and haven't ended.
    pulls: BTreeMap<(WorkloadName, NodeName), Pulling>,
    /// What was last said about services for which there is no room.
    unplaced: BTreeMap<WorkloadName, Vec<NodeRefusal>>,
    out: Out,
}

impl<B: Backend> Watch<B> {
    async fn to_the_end(mut self) -> Result<(), Gone> {
        let mut published = self.server.published.cluster.subscribe();
        loop {
            let cluster = published.borrow_and_update().clone();
            let Some(deploy) = cluster.deploys.get(&self.id).cloned() else {
                // Its project was forgotten while it was watched.
                return self.out.fail(&no_such_deploy(self.id)).await;
            };
            self.tell_events(&cluster, &deploy).await?;
            if deploy.outcome.is_some() {
                return self.out.end().await;
            }
            self.tell_pulls(&cluster, &deploy).await?;
            self.tell_unplaced(&cluster, &deploy).await?;
            let pulling = pulling(&cluster, &deploy).next().is_some();
            tokio::select! {
                changed = published.changed() => changed.map_err(|_| Gone)?,
                () = tokio::time::sleep(self.server.tempo.pull_shown_every), if pulling => {}
            }
        }
    }

    async fn tell_events(&mut self, cluster: &Cluster, deploy: &Deploy) -> Result<(), Gone> {
        let told: Vec<Progress> = match progress::events(cluster, deploy, self.last) {
            Some(events) => {
                events.into_iter().filter_map(|event| progress::told(cluster, deploy, event)).collect()
            }
            None => progress::as_it_stands(cluster, deploy),
        };
        for mut progress in told {
            add_tail(&self.server.backend, &mut progress).await;
            self.last = self.last.max(progress.id);
            self.out.item(&progress.id.to_string(), &progress).await?;
        }
        // Events that tell nothing, and those of other projects, needn't be looked at again.
        self.last = self.last.max(cluster.events.back().map_or(0, |event| event.id));
        Ok(())
    }

    /// Says how far pulls are, and which have ended.
    async fn tell_pulls(&mut self, cluster: &Cluster, deploy: &Deploy) -> Result<(), Gone> {
        let mut under_way = BTreeMap::new();
        for alloc in pulling(cluster, deploy) {
            let Some(runnable) = cluster.runnables.get(&alloc.version.hash) else { continue };
            let Some(pulling) = self.server.backend.pulling(&runnable.container().image) else { continue };
            under_way.insert((alloc.workload.name.clone(), node_name(cluster, alloc.node)), pulling);
        }
        for ((service, node), pulling) in &under_way {
            let key = (service.clone(), node.clone());
            if self.pulls.insert(key, *pulling) != Some(*pulling) {
                let Pulling { bytes_done, bytes_total, .. } = *pulling;
                let step = Step::Pulling { node: node.clone(), bytes_done, bytes_total };
                self.tell_now(Some(service.clone()), None, step).await?;
            }
        }
        let ended = self.pulls.keys().filter(|key| !under_way.contains_key(*key));
        for key in ended.cloned().collect::<Vec<_>>() {
            let Some(last) = self.pulls.remove(&key) else { continue };
            let (service, node) = key;
            let bytes = last.bytes_total.max(last.bytes_done);
            self.tell_now(Some(service), None, Step::Pulled { node, bytes }).await?;
        }
        Ok(())
    }

    /// Says for what there is no room, when that changes.
    async fn tell_unplaced(&mut self, cluster: &Cluster, deploy: &Deploy) -> Result<(), Gone> {
        for step in deploy.steps.values().filter(|step| step.state == StepState::Rolling) {
            let workload = Workload { project: deploy.project.clone(), name: step.name.clone() };
            let Some(unplaceable) = explain(cluster, &workload) else {
                self.unplaced.remove(&step.name);
                continue;
            };
            let nodes = node_refusals(&unplaceable);
            if self.unplaced.insert(step.name.clone(), nodes.clone()).as_ref() != Some(&nodes) {
                self.tell_now(Some(step.name.clone()), None, Step::Unplaced { nodes }).await?;
            }
        }
        Ok(())
    }

    /// Tells what no event tells, under the id of the last one: it isn't told again to those who come back.
    async fn tell_now(
        &self,
        service: Option<WorkloadName>,
        alloc: Option<AllocId>,
        step: Step,
    ) -> Result<(), Gone> {
        let at: Timestamp = self.server.now();
        let progress = Progress { id: self.last, at, service, alloc, step };
        self.out.item(&self.last.to_string(), &progress).await
    }
}

/// The deploy's allocs whose images are being fetched.
fn pulling<'a>(cluster: &'a Cluster, deploy: &'a Deploy) -> impl Iterator<Item = &'a Arc<Alloc>> {
    let mine = cluster.allocs.values().filter(|alloc| alloc.workload.project == deploy.project);
    mine.filter(|alloc| alloc.deploy == deploy.id && alloc.status.phase == Phase::Pulling)
}
