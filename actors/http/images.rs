//! Tags to digests, once per deploy: every replica runs what the tag meant when the deploy was asked for.
//!
//! An image that can't be resolved refuses the deploy before anything changes, with one exception: if the registry
//! can't be asked (rather than saying no), and the service already runs this very tag, it keeps the digest that it
//! runs, with a warning. So a change of one service can be deployed while the registry of another one, which isn't
//! touched, is down.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use mill_api::plan::Warning;
use mill_drivers::images::{Images, PullError};
use mill_fsm::Cluster;
use mill_model::limits::{BLOB_ATTEMPTS_MAX, IMAGES_RESOLVED_AT_ONCE};
use mill_model::{ContainerSpec, Digest, Failure, ImageRef, ProjectSpec, Tempo, WorkloadName};
use tokio::time::{Instant, timeout_at};

use super::backend::Backend;
use super::present::plan::Notes;

/// An image that can't be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unresolved {
    /// Whose.
    pub(super) workload: WorkloadName,
    /// Which.
    pub(super) image: ImageRef,
    /// Why.
    pub(super) failure: Failure,
}

/// Pins every image of `spec`.
///
/// # Errors
/// All that can't be resolved.
pub(super) async fn pin<B: Backend>(
    backend: &B,
    tempo: &Tempo,
    cluster: &Cluster,
    spec: &mut ProjectSpec,
) -> Result<Notes, Vec<Unresolved>> {
    let tags = containers(spec).filter(|(_, container)| container.image.digest.is_none());
    let tags: BTreeSet<ImageRef> = tags.map(|(_, container)| container.image.clone()).collect();
    let resolved = resolve(backend, tempo, tags).await;
    let project = spec.name.clone();
    let (mut notes, mut unresolved) = (Notes::new(), vec![]);
    for (name, container) in containers_mut(spec) {
        let image = container.image.clone();
        match resolved.get(&image) {
            None => {}
            Some(Ok(digest)) => container.image = image.pinned(digest.clone()),
            Some(Err(failure)) => match running(cluster, &project, name, &image) {
                Some(digest) if !failure.is_permanent() => {
                    notes.insert(name.clone(), kept(&image, failure));
                    container.image = image.pinned(digest);
                }
                _ => unresolved.push(Unresolved { workload: name.clone(), image, failure: failure.clone() }),
            },
        }
    }
    match unresolved.is_empty() {
        true => Ok(notes),
        false => Err(unresolved),
    }
}

fn kept(image: &ImageRef, failure: &Failure) -> Warning {
    Warning {
        message: format!("what {image} means now isn't known ({failure}): it keeps the digest that runs"),
        hint: Some("deploy again when its registry answers, if a newer one is wanted".to_owned()),
    }
}

async fn resolve<B: Backend>(
    backend: &B,
    tempo: &Tempo,
    tags: BTreeSet<ImageRef>,
) -> BTreeMap<ImageRef, Result<Digest, Failure>> {
    let until = Instant::now() + tempo.resolve_deadline;
    let after = humantime::format_duration(tempo.resolve_deadline);
    let one = |image: ImageRef| {
        let late = Failure::PullFailed { detail: format!("its registry gave no answer within {after}") };
        async move {
            let asked = timeout_at(until, patiently(backend.images(), &image, tempo, until)).await;
            let digest = asked.map_or(Err(late), |asked| asked.map_err(|error| Failure::from(&error)));
            (image, digest)
        }
    };
    futures::stream::iter(tags).map(one).buffer_unordered(IMAGES_RESOLVED_AT_ONCE).collect().await
}

/// Asks again where the registry answers that it can't just now: a limit of requests, a gateway without a backend. That
/// passes in seconds, and who deploys would only do the same by hand.
async fn patiently<I: Images>(
    images: &I,
    image: &ImageRef,
    tempo: &Tempo,
    until: Instant,
) -> Result<Digest, PullError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match images.resolve(image).await {
            Err(error) if error.is_busy() && attempts < BLOB_ATTEMPTS_MAX => {
                let again = Instant::now() + tempo.blob_delay(attempts);
                // What the registry said is worth more than that time ran out.
                if again >= until {
                    return Err(error);
                }
                tracing::info!(%image, attempts, %error, "a tag is asked for again");
                tokio::time::sleep_until(again).await;
            }
            asked => return asked,
        }
    }
}

/// The digest that a service or task of this name runs, if it was pinned from the same tag.
fn running(
    cluster: &Cluster,
    project: &mill_model::ProjectName,
    name: &WorkloadName,
    image: &ImageRef,
) -> Option<Digest> {
    let project = cluster.projects.get(project)?;
    let service = project.services.get(name).map(|service| &service.spec.container.image);
    let runs = service.or_else(|| project.tasks.get(name).map(|task| &task.spec.container.image))?;
    let same_tag = ImageRef { digest: None, ..runs.clone() } == *image;
    runs.digest.clone().filter(|_| same_tag)
}

fn containers(spec: &ProjectSpec) -> impl Iterator<Item = (&WorkloadName, &ContainerSpec)> {
    let services = spec.services.iter().map(|service| (&service.name, &service.container));
    services.chain(spec.tasks.iter().map(|task| (&task.name, &task.container)))
}

fn containers_mut(spec: &mut ProjectSpec) -> impl Iterator<Item = (&WorkloadName, &mut ContainerSpec)> {
    let services = spec.services.iter_mut().map(|service| (&service.name, &mut service.container));
    services.chain(spec.tasks.iter_mut().map(|task| (&task.name, &mut task.container)))
}
