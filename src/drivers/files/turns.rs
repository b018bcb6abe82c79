//! One at a time, per name: the second to come finds the first one's work done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// Turns by name. Names that nobody waits for are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    names: Mutex<HashMap<String, Weak<Turn<()>>>>,
}

impl Turns {
    /// Waits until nobody else holds this name's turn.
    pub(crate) async fn take(&self, name: &str) -> OwnedMutexGuard<()> {
        self.of(name).lock_owned().await
    }

    fn of(&self, name: &str) -> Arc<Turn<()>> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = names.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(Turn::new(()));
        names.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_name_is_one_turn_and_another_name_another() {
        let turns = Turns::default();
        let held = turns.take("a").await;
        let other = turns.take("b").await;
        assert!(turns.of("a").try_lock().is_err());
        drop((held, other));
        assert!(turns.of("a").try_lock().is_ok());
        assert_eq!(turns.names.lock().unwrap().len(), 1, "what nobody holds is forgotten");
    }
}
