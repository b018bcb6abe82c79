//! What happens in a deploy, until its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use http::HeaderMap;
use mill_api::plan::NodeRefusal;
use mill_api::{Progress, Pulling, Step};
use mill_control::fetch::FetchState;
use mill_control::leader::{ahead, explain};
use mill_fsm::{Alloc, Cluster, Deploy, StepState};
use mill_model::{AllocStatus, DeployId, Ended, Failure, NodeName, Phase, Workload, WorkloadName};
use tokio::time::Instant;

use super::{Gone, Out, answer, last_number};
use crate::http::backend::Backend;
use crate::http::body::Named;
use crate::http::gate::{Caller, Seen};
use crate::http::present::{Ahead, node_name, node_refusals, progress};
use crate::http::reads::add_tail;
use crate::http::refusal::{Refusal, no_such_deploy};
use crate::http::server::Server;

pub(in crate::http) async fn stream<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Seen(cluster): Seen,
    headers: HeaderMap,
    Named(id): Named<DeployId>,
) -> Result<Response, Refusal> {
    if !cluster.deploys.contains_key(&id) {
        return Err(no_such_deploy(id).into());
    }
    let last = last_number(&headers)?.unwrap_or_default();
    let keeping = server.keeping(caller);
    Ok(answer(keeping, |out| {
        let (pulls, unplaced) = (BTreeMap::new(), BTreeMap::new());
        let watch = Watch { server, id, last, pulls, pulls_due: Instant::now(), unplaced, out };
        watch.run()
    }))
}

/// Pulls by the service that they are for and the node that does them.
type Pulls = BTreeMap<(WorkloadName, NodeName), Pulling>;

/// Whether a pull ended with the image here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Yes,
    No,
    NotSaid,
}

struct Watch<B> {
    server: Server<B>,
    id: DeployId,
    /// The last event that was told.
    last: u64,
    /// Pulls that were told of and haven't ended.
    pulls: Pulls,
    /// When at the earliest it may be told how far they are.
    pulls_due: Instant,
    /// What was last said about services for which there is no room.
    unplaced: BTreeMap<WorkloadName, Vec<NodeRefusal>>,
    out: Out,
}

impl<B: Backend> Watch<B> {
    async fn run(mut self) -> Result<(), Gone> {
        let mut published = self.server.published.cluster.subscribe();
        loop {
            let cluster = published.borrow_and_update().clone();
            let Some(deploy) = cluster.deploys.get(&self.id).cloned() else {
                // Its project was forgotten while it was watched.
                return self.out.fail(&no_such_deploy(self.id)).await;
            };
            let under_way = self.under_way(&cluster, &deploy);
            self.tell_pulled(&cluster, &under_way).await?;
            self.tell_events(&cluster, &deploy).await?;
            if deploy.outcome.is_some() {
                return self.out.end().await;
            }
            self.tell_pulling(under_way).await?;
            self.tell_unplaced(&cluster, &deploy).await?;
            let pulling = self.expects_images(&cluster, &deploy);
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
            None => {
                if self.last > 0 {
                    let message = "some of what happened is forgotten; this is how it stands".to_owned();
                    self.out.reset(&self.last, None, message).await?;
                }
                progress::as_it_stands(cluster, deploy)
            }
        };
        for mut progress in told {
            add_tail(&self.server, &mut progress).await;
            self.last = self.last.max(progress.id);
            self.out.item(&progress.id.to_string(), &progress).await?;
        }
        // Events that tell nothing, and those of other projects, needn't be looked at again.
        self.last = self.last.max(cluster.events.back().map_or(0, |event| event.id));
        Ok(())
    }

    /// How far the deploy's pulls are.
    fn under_way(&self, cluster: &Cluster, deploy: &Deploy) -> Pulls {
        let view = self.server.view(cluster);
        let of_alloc = |alloc: &Arc<Alloc>| {
            let node = node_name(cluster, alloc.node);
            Some(((alloc.workload.name.clone(), node), view.pulling(alloc)?))
        };
        let mut under_way: Pulls = pulling(cluster, deploy).filter_map(of_alloc).collect();
        for ahead in view.ahead(deploy) {
            let key = (ahead.name, ahead.node);
            let trouble = match ahead.state {
                // What an alloc of it meets, its events tell.
                FetchState::Failing(failing) if is_unbegun(cluster, deploy, &key.0) => {
                    Some(failing.last.to_string())
                }
                _ => None,
            };
            let last = || self.pulls.get(&key).cloned().unwrap_or_default();
            let shown = ahead.pulling.or_else(|| Some(Pulling { trouble: Some(trouble?), ..last() }));
            if let Some(shown) = shown {
                under_way.entry(key).or_insert(shown);
            }
        }
        under_way
    }

    /// Whether images may be on their way: of allocs, or before those.
    fn expects_images(&self, cluster: &Cluster, deploy: &Deploy) -> bool {
        let wanted = ahead(cluster, deploy).count();
        let here = |ahead: &&Ahead| ahead.state == FetchState::Here;
        wanted > self.server.view(cluster).ahead(deploy).iter().filter(here).count()
            || pulling(cluster, deploy).next().is_some()
    }

    /// Says which images have come, before the events that follow from it. Of one that failed the events tell.
    async fn tell_pulled(&mut self, cluster: &Cluster, under_way: &Pulls) -> Result<(), Gone> {
        let ended = self.pulls.keys().filter(|key| !under_way.contains_key(*key));
        for key in ended.cloned().collect::<Vec<_>>() {
            let (Some(last), came) = (self.pulls.get(&key), self.came(cluster, &key)) else { continue };
            let bytes = Some(last.bytes_total.max(last.bytes_done)).filter(|bytes| *bytes > 0);
            if came == Came::NotSaid {
                continue;
            }
            self.pulls.remove(&key);
            if came == Came::Yes {
                let (service, node) = key;
                self.tell_now(service, Step::Pulled { node, bytes }).await?;
            }
        }
        Ok(())
    }

    /// What the state says of a pull that isn't under way any more.
    fn came(&self, cluster: &Cluster, (service, node): &(WorkloadName, NodeName)) -> Came {
        let Some(deploy) = cluster.deploys.get(&self.id) else { return Came::No };
        let workload = Workload { project: deploy.project.clone(), name: service.clone() };
        let view = self.server.view(cluster);
        let ahead =
            view.ahead(deploy).into_iter().find(|ahead| ahead.name == *service && ahead.node == *node);
        if ahead.as_ref().is_some_and(|ahead| ahead.state == FetchState::Here) {
            return Came::Yes;
        }
        let mine = cluster.allocs_of(&workload);
        let mine = mine.filter(|alloc| alloc.deploy == self.id && node_name(cluster, alloc.node) == *node);
        let mine: Vec<&AllocStatus> = mine.map(|alloc| &alloc.status).collect();
        match () {
            () if mine.iter().any(|status| had_image(status)) => Came::Yes,
            // The node knows it first; its report follows.
            () if mine.iter().any(|status| status.phase == Phase::Pulling) => Came::NotSaid,
            () if mine.is_empty() && ahead.is_some() => Came::NotSaid,
            () => Came::No,
        }
    }

    /// Says how far pulls are, where that changed.
    async fn tell_pulling(&mut self, under_way: Pulls) -> Result<(), Gone> {
        let now = Instant::now();
        if now < self.pulls_due {
            return Ok(());
        }
        for ((service, node), pulling) in under_way {
            let key = (service.clone(), node.clone());
            if self.pulls.get(&key) != Some(&pulling) {
                self.pulls.insert(key, pulling.clone());
                self.pulls_due = now + self.server.tempo.pull_shown_every;
                self.tell_now(service, Step::Pulling { node, pulling }).await?;
            }
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
                self.tell_now(step.name.clone(), Step::Unplaced { nodes }).await?;
            }
        }
        Ok(())
    }

    /// Tells what no event tells, under the id of the last one: it isn't told again to those who come back.
    async fn tell_now(&self, service: WorkloadName, step: Step) -> Result<(), Gone> {
        let at = self.server.now();
        let progress = Progress { id: self.last, at, service: Some(service), alloc: None, step };
        self.out.item(&self.last.to_string(), &progress).await
    }
}

/// Whether the alloc has got as far as a container.
fn had_image(status: &AllocStatus) -> bool {
    let for_want_of_it =
        |end: &Ended| matches!(end.failure, Some(Failure::NoSuchImage { .. } | Failure::PullFailed { .. }));
    match status.phase {
        Phase::Starting | Phase::Running | Phase::Healthy | Phase::Unhealthy => true,
        Phase::Waiting | Phase::Failed | Phase::Stopped => {
            status.last_end.as_ref().is_some_and(|end| !for_want_of_it(end))
        }
        Phase::Pending | Phase::Pulling | Phase::Stopping | Phase::Lost => false,
    }
}

/// Whether nothing of a service or task was placed by the deploy.
fn is_unbegun(cluster: &Cluster, deploy: &Deploy, name: &WorkloadName) -> bool {
    let workload = Workload { project: deploy.project.clone(), name: name.clone() };
    cluster.allocs_of(&workload).all(|alloc| alloc.deploy != deploy.id)
}

/// The deploy's allocs whose images are being fetched.
fn pulling<'a>(cluster: &'a Cluster, deploy: &'a Deploy) -> impl Iterator<Item = &'a Arc<Alloc>> {
    let workload = |name: &WorkloadName| Workload { project: deploy.project.clone(), name: name.clone() };
    let mine =
        deploy.steps.keys().flat_map(move |name| cluster.allocs_of(&workload(name)).collect::<Vec<_>>());
    mine.filter(|alloc| alloc.deploy == deploy.id && alloc.status.phase == Phase::Pulling)
}
