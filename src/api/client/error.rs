//! What can go wrong on the way to a cluster.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::DEFAULT_PORT;
use crate::error::{ApiError, Code};
use crate::sse::TooLong;

/// Why a call has no answer that can be used.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody answers at the local socket.
    #[error("the daemon of this machine can't be reached at {}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers at the address.
    #[error("{endpoint} can't be reached")]
    Connect {
        /// The address.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// Somebody answers who can't prove to be of the cluster.
    #[error("{endpoint} isn't the cluster that the token is for")]
    Untrusted {
        /// The address.
        endpoint: String,
        /// What the TLS library saw.
        source: io::Error,
    },
    /// By this machine's clock the certificate isn't valid: it is the clock that is wrong, mostly.
    #[error("{endpoint} has a certificate that isn't valid at this machine's time")]
    Clock {
        /// The address.
        endpoint: String,
        /// What the TLS library saw.
        source: io::Error,
    },
    /// Somebody answers who doesn't speak TLS.
    #[error("{endpoint} isn't Mill's API: what answers there doesn't speak TLS")]
    NotTls {
        /// The address.
        endpoint: String,
        /// What the TLS library saw.
        source: io::Error,
    },
    /// No answer in time.
    #[error("{endpoint} gave no answer within {after:?}")]
    Deadline {
        /// Who.
        endpoint: String,
        /// The deadline.
        after: Duration,
    },
    /// The connection ended before the answer did.
    #[error("the connection to {endpoint} was cut before the answer was complete")]
    Cut {
        /// Who.
        endpoint: String,
        /// Why.
        source: Cut,
    },
    /// The answer isn't what Mill's API says.
    #[error("{endpoint} answered with something that isn't Mill's API")]
    Garbled {
        /// Who.
        endpoint: String,
        /// What was wrong with it.
        source: serde_json::Error,
    },
    /// An error without a body that says why: something else answers there, or something between.
    #[error("{endpoint} answered with status {status} and no explanation")]
    Unexplained {
        /// Who.
        endpoint: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is longer than any that makes sense.
    #[error("{endpoint} answered with more than {max} bytes")]
    TooLarge {
        /// Who.
        endpoint: String,
        /// The bound.
        max: usize,
    },
    /// A stream's event is longer than any that makes sense.
    #[error("{endpoint} sent an event without end")]
    Endless {
        /// Who.
        endpoint: String,
        /// The bound.
        source: TooLong,
    },
    /// The request can't be written down.
    #[error("the request can't be sent")]
    Request {
        /// Why.
        source: serde_json::Error,
    },
    /// The cluster refused, and says why.
    #[error(transparent)]
    Refused(Box<ApiError>),
}

/// How a connection was cut.
#[derive(Debug, Error)]
pub enum Cut {
    /// It broke.
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    /// It broke after it had become a WebSocket.
    #[error("the connection broke")]
    Socket(#[source] Box<tokio_tungstenite::tungstenite::Error>),
    /// It ended in good order, but too early.
    #[error("the stream ended without its end")]
    Early,
    /// It was lost again and again before anything came.
    #[error("each new connection was lost as well")]
    Unsteady,
    /// Nothing was heard any more.
    #[error("nothing was heard for {0:?}")]
    Silent(Duration),
}

impl ClientError {
    /// Whether nobody could be asked, or nobody answered: the cluster may be well.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Socket { .. }
            | Self::Connect { .. }
            | Self::Deadline { .. }
            | Self::Cut { .. }
            | Self::Unexplained { .. } => true,
            Self::Refused(error) => {
                matches!(error.code, Code::Unavailable | Code::Deadline | Code::Overloaded)
            }
            _ => false,
        }
    }

    /// Whether a stream should try again.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Refused(error) => error.code.is_transient(),
            other => other.is_unreachable(),
        }
    }

    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Socket { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => "the socket is root's: try again with sudo",
                _ => "`mill daemon` is one, or `mill dev` to try Mill out; `mill doctor` looks for more",
            },
            Self::Connect { .. } => {
                "is the daemon up there, and is the port open? `mill doctor` on the node looks for more"
            }
            Self::Untrusted { .. } => {
                "the address or the token belongs to another cluster, or somebody sits between: don't send the token elsewhere before this is clear"
            }
            Self::Clock { .. } => {
                "is the clock right, here and on the node (`date`)? `mill cert list`, there, shows when certificates end"
            }
            Self::NotTls { .. } => {
                return Some(format!(
                    "is that the port of the API? It is {DEFAULT_PORT} unless the node's config says otherwise"
                ));
            }
            Self::Deadline { .. } => {
                "whether it was done isn't known: `mill status` shows; `mill actors` shows what the node is busy with"
            }
            Self::Cut { .. } => "whether it was done isn't known: `mill status` shows",
            Self::Garbled { .. } | Self::Endless { .. } | Self::TooLarge { .. } => {
                "the address may be another program's, or Mill's of another version: compare `mill --version` here and there"
            }
            Self::Unexplained { .. } => {
                "something else answers there, or a proxy between: Mill always says why"
            }
            Self::Request { .. } => "this is a defect of Mill: please report it with the command",
            Self::Refused(error) => {
                return error.hint.clone().or_else(|| Some(default_hint(error.code).to_owned()));
            }
        };
        Some(text.to_owned())
    }
}

/// What to do about a refusal that doesn't say.
const fn default_hint(code: Code) -> &'static str {
    match code {
        Code::Unauthorized => "MILL_TOKEN, or the context, holds another cluster's or an expired token",
        Code::Forbidden => "ask an admin of the cluster for a token that may",
        Code::NotFound => "`mill services`, `mill allocs --all` and `mill nodes` list what there is",
        Code::Ambiguous => "say which: PROJECT/SERVICE for a service, the whole id for an alloc",
        Code::Overloaded | Code::Unavailable | Code::Deadline => {
            "try again in a moment; `mill doctor` on the node looks for the cause"
        }
        Code::Crashed => "the part that failed was started again: try again; `mill actors` shows its error",
        Code::NoImage => "check the image's name and tag, and that it was pushed",
        Code::Conflict | Code::Unplaceable => "`mill status` shows how things stand",
        Code::NotYet => "a later version of Mill does this",
        Code::BadConfig => "put it right; nothing was changed",
        Code::BadRequest | Code::TooLarge => "`--help` shows what the command takes",
        // What this client asks, a server of its version takes.
        Code::BadMethod | Code::Unknown => {
            "the cluster runs another version of Mill: compare `mill --version` here and there"
        }
    }
}

#[cfg(test)]
mod hints {
    use super::*;

    #[test]
    fn every_refusal_has_a_hint_even_if_the_server_gave_none() {
        for code in Code::ALL.into_iter().chain([Code::Unknown]) {
            let error = ClientError::Refused(Box::new(ApiError::new(code, "no")));
            assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{code:?}");
        }
        let error = ClientError::Refused(Box::new(ApiError::new(Code::Conflict, "no").hint("wait")));
        assert_eq!(error.hint().as_deref(), Some("wait"));
    }
}
