//! One blob from a registry into the content store, going on where an earlier attempt stopped.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use containerd_client::tonic::Code;
use mill_model::{Digest, ImageRef, limits};
use tokio::sync::watch;

use super::SharedStore;
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
    /// So many of its bytes are here.
    fn has(&self, bytes: u64) {
        self.progress.send_modify(|progress| {
            progress.trouble = None;
            if let Some(layer) = self.layer.and_then(|number| progress.layers.get_mut(number)) {
                layer.bytes_done = bytes;
            }
        });
    }

    /// An attempt to get it has failed, another follows.
    fn stumbled(&self, error: &PullError) {
        self.progress.send_modify(|progress| progress.trouble = Some(error.in_short()));
    }
}

impl SharedStore {
    /// Gets a blob, unless it is in the store.
    pub(super) async fn fetch(&self, containerd: &Containerd, wanted: Wanted<'_>) -> Result<(), PullError> {
        let _turn = self.blobs.take(wanted.blob.digest.as_str()).await;
        let Err(error) = self.fetch_once(containerd, wanted).await else { return Ok(()) };
        // What an earlier process left may be what is wrong: once more from the start.
        let PullError::DigestMismatch { .. } = error else { return Err(error) };
        containerd.abort_blob(&wanted.blob.digest).await?;
        match self.fetch_once(containerd, wanted).await {
            Err(mismatch @ PullError::DigestMismatch { .. }) => {
                containerd.abort_blob(&wanted.blob.digest).await?;
                Err(mismatch)
            }
            other => other,
        }
    }

    async fn fetch_once(&self, containerd: &Containerd, wanted: Wanted<'_>) -> Result<(), PullError> {
        let Descriptor { digest, size, .. } = wanted.blob;
        let Some(mut writer) = open(containerd, digest, *size).await? else {
            wanted.has(*size);
            return Ok(());
        };
        wanted.has(writer.offset());
        let mut attempts = 0;
        while writer.offset() < *size {
            let before = writer.offset();
            attempts += 1;
            let Err(error) = self.append(&mut writer, wanted).await else { continue };
            if writer.offset().saturating_sub(before) >= limits::BLOB_STEP_BYTES_MIN {
                attempts = 1;
            }
            if !error.is_worth_another_attempt() || attempts >= limits::BLOB_ATTEMPTS_MAX {
                return Err(error);
            }
            tracing::info!(image = %wanted.image, %digest, attempts, %error, "blob attempt failed");
            wanted.stumbled(&error);
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
    async fn append(&self, writer: &mut BlobWriter, wanted: Wanted<'_>) -> Result<(), PullError> {
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
                wanted.has(writer.offset());
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
