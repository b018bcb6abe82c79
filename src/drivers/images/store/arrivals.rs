//! Who waits for another to get a blob sees how far it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;

/// How far a blob is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) bytes: u64,
    /// What the last attempt ran into, while nothing has come since.
    pub(super) trouble: Option<String>,
}

/// How far the blobs are that somebody gets or waits for. Others are forgotten.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    names: Mutex<HashMap<String, Weak<watch::Sender<Arrived>>>>,
}

impl Arrivals {
    /// Where it is said and heard how far this one is.
    pub(super) fn of(&self, name: &str) -> Arc<watch::Sender<Arrived>> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|_, arrived| arrived.strong_count() > 0);
        if let Some(arrived) = names.get(name).and_then(Weak::upgrade) {
            return arrived;
        }
        let arrived = Arc::new(watch::Sender::default());
        names.insert(name.to_owned(), Arc::downgrade(&arrived));
        arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_blob_hears_of_the_one_who_gets_it() {
        let arrivals = Arrivals::default();
        let (getter, waiter) = (arrivals.of("a"), arrivals.of("a"));
        let other = arrivals.of("b").subscribe();
        getter.send_replace(Arrived { bytes: 7, trouble: None });
        assert_eq!(waiter.borrow().bytes, 7);
        assert_eq!(other.borrow().bytes, 0);
        drop((getter, waiter));
        assert_eq!(arrivals.of("a").borrow().bytes, 0, "the next one begins anew");
    }
}
