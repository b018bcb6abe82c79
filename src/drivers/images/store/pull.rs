//! One pull: documents, then layers side by side, each unpacked as soon as those below it are.

use std::collections::HashMap;

use bytes::Bytes;
use containerd_client::services::v1 as api;
use containerd_client::types::Descriptor as Layer;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use mill_model::{Digest, ImageRef, limits};
use tokio::sync::{mpsc, watch};

use super::fetch::Wanted;
use super::{
    BYTES_LABEL, CHAIN_LABEL, CONFIG_LABEL, SharedStore, labels, read_config, record_name, unusable,
};
use crate::containerd::{Commit, Containerd, RuntimeError, SNAPSHOTTER};
use crate::images::config::chain_ids;
use crate::images::manifest::{Descriptor, Document, Manifest, Platform, choose, read};
use crate::images::registry::Given;
use crate::images::{Layer as LayerProgress, Progress, PullError, Unusable};

/// Prefix of the leases that hold what a pull has got so far.
pub(super) const LEASE_PREFIX: &str = "mill-pull-";

/// What a pull works on.
struct Pull<'a> {
    image: &'a ImageRef,
    /// Everything it makes is held by its lease.
    containerd: Containerd,
    progress: &'a watch::Sender<Progress>,
}

/// A layer and the names of its snapshot.
struct Step {
    /// Which layer of the image, counted from 0.
    index: usize,
    layer: Descriptor,
    diff: Digest,
    /// Name of the snapshot below; empty for the lowest.
    below: String,
    chain: String,
}

impl SharedStore {
    /// Pulls a pinned image that isn't here, or not whole.
    pub(super) async fn pull(
        &self,
        image: &ImageRef,
        progress: &watch::Sender<Progress>,
    ) -> Result<(), PullError> {
        let name = record_name(image)?;
        let Some(digest) = &image.digest else {
            return Err(PullError::NotPinned { image: image.clone().into() });
        };
        self.containerd.ensure_namespace().await?;
        let lease_id = format!("{LEASE_PREFIX}{}", digest.hex());
        let lease = self.containerd.lease(lease_id.clone(), self.containerd.tempo().pull_kept).await?;
        let pull = Pull { image, containerd: self.containerd.leased(&lease), progress };

        let (target, manifest) = self.documents(&pull, digest).await?;
        progress.send_modify(|progress| progress.layers = manifest.layers.iter().map(untouched).collect());
        let layer_bytes = progress.borrow().bytes_total();
        let chain = self.layers(&pull, &manifest).await?;
        let record = api::Image {
            name,
            labels: labels([
                (CHAIN_LABEL, chain),
                (CONFIG_LABEL, manifest.config.digest.to_string()),
                (BYTES_LABEL, layer_bytes.to_string()),
            ]),
            target: Some(target),
            ..Default::default()
        };
        keep_record(&pull.containerd, record).await?;
        self.containerd.release(&lease_id, false).await?;
        Ok(())
    }

    /// Gets the manifest, by way of its index if there is one, and keeps both.
    async fn documents(&self, pull: &Pull<'_>, digest: &Digest) -> Result<(Layer, Manifest), PullError> {
        let given = self.document(pull, digest).await?;
        match read(pull.image, given.media_type.as_deref(), &given.body)? {
            Document::Manifest(manifest) => {
                let target = keep_manifest(pull, &given, &manifest).await?;
                Ok((target, manifest))
            }
            Document::Index(entries) => {
                let entry = choose(pull.image, &entries, &Platform::here())?;
                let inner = self.document(pull, &entry.digest).await?;
                let Document::Manifest(manifest) = read(pull.image, Some(&entry.media_type), &inner.body)?
                else {
                    let found = entry.media_type;
                    return Err(unusable(pull.image, "the manifest", Unusable::MediaType { found }));
                };
                keep_manifest(pull, &inner, &manifest).await?;
                let child = [("containerd.io/gc.ref.content.m.0", inner.digest.to_string())];
                let target = keep_document(pull, &given, labels(child)).await?;
                Ok((target, manifest))
            }
        }
    }

    /// A document: from the store if an earlier pull got that far, else from the registry.
    async fn document(&self, pull: &Pull<'_>, digest: &Digest) -> Result<Given, PullError> {
        let here = self.containerd.read_blob(digest, limits::MANIFEST_BYTES_MAX).await;
        match RuntimeError::unless_not_found(here)? {
            Some(body) => Ok(Given { digest: digest.clone(), media_type: None, body }),
            None => self.registry.manifest(pull.image, digest.as_str()).await,
        }
    }

    /// Gets and unpacks what isn't unpacked yet; answers the name of the topmost snapshot.
    async fn layers(&self, pull: &Pull<'_>, manifest: &Manifest) -> Result<String, PullError> {
        let config =
            Wanted { image: pull.image, blob: &manifest.config, layer: None, progress: pull.progress };
        if manifest.config.size > limits::IMAGE_CONFIG_BYTES_MAX {
            let most = limits::IMAGE_CONFIG_BYTES_MAX;
            return Err(unusable(pull.image, "the config", Unusable::TooLarge { most }));
        }
        self.fetch(&pull.containerd, config).await?;
        let digest = &manifest.config.digest;
        let blob = pull.containerd.read_blob(digest, limits::IMAGE_CONFIG_BYTES_MAX).await?;
        let diffs = read_config(pull.image, &blob)?.rootfs.diff_ids;
        if diffs.len() != manifest.layers.len() {
            let reason = Unusable::LayerCount { layers: manifest.layers.len(), diffs: diffs.len() };
            return Err(unusable(pull.image, "the config", reason));
        }
        let steps = steps(manifest, diffs);
        let top = steps.last().map(|step| step.chain.clone()).unwrap_or_default();
        let todo = self.without_unpacked(pull, steps).await?;
        self.download_and_unpack(pull, todo).await?;
        if !top.is_empty() {
            let refers = labels([(snapshot_label().as_str(), top.clone())]);
            pull.containerd.label_blob(digest, refers).await?;
        }
        Ok(top)
    }

    /// The steps above the highest snapshot that is there, which the lease holds from now on.
    async fn without_unpacked(&self, pull: &Pull<'_>, steps: Vec<Step>) -> Result<Vec<Step>, PullError> {
        let mut done = 0;
        for (index, step) in steps.iter().enumerate().rev() {
            if pull.containerd.hold_snapshot(&step.chain).await? {
                done = index + 1;
                break;
            }
        }
        pull.progress.send_modify(|progress| progress.layers.iter_mut().take(done).for_each(finish));
        Ok(steps.into_iter().skip(done).collect())
    }

    async fn download_and_unpack(&self, pull: &Pull<'_>, steps: Vec<Step>) -> Result<(), PullError> {
        let (sender, mut ready) = mpsc::channel(limits::LAYERS_AT_ONCE);
        let fetched = steps.into_iter().map(|step| async move {
            let (image, layer) = (pull.image, Some(step.index));
            let wanted = Wanted { image, blob: &step.layer, layer, progress: pull.progress };
            self.fetch(&pull.containerd, wanted).await.map(|()| step)
        });
        // In order, however they come in: a layer needs those below it.
        let fetched = stream::iter(fetched).buffered(limits::LAYERS_AT_ONCE);
        let download = async move {
            let result = fetched.try_for_each(|step| async {
                // Nobody listens any more: the other half has failed and says why.
                let _ = sender.send(step).await;
                Ok(())
            });
            result.await
        };
        let unpack = async {
            while let Some(step) = ready.recv().await {
                let index = step.index;
                self.unpack(pull, step).await?;
                pull.progress
                    .send_modify(|progress| progress.layers.get_mut(index).into_iter().for_each(finish));
            }
            Ok(())
        };
        futures::future::try_join(download, unpack).await.map(|_| ())
    }

    async fn unpack(&self, pull: &Pull<'_>, step: Step) -> Result<(), PullError> {
        let _turn = self.layers.take(&step.chain).await;
        let containerd = &pull.containerd;
        if containerd.hold_snapshot(&step.chain).await? {
            return Ok(());
        }
        // A dead process may have left it half written: what can't be trusted is written again.
        let key = format!("mill-unpack-{}", step.chain);
        containerd.remove_snapshot(&key).await?;
        let mounts = containerd.prepare_snapshot(&key, &step.below, HashMap::new()).await?;
        let layer = Layer {
            media_type: step.layer.media_type,
            digest: step.layer.digest.to_string(),
            size: i64::try_from(step.layer.size).unwrap_or(i64::MAX),
            annotations: HashMap::new(),
        };
        let result = containerd.apply_layer(layer, mounts).await;
        match result {
            Ok(got) if got == step.diff.as_str() => {}
            Ok(got) => {
                containerd.remove_snapshot(&key).await?;
                let reason = Unusable::Diff { layer: step.index + 1, got, wanted: step.diff };
                return Err(unusable(pull.image, "a layer", reason));
            }
            Err(error) => {
                containerd.remove_snapshot(&key).await?;
                return Err(error.into());
            }
        }
        match containerd.commit_snapshot(Commit { name: &step.chain, key: &key }).await {
            Err(RuntimeError::AlreadyExists { .. }) => containerd.remove_snapshot(&key).await?,
            other => other?,
        }
        Ok(())
    }
}

fn steps(manifest: &Manifest, diffs: Vec<Digest>) -> Vec<Step> {
    let chain = chain_ids(&diffs);
    let below = std::iter::once(String::new()).chain(chain.clone());
    let layers = manifest.layers.iter().cloned().zip(diffs).zip(below.zip(chain)).enumerate();
    layers.map(|(index, ((layer, diff), (below, chain)))| Step { index, layer, diff, below, chain }).collect()
}

/// A layer of which nothing is here yet.
fn untouched(layer: &Descriptor) -> LayerProgress {
    LayerProgress { digest: layer.digest.clone(), bytes_done: 0, bytes_total: layer.size, unpacked: false }
}

fn finish(layer: &mut LayerProgress) {
    layer.bytes_done = layer.bytes_total;
    layer.unpacked = true;
}

/// Keeps a manifest. Its layers aren't referred to (see the room's header).
async fn keep_manifest(pull: &Pull<'_>, given: &Given, manifest: &Manifest) -> Result<Layer, PullError> {
    let config = [("containerd.io/gc.ref.content.config", manifest.config.digest.to_string())];
    keep_document(pull, given, labels(config)).await
}

async fn keep_document(
    pull: &Pull<'_>,
    given: &Given,
    labels: HashMap<String, String>,
) -> Result<Layer, PullError> {
    let size = given.body.len() as u64;
    match pull.containerd.write_blob(&given.digest, size).await? {
        Some(mut writer) => {
            let written = usize::try_from(writer.offset()).unwrap_or(usize::MAX);
            let rest = given.body.get(written..).unwrap_or_default();
            if !rest.is_empty() {
                writer.write(Bytes::copy_from_slice(rest)).await?;
            }
            writer.commit(labels).await?;
        }
        None => pull.containerd.label_blob(&given.digest, labels).await?,
    }
    let media_type = media_type(given);
    Ok(Layer {
        media_type,
        digest: given.digest.to_string(),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        annotations: HashMap::new(),
    })
}

/// The document's own word for what it is, else the registry's, else by its shape.
fn media_type(given: &Given) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let shape: Option<Shape> = serde_json::from_slice(&given.body).ok();
    let (own, is_index) = shape.map_or((None, false), |shape| (shape.media_type, shape.manifests.is_some()));
    let by_shape = match is_index {
        true => "application/vnd.oci.image.index.v1+json",
        false => "application/vnd.oci.image.manifest.v1+json",
    };
    own.or_else(|| given.media_type.clone()).unwrap_or_else(|| by_shape.to_owned())
}

/// The label by which content keeps a snapshot.
fn snapshot_label() -> String {
    format!("containerd.io/gc.ref.snapshot.{SNAPSHOTTER}")
}

async fn keep_record(containerd: &Containerd, record: api::Image) -> Result<(), RuntimeError> {
    let create = api::CreateImageRequest { image: Some(record.clone()), source_date_epoch: None };
    match containerd.call("record an image", containerd.images().create(create)).await {
        Err(RuntimeError::AlreadyExists { .. }) => {
            let update = api::UpdateImageRequest { image: Some(record), ..Default::default() };
            containerd.call("record an image", containerd.images().update(update)).await.map(|_| ())
        }
        other => other.map(|_| ()),
    }
}
