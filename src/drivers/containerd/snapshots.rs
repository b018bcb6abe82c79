//! Snapshots (layers unpacked, and the writable layer of each container) and the diff service that fills them.

use std::collections::HashMap;

use containerd_client::services::v1 as api;
use containerd_client::services::v1::snapshots as snap;
use containerd_client::types::{Descriptor, Mount};

use super::{Containerd, RuntimeError, SNAPSHOTTER, Stamped};

/// A snapshot to be made final.
#[derive(Debug)]
pub(crate) struct Commit<'a> {
    /// Its name from now on.
    pub(crate) name: &'a str,
    /// Its key while it was being written.
    pub(crate) key: &'a str,
}

impl Containerd {
    /// Whether a snapshot of this name or key is there.
    pub(crate) async fn has_snapshot(&self, key: &str) -> Result<bool, RuntimeError> {
        let request = snap::StatSnapshotRequest { snapshotter: SNAPSHOTTER.to_owned(), key: key.to_owned() };
        let result = self.call("tell of a snapshot", self.snapshots().stat(request)).await;
        Ok(RuntimeError::unless_not_found(result)?.is_some())
    }

    /// Makes a writable snapshot over `parent` (empty: over nothing).
    pub(crate) async fn prepare_snapshot(
        &self,
        key: &str,
        parent: &str,
        labels: HashMap<String, String>,
    ) -> Result<Vec<Mount>, RuntimeError> {
        let request = snap::PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels,
        };
        let answer = self.call("prepare a snapshot", self.snapshots().prepare(request)).await?;
        Ok(answer.mounts)
    }

    /// Makes a written snapshot final.
    pub(crate) async fn commit_snapshot(&self, commit: Commit<'_>) -> Result<(), RuntimeError> {
        let request = snap::CommitSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            name: commit.name.to_owned(),
            key: commit.key.to_owned(),
            labels: HashMap::new(),
        };
        self.call("commit a snapshot", self.snapshots().commit(request)).await.map(|_| ())
    }

    /// Removes a snapshot. None there is as good.
    pub(crate) async fn remove_snapshot(&self, key: &str) -> Result<(), RuntimeError> {
        let request =
            snap::RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.to_owned(), key: key.to_owned() };
        let result = self.call("remove a snapshot", self.snapshots().remove(request)).await;
        RuntimeError::unless_not_found(result).map(|_| ())
    }

    /// All snapshots of Mill's namespace.
    pub(crate) async fn all_snapshots(&self) -> Result<Vec<snap::Info>, RuntimeError> {
        let asked = "list snapshots";
        let request = snap::ListSnapshotsRequest { snapshotter: SNAPSHOTTER.to_owned(), filters: vec![] };
        let mut parts = self.call(asked, self.snapshots().list(request)).await?;
        let after = self.tempo().runtime_deadline;
        let mut all = Vec::new();
        loop {
            let part = tokio::time::timeout(after, parts.message()).await;
            let part = part.map_err(|_| RuntimeError::Deadline { asked, after })?;
            match part.map_err(|status| RuntimeError::told(asked, status))? {
                Some(part) => all.extend(part.info),
                None => return Ok(all),
            }
        }
    }

    /// Bytes on disk of one snapshot alone.
    pub(crate) async fn snapshot_bytes(&self, key: &str) -> Result<u64, RuntimeError> {
        let request = snap::UsageRequest { snapshotter: SNAPSHOTTER.to_owned(), key: key.to_owned() };
        let answer = self.call("measure a snapshot", self.snapshots().usage(request)).await?;
        Ok(u64::try_from(answer.size).unwrap_or(0))
    }

    /// Unpacks a layer from the content store into mounts of a prepared snapshot. Answers the digest of what was
    /// unpacked, to be compared with the image's diff id.
    pub(crate) async fn apply_layer(
        &self,
        layer: Descriptor,
        mounts: Vec<Mount>,
    ) -> Result<String, RuntimeError> {
        let asked = "unpack a layer";
        let mut client = api::diff_client::DiffClient::with_interceptor(self.channel(), self.stamp());
        let request =
            api::ApplyRequest { diff: Some(layer), mounts, payloads: HashMap::new(), sync_fs: false };
        let answer = self.call_within(self.tempo().unpack_deadline, asked, client.apply(request)).await?;
        Ok(answer.applied.ok_or(RuntimeError::Malformed { asked })?.digest)
    }

    fn snapshots(&self) -> snap::snapshots_client::SnapshotsClient<Stamped> {
        snap::snapshots_client::SnapshotsClient::with_interceptor(self.channel(), self.stamp())
    }
}
