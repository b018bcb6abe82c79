//! Images on their way to nodes before the allocs that need them (product.md §5, step 3).
//!
//! # How it goes
//! 1. From the deploys under way the leader knows which images their unfinished steps will start, and on which nodes.
//!    It tells each node its [`Fetches`]: always all of them, so that what isn't among them any more is let go.
//! 2. The node gets them all at once, tries again what fails, and keeps them from being collected. Whenever one's
//!    state changes it says how all of them are: [`Fetched`].
//! 3. A stop-first step stops a replica only when the node that will run its successor has said that the image is
//!    there. It turns back, with nothing stopped, when the node fails to get it for good.
//!
//! # Why
//! Nothing of this is replicated. What is wanted follows from the deploys; what is there, each node says in its
//! session, and says again in the next one. A start-first step waits for no word: its alloc's own pull joins the one
//! under way.

use std::collections::BTreeMap;

use mill_model::{DeployId, ImageRef, NodeId};
use mill_scheduler::Failing;

/// Images that a node shall get before allocs need them, each with the latest deploy that wants it: for a new deploy
/// it is looked anew whether it is there, and failures are counted from the first.
pub type Fetches = BTreeMap<ImageRef, DeployId>;

/// What a node says of all images that it was told to get.
pub type Fetched = BTreeMap<ImageRef, Fetch>;

/// How far a node is with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// For which deploy.
    pub deploy: DeployId,
    /// How far.
    pub state: FetchState,
}

/// How far a node is with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchState {
    /// It is on its way.
    UnderWay,
    /// It is there, and stays as long as it is wanted.
    Here,
    /// It didn't come; it is tried again.
    Failing(Failing),
}

/// What a leader has asked for and heard in its sessions. It is lost with its reign.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Fetching {
    /// What its last decision asked for.
    pub asked: BTreeMap<NodeId, Fetches>,
    /// What each node has said in the session that is open.
    pub said: BTreeMap<NodeId, Fetched>,
}

impl Fetching {
    /// What a node has said of an image since `deploy` asked for it.
    pub fn heard(&self, node: NodeId, image: &ImageRef, deploy: DeployId) -> Option<&FetchState> {
        let fetch = self.said.get(&node)?.get(image)?;
        (fetch.deploy >= deploy).then_some(&fetch.state)
    }
}
