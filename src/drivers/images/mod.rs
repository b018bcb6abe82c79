//! Images: what a tag means, and getting the layers onto this node.
//!
//! The real one, [`Store`], pulls by itself from registries into containerd's content store, since containerd
//! 1.6 has no transfer service. What containers are made from never leaves containerd.

use std::collections::BTreeSet;
use std::future::Future;

use mill_model::{Digest, ImageRef, Timestamp};

pub use config::ImageConfig;
pub use error::{PullError, Unusable};
pub use fake::FakeImages;
pub use logins::{Login, Logins};
pub use store::Store;
pub(crate) use store::{CHAIN_LABEL, ready};

mod config;
mod error;
mod fake;
mod logins;
mod manifest;
mod registry;
mod store;

/// A node's images.
pub trait Images: Clone + Send + Sync + 'static {
    /// From now on the node is known so to registries, and to others not at all.
    fn know(&self, logins: Logins);

    /// The digest that a tag means now, without getting the image. A pinned reference answers itself.
    fn resolve(&self, image: &ImageRef) -> impl Future<Output = Result<Digest, PullError>> + Send;

    /// Gets a pinned image, ready to start from; at once when it is there. Several calls for one digest share one
    /// pull; a pull stops when nobody waits for it any more, and the next goes on where it stopped.
    ///
    /// `progress` is told the newest numbers, not each of them: at once that the image isn't here, then at most every
    /// `Tempo::pull_shown_every`, and at last how it ended well. An image that is here is never told of.
    fn pull(
        &self,
        image: &ImageRef,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> impl Future<Output = Result<(), PullError>> + Send;

    /// What is ready to start from.
    fn list(&self) -> impl Future<Output = Result<Vec<Stored>, PullError>> + Send;

    /// Removes the images that aren't in `keep`, and what belonged only to them. What a container still runs from
    /// stays until the container is removed.
    fn remove_unused(
        &self,
        keep: &BTreeSet<Digest>,
    ) -> impl Future<Output = Result<Collected, PullError>> + Send;
}

/// How far a pull is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Layers of the image, the lowest first; none until its manifest is known.
    pub layers: Vec<Layer>,
    /// What the last attempt ran into, while nothing has come since. At most `limits::SEEN_CHARS_MAX` characters.
    pub trouble: Option<String>,
}

/// How far a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Of its compressed bytes.
    pub digest: Digest,
    /// Bytes that have arrived or were here, compressed.
    pub bytes_done: u64,
    /// All its bytes, compressed.
    pub bytes_total: u64,
    /// Whether it is unpacked: containers can be made from it.
    pub unpacked: bool,
}

impl Progress {
    /// Bytes that have arrived or were here, compressed.
    pub fn bytes_done(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes_done).sum()
    }

    /// Bytes of all layers, compressed; 0 while not known.
    pub fn bytes_total(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes_total).sum()
    }

    /// Layers that are unpacked.
    pub fn unpacked(&self) -> usize {
        self.layers.iter().filter(|layer| layer.unpacked).count()
    }
}

/// An image on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What was pulled: registry, repository and digest; no tag.
    pub image: ImageRef,
    /// The digest asked for: of the manifest, or of the index that names it.
    pub digest: Digest,
    /// Compressed bytes of its layers.
    pub bytes: u64,
    /// When the pull ended, by the node's clock.
    pub pulled_at: Timestamp,
}

/// What a collection removed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// Images.
    pub images: u32,
    /// Unpacked layers.
    pub snapshots: u32,
    /// Bytes on disk: blobs and unpacked layers.
    pub bytes: u64,
}
