//! Secrets on a node: found in the state, opened for one container, just before it starts.
//!
//! No actor: a value is opened by whoever starts the container, handed to the runtime, and gone. Nothing keeps it.
//!
//! # Why
//! A node has the whole state, sealed secrets too. So what starts again while the leader is away starts with the
//! secrets that it had (product.md P12), and none travels over the network for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mill_drivers::seal::Seal;
use mill_fsm::Cluster;
use mill_model::{Failure, Opened, Pin};
use tokio::sync::watch;

use crate::alloc::words;

/// The sealed secrets that this node knows.
#[derive(Clone)]
pub struct Sealed(watch::Receiver<Arc<Cluster>>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

impl Sealed {
    /// Those of the state as it is published.
    pub const fn of(cluster: watch::Receiver<Arc<Cluster>>) -> Self {
        Self(cluster)
    }

    /// Opens these versions. A daemon that has just started may not have read its log to the end: it waits for what
    /// it doesn't know yet, but no longer than `patience`.
    ///
    /// # Errors
    /// One isn't known, or can't be opened: a failure of the start, which names it and says nothing of its value.
    pub async fn open(&self, seal: &impl Seal, pins: &[Pin], patience: Duration) -> Result<Opened, Failure> {
        if pins.is_empty() {
            return Ok(Opened::default());
        }
        let mut state = self.0.clone();
        let known = |cluster: &Arc<Cluster>| pins.iter().all(|pin| cluster.sealed(pin).is_some());
        // Whoever publishes is gone: what was published last counts.
        let _ = tokio::time::timeout(patience, state.wait_for(known)).await;
        let cluster = Arc::clone(&self.0.borrow());
        pins.iter().map(|pin| Ok((pin.clone(), open_one(&cluster, seal, pin)?))).collect()
    }
}

fn open_one(cluster: &Cluster, seal: &impl Seal, pin: &Pin) -> Result<mill_model::Hidden<Vec<u8>>, Failure> {
    let failed = |detail: String| Failure::SecretUnavailable { secret: Box::new(pin.clone()), detail };
    let version = cluster.sealed(pin).ok_or_else(|| failed("this node doesn't know it".to_owned()))?;
    seal.open(&pin.secret.to_string(), &version.sealed).map_err(|error| failed(words(&error)))
}

#[cfg(test)]
mod tests;
