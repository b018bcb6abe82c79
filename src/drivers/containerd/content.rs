//! The content store: blobs by digest. containerd checks the digest of what it commits.

use std::collections::HashMap;

use bytes::Bytes;
use containerd_client::services::v1 as api;
use containerd_client::tonic;
use mill_model::Digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::tokio_stream::StreamExt as _;

use super::{ANSWER_BYTES_MAX, Containerd, RuntimeError, Stamped};

/// Labels of a blob: what it refers to, so that the collector keeps that too.
pub(crate) type Labels = HashMap<String, String>;

impl Containerd {
    /// A whole small blob, at most `most` bytes.
    pub(crate) async fn read_blob(&self, digest: &Digest, most: u64) -> Result<Vec<u8>, RuntimeError> {
        let asked = "read a blob";
        let request = api::ReadContentRequest { digest: digest.to_string(), offset: 0, size: 0 };
        let mut parts = self.call(asked, self.content().read(request)).await?;
        let mut blob = Vec::new();
        let deadline = self.tempo().runtime_deadline;
        let late = |_| RuntimeError::Deadline { asked, after: deadline };
        while let Some(part) = tokio::time::timeout(deadline, parts.next()).await.map_err(late)? {
            let part = part.map_err(|status| RuntimeError::told(asked, status))?;
            blob.extend_from_slice(&part.data);
            if blob.len() as u64 > most {
                return Err(RuntimeError::TooLarge { digest: digest.clone(), most });
            }
        }
        Ok(blob)
    }

    /// Replaces a blob's labels that refer to other content, say because the first writer knew fewer children.
    pub(crate) async fn label_blob(&self, digest: &Digest, labels: Labels) -> Result<(), RuntimeError> {
        let paths = labels.keys().map(|name| format!("labels.{name}")).collect();
        let info = api::Info { digest: digest.to_string(), labels, ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths });
        let request = api::UpdateRequest { info: Some(info), update_mask };
        self.call("label a blob", self.content().update(request)).await.map(|_| ())
    }

    /// Opens the blob for writing, or says that it is there already (`None`). An earlier writer's part is kept:
    /// [`BlobWriter::offset`] is where to go on.
    pub(crate) async fn write_blob(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<BlobWriter>, RuntimeError> {
        let asked = "open a blob for writing";
        let (requests, receiver) = mpsc::channel(1);
        let total = i64::try_from(size).map_err(|_| RuntimeError::Malformed { asked })?;
        let first = api::WriteContentRequest {
            action: api::WriteAction::Stat.into(),
            r#ref: reference(digest),
            total,
            expected: digest.to_string(),
            ..Default::default()
        };
        // The first request has to lie ready: containerd sends nothing, not even headers, before it read one.
        let closed = |_| RuntimeError::Malformed { asked };
        requests.send(first.clone()).await.map_err(closed)?;
        let answers = self.call(asked, self.content().write(ReceiverStream::new(receiver))).await;
        let answers = match answers {
            Err(RuntimeError::AlreadyExists { .. }) => return Ok(None),
            other => other?,
        };
        let mut writer = BlobWriter { containerd: self.clone(), first, requests, answers, offset: 0 };
        match writer.answer(asked).await {
            Ok(()) => Ok(Some(writer)),
            Err(RuntimeError::AlreadyExists { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Throws away what was written of a blob that isn't whole.
    pub(crate) async fn abort_blob(&self, digest: &Digest) -> Result<(), RuntimeError> {
        let request = api::AbortRequest { r#ref: reference(digest) };
        let result = self.call("drop a blob's beginning", self.content().abort(request)).await;
        RuntimeError::unless_not_found(result).map(|_| ())
    }

    /// Digests and sizes of everything in the store.
    pub(crate) async fn blobs(&self) -> Result<Vec<(String, u64)>, RuntimeError> {
        let asked = "list blobs";
        let request = api::ListContentRequest { filters: vec![] };
        let mut parts = self.call(asked, self.content().list(request)).await?;
        let mut blobs = Vec::new();
        let deadline = self.tempo().runtime_deadline;
        let late = |_| RuntimeError::Deadline { asked, after: deadline };
        while let Some(part) = tokio::time::timeout(deadline, parts.next()).await.map_err(late)? {
            let part = part.map_err(|status| RuntimeError::told(asked, status))?;
            blobs.extend(part.info.into_iter().map(|i| (i.digest, u64::try_from(i.size).unwrap_or(0))));
        }
        Ok(blobs)
    }

    pub(crate) fn content(&self) -> api::content_client::ContentClient<Stamped> {
        api::content_client::ContentClient::with_interceptor(self.channel(), self.stamp())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

/// One reference per digest: whoever pulls the blob next goes on where the last one stopped.
fn reference(digest: &Digest) -> String {
    format!("mill-{digest}")
}

/// A blob being written. Dropping it keeps what was written, for the next writer.
#[derive(Debug)]
pub(crate) struct BlobWriter {
    containerd: Containerd,
    first: api::WriteContentRequest,
    requests: mpsc::Sender<api::WriteContentRequest>,
    answers: tonic::Streaming<api::WriteContentResponse>,
    offset: u64,
}

impl BlobWriter {
    /// Bytes that the store has of it.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Adds bytes at the offset.
    pub(crate) async fn write(&mut self, data: Bytes) -> Result<(), RuntimeError> {
        let asked = "write a blob";
        let request = api::WriteContentRequest {
            action: api::WriteAction::Write.into(),
            offset: i64::try_from(self.offset).unwrap_or(i64::MAX),
            data: data.into(),
            ..self.first.clone()
        };
        self.ask(asked, request).await
    }

    /// Ends the blob: containerd checks its size and digest. A digest that differs comes back as `Refused`,
    /// and the beginning has to be [dropped](Containerd::abort_blob).
    pub(crate) async fn commit(mut self, labels: Labels) -> Result<(), RuntimeError> {
        let request = api::WriteContentRequest {
            action: api::WriteAction::Commit.into(),
            offset: i64::try_from(self.offset).unwrap_or(i64::MAX),
            labels,
            ..self.first.clone()
        };
        match self.ask("commit a blob", request).await {
            Err(RuntimeError::AlreadyExists { .. }) => Ok(()),
            other => other,
        }
    }

    async fn ask(
        &mut self,
        asked: &'static str,
        request: api::WriteContentRequest,
    ) -> Result<(), RuntimeError> {
        // A closed channel means that the call is over; the answer says why.
        let _ = self.requests.send(request).await;
        self.answer(asked).await
    }

    async fn answer(&mut self, asked: &'static str) -> Result<(), RuntimeError> {
        let after = self.containerd.tempo().runtime_deadline;
        let answer = tokio::time::timeout(after, self.answers.message()).await;
        let answer = answer.map_err(|_| RuntimeError::Deadline { asked, after })?;
        let answer = answer.map_err(|status| RuntimeError::told(asked, status))?;
        let answer = answer.ok_or(RuntimeError::Malformed { asked })?;
        self.offset = u64::try_from(answer.offset).unwrap_or(0);
        Ok(())
    }
}
