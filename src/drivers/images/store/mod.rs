//! The real [`Images`]: registries on one side, containerd's stores on the other.
//!
//! What a pull leaves: the index (if there was one), the manifest and the config in the content store, each
//! labelled with what it refers to; one snapshot per layer, referred to by the config; an image record, which is
//! the collector's root. The compressed layers aren't kept: they would double the disk that an image takes, and a
//! layer that is unpacked isn't downloaded again for another image.
//!
//! Until the record exists, a lease holds all of it. It ends by itself, so that a dead process's half is resumed
//! or, in the end, collected.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use containerd_client::services::v1 as api;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use mill_model::{Digest, ImageRef, Tempo, limits};
use tokio::sync::watch;

use super::config::{ConfigBlob, ImageConfig};
use super::error::PullError;
use super::manifest::not_json;
use super::registry::Registry;
use super::{Collected, Images, Logins, Progress, Stored, Unusable};
use crate::containerd::{Containerd, RuntimeError};
use crate::files::Turns;
use arrivals::Arrivals;

mod arrivals;
mod collect;
mod fetch;
mod pull;

/// Label of an image record: the name of its topmost snapshot; empty for an image without layers.
pub(crate) const CHAIN_LABEL: &str = "mill.chain";
/// Label of an image record: the digest of its config.
const CONFIG_LABEL: &str = "mill.config";
/// Label of an image record: compressed bytes of its layers.
const BYTES_LABEL: &str = "mill.bytes";

/// The images of one containerd. Clones share their pulls.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<SharedStore>,
}

#[derive(Debug)]
struct SharedStore {
    containerd: Containerd,
    registry: Registry,
    /// Pulls under way, by the name of the image record.
    flights: Mutex<BTreeMap<String, Flight>>,
    blobs: Turns,
    arrivals: Arrivals,
    layers: Turns,
}

type Outcome = Shared<BoxFuture<'static, Result<(), PullError>>>;

/// A pull that several callers may wait for. It moves while one of them does.
#[derive(Debug)]
struct Flight {
    outcome: WeakShared<BoxFuture<'static, Result<(), PullError>>>,
    progress: watch::Receiver<Progress>,
}

/// What a container is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ready {
    /// The snapshot to put its writable layer on; empty for an image without layers.
    pub(crate) chain: String,
    /// How it wants to be run.
    pub(crate) config: ImageConfig,
}

impl Store {
    /// Images of the containerd at `socket`, from registries of which `insecure` (`host:port`) are spoken to
    /// without TLS.
    pub fn new(socket: &Path, insecure: BTreeSet<String>, tempo: Arc<Tempo>) -> Self {
        let registry = Registry::new(insecure, tempo.pull_stalled_after);
        let containerd = Containerd::new(socket, tempo);
        let shared = SharedStore {
            containerd,
            registry,
            flights: Mutex::default(),
            blobs: Turns::default(),
            arrivals: Arrivals::default(),
            layers: Turns::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The pull of this image: the one under way, else a new one.
    fn flight(&self, image: &ImageRef, name: &str) -> (Outcome, watch::Receiver<Progress>) {
        let mut flights = self.shared.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.outcome.upgrade().is_some_and(|outcome| outcome.peek().is_none()));
        if let Some(flight) = flights.get(name)
            && let Some(outcome) = flight.outcome.upgrade()
        {
            return (outcome, flight.progress.clone());
        }
        let (sender, progress) = watch::channel(Progress::default());
        let store = self.clone();
        let image = image.clone();
        let outcome: Outcome = async move { store.shared.pull(&image, &sender).await }.boxed().shared();
        if let Some(weak) = outcome.downgrade() {
            flights.insert(name.to_owned(), Flight { outcome: weak, progress: progress.clone() });
        }
        (outcome, progress)
    }
}

impl Images for Store {
    fn know(&self, logins: Logins) {
        self.shared.registry.know(logins);
    }

    async fn resolve(&self, image: &ImageRef) -> Result<Digest, PullError> {
        match &image.digest {
            Some(digest) => Ok(digest.clone()),
            None => self.shared.registry.resolve(image).await,
        }
    }

    async fn pull(
        &self,
        image: &ImageRef,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<(), PullError> {
        let name = record_name(image)?;
        if self.shared.is_ready(&name).await? {
            return Ok(());
        }
        let (mut outcome, mut numbers) = self.flight(image, &name);
        let every = self.shared.containerd.tempo().pull_shown_every;
        loop {
            // Each is a copy: not of every half megabyte.
            let news = numbers.borrow_and_update().clone();
            progress(news);
            let next = async {
                tokio::time::sleep(every).await;
                // A pull that has ended says so by its outcome.
                if numbers.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let ended = tokio::select! {
                result = &mut outcome => Some(result),
                () = next => None,
            };
            if let Some(result) = ended {
                if result.is_ok() {
                    let news = numbers.borrow().clone();
                    progress(news);
                }
                return result;
            }
        }
    }

    async fn list(&self) -> Result<Vec<Stored>, PullError> {
        let records = self.shared.records().await?;
        Ok(records.iter().filter_map(stored).collect())
    }

    async fn remove_unused(&self, keep: &BTreeSet<Digest>) -> Result<Collected, PullError> {
        self.shared.remove_unused(keep).await
    }
}

impl SharedStore {
    /// Whether the image can be started from: its record is there, and the snapshot it names.
    async fn is_ready(&self, name: &str) -> Result<bool, PullError> {
        let Some(record) = record(&self.containerd, name).await? else { return Ok(false) };
        match record.labels.get(CHAIN_LABEL).map(String::as_str) {
            None => Ok(false),
            Some("") => Ok(true),
            Some(chain) => Ok(self.containerd.has_snapshot(chain).await?),
        }
    }

    async fn records(&self) -> Result<Vec<api::Image>, RuntimeError> {
        let request = api::ListImagesRequest { filters: vec![] };
        let answer = self.containerd.call("list images", self.containerd.images().list(request)).await?;
        Ok(answer.images)
    }

    /// Names of the images that are being pulled.
    fn flying(&self) -> BTreeSet<String> {
        let flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let flying = flights.iter().filter(|(_, f)| f.outcome.upgrade().is_some_and(|o| o.peek().is_none()));
        flying.map(|(name, _)| name.clone()).collect()
    }
}

/// What a container of this image is made from; `None`: it isn't here (any more).
pub(crate) async fn ready(containerd: &Containerd, image: &ImageRef) -> Result<Option<Ready>, PullError> {
    let name = record_name(image)?;
    let Some(record) = record(containerd, &name).await? else { return Ok(None) };
    let Some(chain) = record.labels.get(CHAIN_LABEL) else { return Ok(None) };
    let Some(digest) = record.labels.get(CONFIG_LABEL).and_then(|text| text.parse::<Digest>().ok()) else {
        return Ok(None);
    };
    let most = limits::IMAGE_CONFIG_BYTES_MAX;
    let Some(blob) = RuntimeError::unless_not_found(containerd.read_blob(&digest, most).await)? else {
        return Ok(None);
    };
    let blob = read_config(image, &blob)?;
    Ok(Some(Ready { chain: chain.clone(), config: blob.config.unwrap_or_default() }))
}

fn read_config(image: &ImageRef, blob: &[u8]) -> Result<ConfigBlob, PullError> {
    serde_json::from_slice(blob).map_err(|error| unusable(image, "the config", not_json(&error)))
}

fn unusable(image: &ImageRef, subject: &'static str, reason: Unusable) -> PullError {
    PullError::Unusable { image: image.clone().into(), subject, reason }
}

async fn record(containerd: &Containerd, name: &str) -> Result<Option<api::Image>, RuntimeError> {
    let request = api::GetImageRequest { name: name.to_owned() };
    let result = containerd.call("tell of an image", containerd.images().get(request)).await;
    Ok(RuntimeError::unless_not_found(result)?.and_then(|answer| answer.image))
}

/// `registry/repository@digest`: without the tag, which may mean something else tomorrow.
fn record_name(image: &ImageRef) -> Result<String, PullError> {
    match &image.digest {
        Some(digest) => Ok(format!("{}/{}@{digest}", image.registry, image.repository)),
        None => Err(PullError::NotPinned { image: image.clone().into() }),
    }
}

fn stored(record: &api::Image) -> Option<Stored> {
    let image: ImageRef = record.name.parse().ok()?;
    let digest = image.digest.clone()?;
    let bytes = record.labels.get(BYTES_LABEL)?.parse().ok()?;
    let pulled_at = crate::containerd::timestamp(record.created_at.as_ref());
    Some(Stored { image, digest, bytes, pulled_at })
}

/// Labels from pairs.
fn labels<const N: usize>(pairs: [(&str, String); N]) -> HashMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
