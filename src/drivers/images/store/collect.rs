//! Removing images that nothing needs.

use std::collections::{BTreeMap, BTreeSet};

use containerd_client::services::v1 as api;
use containerd_client::services::v1::snapshots::Kind;
use mill_model::Digest;

use super::pull::LEASE_PREFIX;
use super::{SharedStore, stored};
use crate::containerd::RuntimeError;
use crate::images::{Collected, PullError};

/// A lease that is made and deleted so that containerd's collector runs now, and is done when the call returns.
const COLLECT_LEASE: &str = "mill-collect";

/// Blobs and unpacked layers by name, with their bytes.
#[derive(Default)]
struct Inventory {
    blobs: BTreeMap<String, u64>,
    layers: BTreeMap<String, u64>,
}

impl SharedStore {
    pub(super) async fn remove_unused(&self, keep: &BTreeSet<Digest>) -> Result<Collected, PullError> {
        self.containerd.ensure_namespace().await?;
        let before = self.inventory().await?;
        let flying = self.flying();
        let mut collected = Collected::default();
        for record in self.records().await? {
            let used = match stored(&record) {
                Some(image) => keep.contains(&image.digest) || flying.contains(&record.name),
                // Not one that Mill pulled: nothing can start from it.
                None => false,
            };
            if !used {
                let request =
                    api::DeleteImageRequest { name: record.name.clone(), sync: false, target: None };
                let deleted =
                    self.containerd.call("delete an image", self.containerd.images().delete(request)).await;
                if RuntimeError::unless_not_found(deleted)?.is_some() {
                    collected.images += 1;
                    tracing::info!(image = %record.name, "unused image removed");
                }
            }
        }
        self.drop_abandoned(keep, &flying).await?;
        let expires = self.containerd.tempo().runtime_deadline;
        self.containerd.lease(COLLECT_LEASE.to_owned(), expires).await?;
        self.containerd.release(COLLECT_LEASE, true).await?;

        let after = self.inventory().await?;
        let gone_layers = before.layers.iter().filter(|(name, _)| !after.layers.contains_key(*name));
        let gone_blobs = before.blobs.iter().filter(|(name, _)| !after.blobs.contains_key(*name));
        for (_, bytes) in gone_layers {
            collected.snapshots += 1;
            collected.bytes += bytes;
        }
        collected.bytes += gone_blobs.map(|(_, bytes)| bytes).sum::<u64>();
        Ok(collected)
    }

    /// Gives up the halves of pulls that nobody wants to finish.
    async fn drop_abandoned(
        &self,
        keep: &BTreeSet<Digest>,
        flying: &BTreeSet<String>,
    ) -> Result<(), RuntimeError> {
        let wanted = |hex: &str| {
            keep.iter().any(|digest| digest.hex() == hex) || flying.iter().any(|name| name.ends_with(hex))
        };
        for lease in self.containerd.held_leases().await? {
            if lease.strip_prefix(LEASE_PREFIX).is_some_and(|hex| !wanted(hex)) {
                self.containerd.release(&lease, false).await?;
            }
        }
        Ok(())
    }

    async fn inventory(&self) -> Result<Inventory, RuntimeError> {
        let mut inventory =
            Inventory { blobs: self.containerd.blobs().await?.into_iter().collect(), ..Default::default() };
        for snapshot in self.containerd.all_snapshots().await? {
            if snapshot.kind() == Kind::Committed {
                // One that was removed meanwhile counts nothing.
                let bytes = self.containerd.snapshot_bytes(&snapshot.name).await;
                let bytes = RuntimeError::unless_not_found(bytes)?.unwrap_or(0);
                inventory.layers.insert(snapshot.name, bytes);
            }
        }
        Ok(inventory)
    }
}
