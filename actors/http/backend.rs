//! What the API asks of its node beyond the replicated state: one small trait, so that this room knows no process.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use mill_api::ApiError;
use mill_api::daemon::{InitRequest, Initialized};
use mill_api::doctor::Finding;
use mill_api::pulling::{Layer, Pulling};
use mill_control::fetch::Fetched;
use mill_drivers::containers::Containers;
use mill_drivers::home::NextCa;
use mill_drivers::images::{self, Images, Progress};
use mill_drivers::logs::Logs;
use mill_drivers::seal::Seal;
use mill_model::{ImageRef, NodeName, Timestamp};

use crate::kit::{ActorInfo, Introspect};
use crate::metrics::Used;

/// What a node knows of this moment, beyond what all agree on: of its own containers and images, none of others'.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// How far the images are that it fetches, by image without its tag.
    pub pulls: BTreeMap<ImageRef, Progress>,
    /// How images are that deploys want on it before their allocs do.
    pub ahead: BTreeMap<NodeName, Fetched>,
    /// What its containers use.
    pub used: Arc<Used>,
    /// Why its kernel maps no ports; `None`: it does.
    pub unmapped: Option<String>,
}

impl Moment {
    /// How far it is with fetching a pinned image; `None`: it isn't fetching it.
    pub fn pulling(&self, image: &ImageRef) -> Option<Pulling> {
        self.pulls.get(&image.untagged()).map(pulling)
    }
}

/// A pull in the shape of the API.
fn pulling(progress: &Progress) -> Pulling {
    let layer = |layer: &images::Layer| Layer {
        digest: layer.digest.clone(),
        bytes_done: layer.bytes_done,
        bytes_total: layer.bytes_total,
        unpacked: layer.unpacked,
    };
    Pulling {
        bytes_done: progress.bytes_done(),
        bytes_total: progress.bytes_total(),
        layers: progress.layers.iter().map(layer).collect(),
        trouble: progress.trouble.clone(),
    }
}

/// The node behind the API.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Its images: asked what tags mean.
    type Images: Images;
    /// The output of its containers.
    type Logs: Logs;
    /// What seals and opens secrets.
    type Seal: Seal;
    /// Its containers: programs are run in them.
    type Containers: Containers;

    /// Its images.
    fn images(&self) -> &Self::Images;

    /// The output of its containers.
    fn logs(&self) -> &Self::Logs;

    /// What seals and opens secrets.
    fn seal(&self) -> &Self::Seal;

    /// Its containers.
    fn containers(&self) -> &Self::Containers;

    /// Fills `bytes` with what nobody can guess.
    ///
    /// # Errors
    /// The system gives none.
    fn draw(&self, bytes: &mut [u8]) -> Result<(), ApiError>;

    /// Makes a CA that may become the cluster's, and keeps its key.
    fn next_ca(&self) -> impl Future<Output = Result<NextCa, ApiError>> + Send;

    /// Wall time.
    fn now(&self) -> Timestamp;

    /// What the node knows of this moment, and no log tells.
    fn moment(&self) -> Moment;

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
