//! The root of a tree: started, looked at, stopped, mourned.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use mill_model::Tempo;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::actor::{Actor, Crash, Message};
use super::address::{Address, Slot};
use super::introspect::Introspect;
use super::life::World;
use super::node::{Node, Order, Path};
use super::supervise::{Keeper, Place, Restart, kind_of};

/// A running tree. Dropped, it is killed.
pub struct Tree<M> {
    root: Address<M>,
    node: Arc<Node>,
    world: Arc<World>,
    dropped: CancellationToken,
}

/// Why a tree didn't come up. Nothing of it is left.
#[derive(Debug, Error)]
#[error("failed to start `{name}`")]
pub struct StartError {
    /// The root's name.
    pub name: String,
    /// What its `start` said.
    pub source: Box<dyn Error + Send + Sync>,
}

/// What couldn't be stopped: it holds a thread without an await. The process should leave.
#[derive(Debug, Error)]
#[error("did not stop within {deadline:?}: {}", list(.stuck))]
pub struct StopError {
    /// How long was waited.
    pub deadline: Duration,
    /// Who still runs.
    pub stuck: Vec<Path>,
}

/// How a tree ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// In order: it was told to, or its root stopped by itself.
    Stopped,
    /// The root crashed too often, or a child of it did.
    GaveUp {
        /// The root's last crash.
        error: String,
    },
}

impl<M: Message> Tree<M> {
    /// Starts a tree with `A` at its root, and waits until that is up.
    ///
    /// The current tracing span becomes the parent of each actor's.
    ///
    /// # Errors
    /// The root's first start failed. Later crashes restart it, up to the budget.
    pub async fn start<A: Actor<Msg = M>>(
        name: &str,
        args: A::Args,
        tempo: Arc<Tempo>,
    ) -> Result<Self, StartError> {
        let path = Path::root(name);
        let slot = Arc::new(Slot::new(path.clone(), A::MAILBOX_MAX));
        let (node, orders) = Node::new(path, name.to_owned(), kind_of::<A>());
        let world = Arc::new(World { tempo, span: Span::current() });
        let (first, up) = oneshot::channel();
        let place = Place { slot: Arc::clone(&slot), node: Arc::clone(&node), orders };
        let mut keeper: Keeper<A> = Keeper::new(place, args, Restart::OnCrash, Arc::clone(&world));
        keeper.first = Some(first);
        let tree = Self { root: Address::of(slot), node, world, dropped: keeper.orphaned.clone() };
        let body = keeper.launch();
        tokio::spawn(keeper.keep(Some(body), None));
        match up.await.unwrap_or_else(|_| Err(Crash::because("it stopped before it was up"))) {
            Ok(()) => Ok(tree),
            Err(crash) => {
                tree.node.ended.cancelled().await;
                Err(StartError { name: name.to_owned(), source: crash.into_error() })
            }
        }
    }

    /// Where to send to the root.
    pub fn root(&self) -> Address<M> {
        self.root.clone()
    }

    /// A view of the tree, to hand out.
    pub fn introspect(&self) -> Introspect {
        Introspect::new(Arc::clone(&self.node), Arc::clone(&self.world.tempo))
    }

    /// Ends the tree, children first. A tenth of the time is kept for killing what doesn't stop.
    ///
    /// # Errors
    /// Something holds a thread without an await, and can't be killed.
    pub async fn stop(&self, deadline: Duration) -> Result<(), StopError> {
        let begun = Instant::now();
        self.node.order(Order::Stop { deadline: begun + deadline * 9 / 10 });
        let ended = tokio::time::timeout_at(begun + deadline, self.node.ended.cancelled()).await;
        ended.map_err(|_| StopError { deadline, stuck: running(&self.node) })
    }

    /// Waits until the tree has ended.
    pub async fn ended(&self) -> Ended {
        self.node.ended.cancelled().await;
        let error = self.node.gave_up.get().cloned();
        error.map_or(Ended::Stopped, |error| Ended::GaveUp { error })
    }
}

impl<M> Drop for Tree<M> {
    fn drop(&mut self) {
        self.dropped.cancel();
    }
}

/// The innermost actors that still run: whoever waits only for them isn't named.
fn running(node: &Arc<Node>) -> Vec<Path> {
    let children = node.family().everyone();
    let stuck: Vec<Path> = children.iter().flat_map(running).collect();
    match stuck.is_empty() && !node.ended.is_cancelled() {
        true => vec![node.path.clone()],
        false => stuck,
    }
}

fn list(paths: &[Path]) -> String {
    paths.iter().map(Path::as_str).collect::<Vec<_>>().join(", ")
}
