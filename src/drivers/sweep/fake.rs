//! A machine that is a list.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Found, Kind, Left, Owner, Sweep, SweepError, system};

/// Leftovers that are names only. Clones share state.
#[derive(Debug, Clone, Default)]
pub struct FakeSweep {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    owners: Vec<Owner>,
    found: Found,
    stuck: Option<String>,
    closed: u32,
}

impl FakeSweep {
    /// A machine on which these are left.
    pub fn of(left: &[(Kind, &str)]) -> Self {
        let fake = Self::default();
        fake.state().found.left = left.iter().map(|(kind, name)| Left::of(*kind, *name)).collect();
        fake
    }

    /// Somebody lives there.
    pub fn occupy(&self, owner: Owner) {
        self.state().owners.push(owner);
    }

    /// Something of somebody else's lies among it.
    pub fn add_foreign(&self, kind: Kind, name: &str) {
        self.state().found.foreign.push(Left::of(kind, name));
    }

    /// What is called so doesn't go.
    pub fn make_stuck(&self, name: &str) {
        self.state().stuck = Some(name.to_owned());
    }

    /// What is left.
    pub fn left(&self) -> Vec<Left> {
        self.state().found.left.clone()
    }

    /// How often looking was ended.
    pub fn closed(&self) -> u32 {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sweep for FakeSweep {
    async fn claim(&mut self) -> Result<Vec<Owner>, SweepError> {
        Ok(self.state().owners.clone())
    }

    async fn find(&mut self) -> Result<Found, SweepError> {
        Ok(self.state().found.clone())
    }

    async fn remove(&mut self, left: &Left) -> Result<(), SweepError> {
        let mut state = self.state();
        if state.stuck.as_ref() == Some(&left.name) {
            return Err(system("remove", left.name.as_ref())(io::ErrorKind::ResourceBusy.into()));
        }
        state.found.left.retain(|other| other != left);
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SweepError> {
        self.state().closed += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_fake_keeps_what_is_stuck_and_no_more() {
        let mut fake = FakeSweep::of(&[(Kind::Container, "web-2222.1"), (Kind::Mount, "/m")]);
        fake.make_stuck("/m");
        for left in fake.find().await.unwrap().left {
            assert_eq!(fake.remove(&left).await.is_err(), left.kind == Kind::Mount);
        }
        assert_eq!(fake.left(), [Left::of(Kind::Mount, "/m")]);
        fake.close().await.unwrap();
        assert_eq!(fake.closed(), 1);
    }
}
