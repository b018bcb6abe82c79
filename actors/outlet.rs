//! Where a room sends what another room wants, without knowing that room's messages.

use std::fmt;
use std::sync::Arc;

use crate::kit::Unreachable;

type Way<M> = dyn Fn(M) -> Result<(), Unreachable> + Send + Sync;

/// A way to tell someone `M`: an address, and how to put `M` into its messages.
pub struct Outlet<M> {
    send: Arc<Way<M>>,
}

impl<M> Outlet<M> {
    /// An outlet that sends by `send`, usually `move |news| address.tell(Msg::News(news))`.
    pub fn new(send: impl Fn(M) -> Result<(), Unreachable> + Send + Sync + 'static) -> Self {
        Self { send: Arc::new(send) }
    }

    /// Sends.
    ///
    /// # Errors
    /// The one at the other end is between two lives, or gone.
    pub fn tell(&self, news: M) -> Result<(), Unreachable> {
        (self.send)(news)
    }
}

impl<M> Clone for Outlet<M> {
    fn clone(&self) -> Self {
        Self { send: Arc::clone(&self.send) }
    }
}

impl<M> fmt::Debug for Outlet<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outlet")
    }
}
