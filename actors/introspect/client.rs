//! The asking side.

use std::time::Duration;

use mill_rpc::v1;
use mill_rpc::v1::introspect_client::IntrospectClient;
use thiserror::Error;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::convert::{UnreadableActor, from_wire};
use crate::kit::{ActorInfo, RestartError};

/// Most bytes of one answer: a thousand allocs with a kilobyte of state each, and room.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Reads the actors of another process.
#[derive(Debug, Clone)]
pub struct Client {
    inner: IntrospectClient<Channel>,
    deadline: Duration,
}

/// Why another process's actors can't be seen.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It didn't answer, or refused.
    #[error("the actors of the other process can't be read")]
    Call {
        /// What came back.
        source: Box<Status>,
    },
    /// It answered in another version's words.
    #[error("the other process's answer can't be understood")]
    Unreadable {
        /// What is wrong with it.
        source: UnreadableActor,
    },
    /// It knows of the actor, or of none, but restarts it not.
    #[error(transparent)]
    Refused(#[from] RestartError),
}

impl Client {
    /// Asks over `channel`, each time for at most `deadline`.
    pub fn new(channel: Channel, deadline: Duration) -> Self {
        let inner = IntrospectClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        Self { inner, deadline }
    }

    /// Every actor of the other process.
    ///
    /// # Errors
    /// No answer, or one of another version.
    pub async fn tree(&self) -> Result<ActorInfo, ReadError> {
        let mut request = Request::new(v1::TreeRequest {});
        request.set_timeout(self.deadline);
        let answer = self.inner.clone().tree(request).await.map_err(call)?.into_inner();
        let root = answer.root.ok_or(UnreadableActor::Missing);
        root.and_then(from_wire).map_err(|source| ReadError::Unreadable { source })
    }

    /// Restarts an actor of the other process.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn restart(&self, path: &str) -> Result<(), ReadError> {
        let mut request = Request::new(v1::RestartRequest { path: path.to_owned() });
        request.set_timeout(self.deadline);
        let refused = match self.inner.clone().restart(request).await {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == Code::NotFound => {
                RestartError::NoSuchActor { path: path.to_owned() }
            }
            Err(status) if status.code() == Code::FailedPrecondition => {
                RestartError::Stopping { path: path.to_owned() }
            }
            Err(status) => return Err(call(status)),
        };
        Err(refused.into())
    }
}

fn call(status: Status) -> ReadError {
    ReadError::Call { source: Box::new(status) }
}
