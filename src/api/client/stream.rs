//! Streams that go on where they were cut.

use std::marker::PhantomData;
use std::sync::Arc;

use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use mill_model::Tempo;
use mill_model::limits::API_EVENT_BYTES_MAX;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::call;
use super::error::{ClientError, Cut};
use super::transport::{Sender, Transport};
use crate::error::ApiError;
use crate::sse::{self, Reader, Reset};

/// What comes out of a stream.
#[derive(Debug)]
pub enum Heard<T> {
    /// The next item.
    Item(T),
    /// The connection was lost. The next call tries to get it back; what is missing then, the server says.
    Lost {
        /// Why.
        why: ClientError,
    },
    /// Something is missing: the server has forgotten what came after the last item. What follows goes on later.
    Reset(Reset),
    /// The stream is complete.
    End,
}

/// A stream of items. Dropping it closes the connection.
pub struct Follow<T> {
    transport: Arc<Transport>,
    tempo: Arc<Tempo>,
    path: String,
    last_id: String,
    open: Option<Open>,
    lost: Option<Lost>,
    ended: bool,
    item: PhantomData<fn() -> T>,
}

/// A connection with its reader: both end together, since half an event of a lost one is worth nothing.
struct Open {
    since: Instant,
    _sender: Sender,
    body: Incoming,
    reader: Reader,
}

/// Counts from the last item or the last connection that held, not from the last connection: a server that accepts
/// and hangs up must not be asked for ever.
struct Lost {
    since: Instant,
    attempts: u32,
}

impl<T: DeserializeOwned> Follow<T> {
    pub(super) async fn open(
        transport: Arc<Transport>,
        tempo: Arc<Tempo>,
        path: String,
    ) -> Result<Self, ClientError> {
        let mut follow = Self {
            transport,
            tempo,
            path,
            last_id: String::new(),
            open: None,
            lost: None,
            ended: false,
            item: PhantomData,
        };
        follow.connect().await?;
        Ok(follow)
    }

    /// The next item. After a [`Heard::Lost`] it connects again, with pauses, and gives up with the error of the
    /// last attempt after [`Tempo::api_reconnect_for`]. May be dropped at any time without losing an item.
    ///
    /// # Errors
    /// The server ended the stream with an error, sent what can't be read, or can't be found again.
    pub async fn next(&mut self) -> Result<Heard<T>, ClientError> {
        loop {
            if self.ended {
                return Ok(Heard::End);
            }
            let Some(open) = &mut self.open else {
                self.reconnect().await?;
                continue;
            };
            if let Some(event) = open.reader.pop() {
                return self.take(event);
            }
            let silence = self.tempo.api_silence;
            let cut = match timeout(silence, open.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    match open.reader.push(&data) {
                        Ok(()) => continue,
                        Err(source) => {
                            return Err(ClientError::Endless {
                                endpoint: self.transport.to_string(),
                                source,
                            });
                        }
                    }
                }
                Ok(Some(Err(source))) => Cut::Broken(source),
                Ok(None) => Cut::Early,
                Err(_) => Cut::Silent(silence),
            };
            if open.since.elapsed() >= silence {
                self.lost = None;
            }
            self.open = None;
            return Ok(Heard::Lost { why: self.cut(cut) });
        }
    }

    fn take(&mut self, event: sse::Event) -> Result<Heard<T>, ClientError> {
        let garbled = |source| ClientError::Garbled { endpoint: self.transport.to_string(), source };
        match event.name.as_str() {
            sse::END => {
                self.ended = true;
                self.open = None;
                Ok(Heard::End)
            }
            sse::ERROR => {
                let error: ApiError = serde_json::from_str(&event.data).map_err(garbled)?;
                self.ended = true;
                self.open = None;
                Err(ClientError::Refused(Box::new(error)))
            }
            sse::RESET => Ok(Heard::Reset(serde_json::from_str(&event.data).map_err(garbled)?)),
            _ => {
                let item = serde_json::from_str(&event.data).map_err(garbled)?;
                self.lost = None;
                if let Some(id) = event.id {
                    self.last_id = id;
                }
                Ok(Heard::Item(item))
            }
        }
    }

    async fn reconnect(&mut self) -> Result<(), ClientError> {
        let lost = self.lost.get_or_insert_with(|| Lost { since: Instant::now(), attempts: 0 });
        lost.attempts = lost.attempts.saturating_add(1);
        let since = lost.since;
        sleep(self.tempo.reconnect_delay(lost.attempts)).await;
        let given_up = since.elapsed() >= self.tempo.api_reconnect_for;
        match self.connect().await {
            Err(error) if given_up || !error.is_transient() => Err(error),
            Ok(()) if given_up => Err(self.cut(Cut::Unsteady)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn cut(&self, source: Cut) -> ClientError {
        ClientError::Cut { endpoint: self.transport.to_string(), source }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let request = call::Request {
            method: Method::GET,
            path: &self.path,
            body: None,
            once: None,
            last_event_id: Some(&self.last_id),
        };
        let after = self.tempo.api_read_deadline;
        let (sender, body) = timeout(after, call::open(&self.transport, &self.tempo, &request))
            .await
            .map_err(|_| ClientError::Deadline { endpoint: self.transport.to_string(), after })??;
        self.open = Some(Open {
            since: Instant::now(),
            _sender: sender,
            body,
            reader: Reader::new(API_EVENT_BYTES_MAX),
        });
        Ok(())
    }
}
