//! Streams: server-sent events that go on where they were cut.
//!
//! # Why
//!
//! A stream's producer runs inside the answer's body, and only when the connection takes bytes: a slow client holds up
//! its own producer, a few items wait for it, and when it takes nothing for `Tempo::api_stalled_after` the connection
//! is cut ([`super::connection`]). Nothing is spawned, so nothing outlives the connection.

pub(super) mod audit;
pub(super) mod events;
pub(super) mod exec;
pub(super) mod logs;
mod merge;
pub(super) mod progress;

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use mill_api::sse::Reset;
use mill_api::{ApiError, Code, sse};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// Items that wait for a client: enough to fill a packet, few enough that a slow client costs nothing.
const WAITING_MAX: usize = 16;

/// Where a producer puts its items.
#[derive(Clone)]
pub(super) struct Out {
    sender: mpsc::Sender<Bytes>,
}

/// The client is gone, or the daemon is about to be: the producer should return.
pub(super) struct Gone;

impl Out {
    /// Sends an item under its id.
    pub(super) async fn item(&self, id: &str, item: &impl Serialize) -> Result<(), Gone> {
        match sse::item(id, item) {
            Ok(bytes) => self.send(bytes).await,
            Err(error) => {
                // The shapes of the API are JSON always; whoever changes that sees it here.
                tracing::error!(%error, "item can't be written");
                Err(Gone)
            }
        }
    }

    /// Says that what came after the id `after` is forgotten, and from where it goes on.
    pub(super) async fn reset<Id: ToString>(
        &self,
        after: &Id,
        next: Option<u64>,
        message: String,
    ) -> Result<(), Gone> {
        let next = next.map(|next| next.to_string());
        self.send(sse::reset(&Reset { after: after.to_string(), next, message })).await
    }

    /// Says that the stream is complete.
    pub(super) async fn end(&self) -> Result<(), Gone> {
        self.send(sse::end()).await
    }

    /// Says that the stream failed, and why.
    pub(super) async fn fail(&self, error: &ApiError) -> Result<(), Gone> {
        self.send(sse::error(error)).await
    }

    async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        self.sender.send(bytes).await.map_err(|_| Gone)
    }
}

/// How a stream is kept and ended.
pub(super) struct Keeping {
    /// How often it says that it lives.
    pub(super) every: Duration,
    /// Fired when the daemon is about to end: the stream is cut, and its client comes back to the next daemon.
    pub(super) leaving: CancellationToken,
    /// Returns when whoever asked may see it no more, with the reason.
    pub(super) over: Pin<Box<dyn Future<Output = ApiError> + Send>>,
}

/// An answer that `produce` writes as it goes.
pub(super) fn answer<F>(keeping: Keeping, produce: impl FnOnce(Out) -> F) -> Response
where
    F: Future<Output = Result<(), Gone>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let out = Out { sender };
    let producer = produce(out.clone());
    let Keeping { every, leaving, over } = keeping;
    let producer = async move {
        tokio::select! {
            () = leaving.cancelled() => {}
            refused = over => drop(out.fail(&refused).await),
            _ = producer => {}
        }
    };
    let items = driven(ReceiverStream::new(receiver), producer);
    let kept = keep_alive(items, every).map(Ok::<Bytes, Infallible>);
    let mut response = Response::new(Body::from_stream(kept));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(sse::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}

/// What comes out of `items` while `producer` runs, and what is left when it has ended.
fn driven(
    items: impl Stream<Item = Bytes> + Send + 'static,
    producer: impl Future<Output = ()> + Send + 'static,
) -> impl Stream<Item = Bytes> + Send {
    let silent = stream::once(producer).filter_map(|()| std::future::ready(None));
    stream::select(items, silent)
}

/// Adds a sign of life where there is nothing else to say.
fn keep_alive(
    items: impl Stream<Item = Bytes> + Send + 'static,
    every: Duration,
) -> impl Stream<Item = Bytes> + Send {
    stream::unfold(Box::pin(items), move |mut items| async move {
        match tokio::time::timeout(every, items.next()).await {
            Ok(item) => item.map(|item| (item, items)),
            Err(_) => Some((sse::keepalive(), items)),
        }
    })
}

/// Where a client wants to go on.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(sse::LAST_EVENT_ID)?.to_str().ok().filter(|id| !id.is_empty())
}

/// The same, where ids are numbers.
pub(super) fn last_number(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let number = |id: &str| {
        id.parse().map_err(|_| {
            ApiError::new(Code::BadRequest, "there is no such place in this stream")
                .because("`last-event-id` isn't an id of an earlier stream")
                .hint("leave it out to begin anew")
        })
    };
    last_event_id(headers).map(number).transpose()
}

/// A list that is kept for a while, whose items have numbers that count up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// The number of the first that is kept, or would be.
    pub(super) first: u64,
    /// The number that comes next.
    pub(super) next: u64,
}

impl Kept {
    /// Whether who knows all up to `after` misses some, or knows what never was; `None` for who knows nothing.
    pub(super) fn lacks(self, after: u64) -> Option<String> {
        match after {
            0 => None,
            _ if after.saturating_add(1) < self.first => Some(format!(
                "what happened between {after} and {} is forgotten; it goes on from there",
                self.first
            )),
            _ if after >= self.next => Some(format!(
                "{after} is no number of this cluster, which has come to {}; it goes on from {}",
                self.next.saturating_sub(1),
                self.first
            )),
            _ => None,
        }
    }
}
