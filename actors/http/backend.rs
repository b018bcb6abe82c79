//! What the API asks of its node beyond the replicated state: one small trait, so that this room knows no driver.

use std::future::Future;
use std::sync::Arc;

use futures::Stream;
use mill_api::ApiError;
use mill_api::daemon::{InitRequest, Initialized};
use mill_api::doctor::Finding;
use mill_api::logs::LogStream;
use mill_model::{AllocId, Digest, Failure, ImageRef, Incarnation, Timestamp};

use crate::kit::{ActorInfo, Introspect};

/// The node behind the API.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Lines of one alloc, in order of time, as they are read. Dropped, it ends the reading.
    type Lines: Stream<Item = Result<Line, Unreadable>> + Send + Unpin + 'static;

    /// Wall time.
    fn now(&self) -> Timestamp;

    /// The digest that an image's tag means now; a pinned one answers itself.
    ///
    /// The failure is [`Failure::NoSuchImage`] where the registry says so; anything else may pass.
    fn resolve(&self, image: &ImageRef) -> impl Future<Output = Result<Digest, Failure>> + Send;

    /// How far this node is with fetching a pinned image; `None`: it isn't fetching it, or can't say.
    fn pulling(&self, image: &ImageRef) -> Option<Pulling>;

    /// Reads an alloc's log. An alloc without one has no lines.
    fn logs(
        &self,
        alloc: &AllocId,
        slice: Slice,
    ) -> impl Future<Output = Result<Self::Lines, Unreadable>> + Send;

    /// Makes a new cluster of this node. Answers when the node is a member.
    fn init(&self, request: InitRequest) -> impl Future<Output = Result<Initialized, ApiError>> + Send;

    /// Looks at the machine.
    fn doctor(&self) -> impl Future<Output = Vec<Finding>> + Send;

    /// The daemon's own tree; `None` until it is up.
    fn daemon_actors(&self) -> Option<Introspect>;

    /// The plane's tree.
    fn plane_actors(&self) -> impl Future<Output = Result<ActorInfo, ApiError>> + Send;

    /// Has an actor of the plane started again.
    fn restart_plane_actor(&self, path: &str) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// The plane's process; `None`: it wasn't found.
    fn plane_pid(&self) -> Option<u32>;
}

/// How far a pull is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Pulling {
    /// Bytes there so far.
    pub bytes_done: u64,
    /// All bytes; 0 while not known.
    pub bytes_total: u64,
}

/// Which part of an alloc's log.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Only the last so many lines of those already there.
    pub tail: Option<usize>,
    /// Only lines since then.
    pub since: Option<Timestamp>,
    /// Which runs.
    pub runs: Runs,
    /// Whether to go on with what is written from now on, by later runs too.
    pub follow: bool,
}

/// Which runs of an alloc.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// The last one.
    #[default]
    Current,
    /// The one before the last.
    Previous,
    /// All that are kept.
    All,
    /// This one.
    Only(Incarnation),
}

/// A line that a program wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was captured.
    pub at: Timestamp,
    /// Of which run.
    pub incarnation: Incarnation,
    /// Where it was written.
    pub stream: LogStream,
    /// Without its end.
    pub text: String,
}

/// A log can't be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the log can't be read")]
pub struct Unreadable {
    /// Why.
    pub source: Arc<dyn std::error::Error + Send + Sync>,
}
