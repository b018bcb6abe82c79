//! Why an image can't be had.

use std::sync::Arc;

use mill_model::text::cut;
use mill_model::{Digest, Failure, ImageRef, limits};
use thiserror::Error;

use crate::containerd::{RuntimeError, chain};

/// Why an image can't be had. Cheap to clone: callers that share a pull share its end.
#[derive(Debug, Clone, Error)]
pub enum PullError {
    /// The registry doesn't have it.
    #[error("the registry has no `{image}`")]
    NoSuchImage {
        /// As asked for.
        image: Box<ImageRef>,
    },
    /// The registry has it for other machines only.
    #[error("`{image}` isn't made for this machine ({wanted}), only for {found}")]
    NoSuchPlatform {
        /// As asked for.
        image: Box<ImageRef>,
        /// `linux/amd64`
        wanted: String,
        /// What the index offers.
        found: String,
    },
    /// The registry wants other credentials, or any.
    #[error("the registry doesn't let Mill read `{image}` {} (status {status})", known_as(user.as_deref()))]
    Unauthorized {
        /// As asked for.
        image: Box<ImageRef>,
        /// HTTP status of the refusal.
        status: u16,
        /// As whom it was asked; `None`: as nobody.
        user: Option<String>,
    },
    /// No connection, or none that lasts.
    #[error("the registry of `{image}` can't be reached at {url}")]
    Unreachable {
        /// As asked for.
        image: Box<ImageRef>,
        /// What was asked.
        url: String,
        /// The connection's error.
        source: Arc<reqwest::Error>,
    },
    /// The connection was there, and broke in the middle of an answer.
    #[error("the registry of `{image}` broke off its answer to {url}")]
    BrokenOff {
        /// As asked for.
        image: Box<ImageRef>,
        /// What was asked.
        url: String,
        /// The connection's error.
        source: Arc<reqwest::Error>,
    },
    /// The connection is there, and silent.
    #[error("the registry of `{image}` sent nothing for {seconds} s ({url})")]
    Stalled {
        /// As asked for.
        image: Box<ImageRef>,
        /// What was asked.
        url: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Less came than was announced.
    #[error("{url} ended after {got} of {announced} bytes")]
    Truncated {
        /// What was asked.
        url: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that should have.
        announced: u64,
    },
    /// What came isn't what was asked for.
    #[error("{url} isn't what its digest says: {wanted}")]
    DigestMismatch {
        /// What was asked.
        url: String,
        /// What it should have been.
        wanted: Digest,
    },
    /// Any other status.
    #[error("the registry answered status {status} to {url}")]
    Registry {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// A manifest, index or config that isn't one, is too large, or has layers of a kind that Mill can't unpack.
    #[error("{subject} of `{image}` can't be used: {reason}")]
    Unusable {
        /// As asked for.
        image: Box<ImageRef>,
        /// Which part.
        subject: &'static str,
        /// Why.
        reason: Unusable,
    },
    /// A pull needs a digest, and this reference has none: resolve it first.
    #[error("`{image}` isn't pinned to a digest")]
    NotPinned {
        /// As asked for.
        image: Box<ImageRef>,
    },
    /// TLS can't be set up on this node, say for want of any certificate authority.
    #[error("TLS for registries can't be set up on this node")]
    Tls {
        /// What is missing.
        source: Arc<reqwest::Error>,
    },
    /// containerd couldn't keep or unpack it.
    #[error("the image can't be stored")]
    Runtime(#[from] RuntimeError),
}

fn known_as(user: Option<&str>) -> String {
    match user {
        Some(user) => format!("as `{user}`"),
        None => "without credentials".to_owned(),
    }
}

/// Why a part of an image can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unusable {
    /// It isn't the JSON that it should be.
    #[error("it can't be read (line {line}, column {column})")]
    Json {
        /// Where reading stopped.
        line: usize,
        /// Where reading stopped.
        column: usize,
    },
    /// Too large to be one.
    #[error("it has more than {most} bytes")]
    TooLarge {
        /// The bound.
        most: u64,
    },
    /// A media type that Mill doesn't know.
    #[error("its media type is `{found}`")]
    MediaType {
        /// As given.
        found: String,
    },
    /// More layers than a file system can stack.
    #[error("it has {found} layers, more than can be stacked")]
    Layers {
        /// How many.
        found: usize,
    },
    /// The config knows another number of layers than the manifest.
    #[error("the manifest has {layers} layers, the config {diffs}")]
    LayerCount {
        /// Of the manifest.
        layers: usize,
        /// Of the config.
        diffs: usize,
    },
    /// What was unpacked isn't what the config says.
    #[error("layer {layer} unpacks to {got}, not to {wanted}")]
    Diff {
        /// Counted from 1.
        layer: usize,
        /// What was unpacked.
        got: String,
        /// What the config says.
        wanted: Digest,
    },
}

impl PullError {
    /// Whether trying again can't help until someone changes the config, the registry or its rights.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::NoSuchImage { .. }
            | Self::NoSuchPlatform { .. }
            | Self::Unauthorized { .. }
            | Self::Unusable { .. }
            | Self::NotPinned { .. } => true,
            Self::Registry { status, .. } => matches!(status, 400..=407 | 410..=417),
            Self::Unreachable { .. }
            | Self::BrokenOff { .. }
            | Self::Stalled { .. }
            | Self::Truncated { .. }
            | Self::DigestMismatch { .. }
            | Self::Tls { .. }
            | Self::Runtime(_) => false,
        }
    }

    /// Whether the registry answers, and says that it can't just now.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Registry { status: 408 | 429 | 500..=599, .. })
    }

    /// With its causes, cut to `limits::SEEN_CHARS_MAX` characters: for a line about a pull that goes on.
    pub fn in_short(&self) -> String {
        cut(chain(self), limits::SEEN_CHARS_MAX)
    }

    /// Whether another attempt within the same pull may get further.
    pub(super) fn is_worth_another_attempt(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::BrokenOff { .. }
            | Self::Stalled { .. }
            | Self::Truncated { .. } => true,
            _ => self.is_busy(),
        }
    }
}

impl From<&PullError> for Failure {
    fn from(error: &PullError) -> Self {
        let detail = chain(error);
        match error {
            PullError::NoSuchImage { .. } | PullError::NoSuchPlatform { .. } => Self::NoSuchImage { detail },
            _ => Self::PullFailed { detail },
        }
    }
}
