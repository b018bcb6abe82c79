//! What the API asks of its node beyond the replicated state: one small trait, so that this room knows no process.

use std::future::Future;

use mill_api::ApiError;
use mill_api::daemon::{InitRequest, Initialized};
use mill_api::doctor::Finding;
use mill_drivers::images::{Images, Progress};
use mill_drivers::logs::Logs;
use mill_model::{ImageRef, Timestamp};

use crate::kit::{ActorInfo, Introspect};

/// The node behind the API.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Its images: asked what tags mean.
    type Images: Images;
    /// The output of its containers.
    type Logs: Logs;

    /// Its images.
    fn images(&self) -> &Self::Images;

    /// The output of its containers.
    fn logs(&self) -> &Self::Logs;

    /// Wall time.
    fn now(&self) -> Timestamp;

    /// How far the node is with fetching a pinned image; `None`: it isn't fetching it, or can't say.
    fn pulling(&self, image: &ImageRef) -> Option<Progress>;

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
