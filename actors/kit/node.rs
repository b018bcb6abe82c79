//! An actor's place in the tree, over all its lives.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::life::Life;
use super::stats::Stats;

/// Where an actor is in its tree: `daemon/agent/allocs/web-7k2f`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Path(Arc<str>);

impl Path {
    pub(super) fn root(name: &str) -> Self {
        Self(name.into())
    }

    pub(super) fn join(&self, name: &str) -> Self {
        Self(format!("{self}/{name}").into())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Path {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.0.as_ref().to_owned()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a keeper is told.
pub(super) enum Order {
    /// End it in order, by this time.
    Stop { deadline: Instant },
    /// Kill it and start it again; answered when that is done.
    Restart(oneshot::Sender<()>),
}

/// A place in the tree.
pub(super) struct Node {
    pub(super) path: Path,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) stats: Stats,
    /// Fired when the keeper has ended: there will be no further life.
    pub(super) ended: CancellationToken,
    /// The last crash, if the keeper gave up for too many.
    pub(super) gave_up: OnceLock<String>,
    orders: mpsc::UnboundedSender<Order>,
    family: Mutex<Family>,
    current: Mutex<Option<Arc<Life>>>,
}

/// The children of a life.
#[derive(Default)]
pub(super) struct Family {
    /// No more children are taken in.
    pub(super) closed: bool,
    /// Those with a name of their own.
    pub(super) living: BTreeMap<String, Arc<Node>>,
    /// Those told to go. Their names are free; a successor waits for their end.
    pub(super) leaving: Vec<Arc<Node>>,
    /// Slots of children, by name, so that addresses that someone kept reach the child of the next life.
    slots: BTreeMap<String, Weak<dyn Any + Send + Sync>>,
}

impl Family {
    pub(super) fn everyone(&self) -> Vec<Arc<Node>> {
        self.living.values().chain(&self.leaving).cloned().collect()
    }

    /// The slot that a child of this name had in an earlier life of its parent, if an address of it is still held.
    pub(super) fn remembered<S: Any + Send + Sync>(&self, name: &str) -> Option<Arc<S>> {
        self.slots.get(name)?.upgrade()?.downcast().ok()
    }

    pub(super) fn remember(&mut self, name: &str, slot: Weak<dyn Any + Send + Sync>) {
        self.slots.retain(|_, slot| slot.strong_count() > 0);
        self.slots.insert(name.to_owned(), slot);
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.slots.remove(name);
    }
}

impl Node {
    pub(super) fn new(
        path: Path,
        name: String,
        kind: &'static str,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Order>) {
        let (orders, receiver) = mpsc::unbounded_channel();
        let node = Self {
            path,
            name,
            kind,
            stats: Stats::new(),
            ended: CancellationToken::new(),
            gave_up: OnceLock::new(),
            orders,
            family: Mutex::default(),
            current: Mutex::default(),
        };
        (Arc::new(node), receiver)
    }

    pub(super) fn family(&self) -> MutexGuard<'_, Family> {
        self.family.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn current(&self) -> Option<Arc<Life>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_current(&self, life: Option<Arc<Life>>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = life;
    }

    /// Tells the keeper; false if it has ended.
    pub(super) fn order(&self, order: Order) -> bool {
        self.orders.send(order).is_ok()
    }
}
