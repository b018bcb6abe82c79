//! How far the node's pulls are, for whoever looks: no mailbox stands between a pull and its watchers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mill_control::fetch::Fetched;
use mill_drivers::images::Progress;
use mill_model::{ImageRef, NodeName};
use tokio::sync::watch;

/// The pulls under way. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Pulls {
    /// By image, without its tag. One whose sender is gone is over; a pull says nothing before it is known that the
    /// image isn't here.
    watched: Arc<Mutex<BTreeMap<ImageRef, watch::Receiver<Option<Progress>>>>>,
    ahead: Arc<Mutex<BTreeMap<NodeName, Fetched>>>,
}

impl Pulls {
    /// How far each is.
    pub fn now(&self) -> BTreeMap<ImageRef, Progress> {
        let watched = self.lock();
        let alive = watched.iter().filter(|(_, numbers)| is_alive(numbers));
        alive.filter_map(|(image, numbers)| Some((image.clone(), numbers.borrow().clone()?))).collect()
    }

    /// How images are that the leader wants on this node before allocs need them.
    pub fn ahead(&self) -> BTreeMap<NodeName, Fetched> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All of these are wanted, and so they are.
    pub(crate) fn tell_ahead(&self, node: NodeName, fetched: Fetched) {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).insert(node, fetched);
    }

    /// A pull has begun. It is over when the sender is dropped.
    pub(super) fn begin(&self, image: ImageRef) -> watch::Sender<Option<Progress>> {
        let sender = watch::Sender::new(None);
        let mut watched = self.lock();
        watched.retain(|_, numbers| is_alive(numbers));
        watched.insert(image, sender.subscribe());
        sender
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ImageRef, watch::Receiver<Option<Progress>>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_alive(numbers: &watch::Receiver<Option<Progress>>) -> bool {
    numbers.has_changed().is_ok()
}
