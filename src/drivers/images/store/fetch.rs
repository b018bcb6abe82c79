//! One blob from a registry into the content store, going on where an earlier attempt stopped.

use std::collections::HashMap;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use containerd_client::tonic::Code;
use mill_model::{Digest, ImageRef, limits};
use tokio::sync::{OwnedMutexGuard, watch};

use super::SharedStore;
use super::arrivals::Arrived;
use crate::containerd::{BlobWriter, Containerd, RuntimeError};
use crate::images::manifest::Descriptor;
use crate::images::{Progress, PullError};

/// Bytes sent to containerd at once: network reads are a few kilobytes, and each is answered.
const WRITE_BYTES: usize = 512 << 10;

/// A blob to get, and the pull it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) image: &'a ImageRef,
    pub(super) blob: &'a Descriptor,
    /// Which layer of the image it is, counted from 0; `None`: it isn't one.
    pub(super) layer: Option<usize>,
    /// Told of each byte that arrives, or that turns out to be here.
    pub(super) progress: &'a watch::Sender<Progress>,
}

impl Wanted<'_> {
    /// So far is it, whoever gets it.
    fn is_at(&self, arrived: &Arrived) {
        self.progress.send_modify(|progress| {
            progress.trouble.clone_from(&arrived.trouble);
            if let Some(layer) = self.layer.and_then(|number| progress.layers.get_mut(number)) {
                layer.bytes_done = arrived.bytes;
            }
        });
    }
}

/// A blob that it is this pull's turn to get.
#[derive(Clone, Copy)]
struct Getting<'a> {
    wanted: Wanted<'a>,
    /// For the pulls that wait for the same blob.
    arrived: &'a watch::Sender<Arrived>,
}

impl Getting<'_> {
    /// So many of its bytes are here.
    fn has(&self, bytes: u64) {
        self.is_at(Arrived { bytes, trouble: None });
    }

    /// An attempt to get it has failed, another follows.
    fn stumbled(&self, bytes: u64, error: &PullError) {
        self.is_at(Arrived { bytes, trouble: Some(error.in_short()) });
    }

    fn is_at(&self, arrived: Arrived) {
        self.wanted.is_at(&arrived);
        self.arrived.send_replace(arrived);
    }
}

impl SharedStore {
    /// Gets a blob, unless it is in the store.
    pub(super) async fn fetch(&self, containerd: &Containerd, wanted: Wanted<'_>) -> Result<(), PullError> {
        let arrived = self.arrivals.of(wanted.blob.digest.as_str());
        let _turn = self.turn(&arrived, wanted).await;
        let getting = Getting { wanted, arrived: &arrived };
        let Err(error) = self.fetch_once(containerd, getting).await else { return Ok(()) };
        // What an earlier process left may be what is wrong: once more from the start.
        let PullError::DigestMismatch { .. } = error else { return Err(error) };
        containerd.abort_blob(&wanted.blob.digest).await?;
        match self.fetch_once(containerd, getting).await {
            Err(mismatch @ PullError::DigestMismatch { .. }) => {
                containerd.abort_blob(&wanted.blob.digest).await?;
                Err(mismatch)
            }
            other => other,
        }
    }

    /// Waits until no other pull gets this blob, and shows how far that one is.
    async fn turn(&self, arrived: &watch::Sender<Arrived>, wanted: Wanted<'_>) -> OwnedMutexGuard<()> {
        let mut news = arrived.subscribe();
        let mut turn = pin!(self.blobs.take(wanted.blob.digest.as_str()));
        loop {
            tokio::select! {
                turn = &mut turn => return turn,
                // Its sender is in the caller's hand.
                _ = news.changed() => wanted.is_at(&news.borrow_and_update()),
            }
        }
    }

    async fn fetch_once(&self, containerd: &Containerd, getting: Getting<'_>) -> Result<(), PullError> {
        let wanted = getting.wanted;
        let Descriptor { digest, size, .. } = wanted.blob;
        let Some(mut writer) = open(containerd, digest, *size).await? else {
            getting.has(*size);
            return Ok(());
        };
        getting.has(writer.offset());
        let mut attempts = 0;
        while writer.offset() < *size {
            let before = writer.offset();
            attempts += 1;
            let Err(error) = self.append(&mut writer, getting).await else { continue };
            if writer.offset().saturating_sub(before) >= limits::BLOB_STEP_BYTES_MIN {
                attempts = 1;
            }
            if !error.is_worth_another_attempt() || attempts >= limits::BLOB_ATTEMPTS_MAX {
                return Err(error);
            }
            tracing::info!(image = %wanted.image, %digest, attempts, %error, "blob attempt failed");
            getting.stumbled(writer.offset(), &error);
            tokio::time::sleep(containerd.tempo().blob_delay(attempts)).await;
        }
        let url = format!("blob {digest} of {}", wanted.image);
        match writer.commit(HashMap::new()).await {
            // "unexpected commit digest"
            Err(error) if error.has_code(Code::FailedPrecondition) => {
                Err(PullError::DigestMismatch { url, wanted: digest.clone() })
            }
            other => Ok(other?),
        }
    }

    /// One request's worth of bytes.
    async fn append(&self, writer: &mut BlobWriter, getting: Getting<'_>) -> Result<(), PullError> {
        let wanted = getting.wanted;
        let Descriptor { digest, size, .. } = wanted.blob;
        let mut body = self.registry.blob(wanted.image, digest, writer.offset()).await?;
        let mut pending = BytesMut::new();
        loop {
            let part = body.next().await;
            if let Ok(Some(part)) = &part {
                pending.extend_from_slice(part);
            }
            let arrived = writer.offset() + pending.len() as u64;
            if arrived > *size {
                return Err(PullError::DigestMismatch { url: body.url().to_owned(), wanted: digest.clone() });
            }
            let more = matches!(part, Ok(Some(_)));
            // What came before an error is kept: the next attempt goes on behind it.
            if pending.len() >= WRITE_BYTES || !more && !pending.is_empty() {
                let bytes: Bytes = pending.split().freeze();
                writer.write(bytes).await?;
                getting.has(writer.offset());
            }
            match part? {
                Some(_) => {}
                None if arrived == *size => return Ok(()),
                None => {
                    let url = body.url().to_owned();
                    return Err(PullError::Truncated { url, got: arrived, announced: *size });
                }
            }
        }
    }
}

/// Opens the blob for writing. A beginning that is longer than the blob is thrown away.
async fn open(
    containerd: &Containerd,
    digest: &Digest,
    size: u64,
) -> Result<Option<BlobWriter>, RuntimeError> {
    match containerd.write_blob(digest, size).await? {
        Some(writer) if writer.offset() > size => {
            drop(writer);
            containerd.abort_blob(digest).await?;
            containerd.write_blob(digest, size).await
        }
        other => Ok(other),
    }
}
