//! What containerd answers when it doesn't do what it was asked.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use containerd_client::tonic::{Code, Status};
use mill_model::Digest;
use thiserror::Error;

/// A call to containerd failed. Cheap to clone, since callers of one pull share its end.
#[derive(Debug, Clone, Error)]
pub enum RuntimeError {
    /// No answer in time.
    #[error("containerd, asked to {asked}, didn't answer within {}", humane(*after))]
    Deadline {
        /// What was asked.
        asked: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// Nobody listens on the socket, or the connection broke.
    #[error("containerd, asked to {asked}, isn't reachable")]
    Unreachable {
        /// What was asked.
        asked: &'static str,
        /// The transport's word.
        source: Arc<Status>,
    },
    /// What was asked for isn't there.
    #[error("containerd, asked to {asked}, found none")]
    NotFound {
        /// What was asked.
        asked: &'static str,
        /// containerd's word.
        source: Arc<Status>,
    },
    /// What should be made is there.
    #[error("containerd, asked to {asked}, has it already")]
    AlreadyExists {
        /// What was asked.
        asked: &'static str,
        /// containerd's word.
        source: Arc<Status>,
    },
    /// Any other answer.
    #[error("containerd, asked to {asked}, failed")]
    Refused {
        /// What was asked.
        asked: &'static str,
        /// containerd's word.
        source: Arc<Status>,
    },
    /// An answer that lacks what the API promises, or that can't be read.
    #[error("containerd, asked to {asked}, gave an answer that can't be read")]
    Malformed {
        /// What was asked.
        asked: &'static str,
    },
    /// Content that should be smaller.
    #[error("{digest} has more than the {most} bytes that Mill reads of such content")]
    TooLarge {
        /// Of what.
        digest: Digest,
        /// The bound.
        most: u64,
    },
}

impl RuntimeError {
    pub(crate) fn told(asked: &'static str, status: Status) -> Self {
        let code = status.code();
        let source = Arc::new(status);
        match code {
            Code::NotFound => Self::NotFound { asked, source },
            Code::AlreadyExists => Self::AlreadyExists { asked, source },
            // The transport's own errors come as Unavailable or, when a connection breaks under a call, as
            // Unknown or Cancelled with a source; containerd itself says Unavailable for a locked reference.
            Code::Unavailable | Code::Unknown | Code::Cancelled if source.source().is_some() => {
                Self::Unreachable { asked, source }
            }
            _ => Self::Refused { asked, source },
        }
    }

    /// Whether what was asked for isn't there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether containerd itself was out of reach, so that asking again later is right.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Deadline { .. })
    }

    /// containerd's own words, if it had any.
    pub(crate) fn words(&self) -> &str {
        match self {
            Self::Unreachable { source, .. }
            | Self::NotFound { source, .. }
            | Self::AlreadyExists { source, .. }
            | Self::Refused { source, .. } => source.message(),
            Self::Deadline { .. } | Self::Malformed { .. } | Self::TooLarge { .. } => "",
        }
    }

    /// Whether containerd failed with this code.
    pub(crate) fn has_code(&self, code: Code) -> bool {
        match self {
            Self::Refused { source, .. } | Self::Unreachable { source, .. } => source.code() == code,
            _ => false,
        }
    }

    /// A call that answers "there is none" where that is as good as done.
    pub(crate) fn unless_not_found<T>(result: Result<T, Self>) -> Result<Option<T>, Self> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn humane(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// An error and all its sources on one line, for the details that people read.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let status = cause.downcast_ref::<Arc<Status>>().map(AsRef::as_ref).or_else(|| cause.downcast_ref());
        let cause_text = match status {
            // A status prints its code, metadata and headers as well; its message is what was said.
            Some(status) => Status::message(status).to_owned(),
            None => cause.to_string(),
        };
        if !cause_text.is_empty() && !text.ends_with(&cause_text) {
            // Writing to a string can't fail.
            let _ = write!(text, ": {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_what_callers_ask_for() {
        let told = |code| RuntimeError::told("list tasks", Status::new(code, "no container x"));
        assert!(told(Code::NotFound).is_not_found());
        assert!(matches!(told(Code::AlreadyExists), RuntimeError::AlreadyExists { .. }));
        assert!(!told(Code::Unavailable).is_unreachable(), "containerd's own word for a locked reference");
        assert!(told(Code::Unavailable).has_code(Code::Unavailable));
    }

    #[test]
    fn a_chain_says_each_thing_once() {
        let error = RuntimeError::told("start a task", Status::unknown("runc: no such file"));
        assert_eq!(chain(&error), "containerd, asked to start a task, failed: runc: no such file");
    }
}
