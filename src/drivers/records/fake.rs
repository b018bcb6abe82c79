//! Records in memory, shared by its clones: what survives a daemon in tests.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mill_model::{AllocId, Phase};

use super::{Kept, Listed, Records, RecordsError};

/// A disk that can be told to be full or read-only, and to have damaged what it holds.
#[derive(Debug, Default, Clone)]
pub struct FakeRecords {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    kept: BTreeMap<AllocId, Kept>,
    damaged: bool,
    full: bool,
    read_only: bool,
    writes: u64,
}

impl FakeRecords {
    /// Refuses each write from now on, or takes them again.
    pub fn be_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Refuses each change from now on, or takes them again.
    pub fn be_read_only(&self, read_only: bool) {
        self.lock().read_only = read_only;
    }

    /// Loses what it holds of one alloc.
    pub fn forget(&self, alloc: &AllocId) {
        self.lock().kept.remove(alloc);
    }

    /// Says of everything that it is damaged.
    pub fn be_damaged(&self, damaged: bool) {
        self.lock().damaged = damaged;
    }

    /// Writes so far.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(alloc: &AllocId) -> PathBuf {
        PathBuf::from(format!("{alloc}/record"))
    }
}

impl State {
    fn look(&self, alloc: &AllocId, kept: &Kept) -> Result<Kept, RecordsError> {
        match self.damaged {
            true => Err(RecordsError::Damaged { path: FakeRecords::path(alloc) }),
            false => Ok(kept.clone()),
        }
    }

    /// Why nothing can be changed, if so.
    fn refusal(&self, doing: &'static str, alloc: &AllocId) -> Result<(), RecordsError> {
        let kind = match (self.read_only, self.full && doing == "write") {
            (true, _) => io::ErrorKind::ReadOnlyFilesystem,
            (false, true) => io::ErrorKind::StorageFull,
            (false, false) => return Ok(()),
        };
        Err(RecordsError::Disk { doing, path: FakeRecords::path(alloc), source: kind.into() })
    }
}

impl Records for FakeRecords {
    async fn write(&self, alloc: &AllocId, bytes: Vec<u8>) -> Result<(), RecordsError> {
        let mut state = self.lock();
        state.refusal("write", alloc)?;
        state.writes += 1;
        state.kept.insert(alloc.clone(), Kept { bytes, over: None });
        Ok(())
    }

    async fn mark_over(&self, alloc: &AllocId, phase: Phase) -> Result<(), RecordsError> {
        let mut state = self.lock();
        state.refusal("mark", alloc)?;
        if let Some(kept) = state.kept.get_mut(alloc) {
            kept.over = Some(phase);
        }
        Ok(())
    }

    async fn read(&self, alloc: &AllocId) -> Result<Option<Kept>, RecordsError> {
        let state = self.lock();
        state.kept.get(alloc).map(|kept| state.look(alloc, kept)).transpose()
    }

    async fn list(&self) -> Result<Vec<Listed>, RecordsError> {
        let state = self.lock();
        let listed =
            |(alloc, kept): (&AllocId, &Kept)| Listed { alloc: alloc.clone(), kept: state.look(alloc, kept) };
        Ok(state.kept.iter().map(listed).collect())
    }

    async fn remove(&self, alloc: &AllocId) -> Result<(), RecordsError> {
        let mut state = self.lock();
        state.refusal("remove", alloc)?;
        state.kept.remove(alloc);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_keeps_refuses_damages_and_forgets_as_told() {
        let (records, alloc) = (FakeRecords::default(), "web-aaaa".parse().unwrap());
        let kept = |over| Some(Kept { bytes: b"a".to_vec(), over });
        records.write(&alloc, b"a".to_vec()).await.unwrap();
        records.be_full(true);
        assert!(records.write(&alloc, b"b".to_vec()).await.is_err());
        assert_eq!(records.clone().read(&alloc).await.unwrap(), kept(None));
        records.be_read_only(true);
        assert!(records.mark_over(&alloc, Phase::Failed).await.is_err());
        assert!(records.remove(&alloc).await.is_err());
        records.be_read_only(false);
        records.mark_over(&alloc, Phase::Failed).await.unwrap();
        assert_eq!(records.read(&alloc).await.unwrap(), kept(Some(Phase::Failed)));
        records.be_damaged(true);
        assert!(records.list().await.unwrap()[0].kept.as_ref().unwrap_err().is_damage());
        records.be_damaged(false);
        records.forget(&alloc);
        assert_eq!(records.read(&alloc).await.unwrap(), None);
        assert_eq!(records.writes(), 1);
    }
}
