//! Records in memory, shared by its clones: what survives a daemon in tests.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mill_model::AllocId;

use super::{Listed, Records, RecordsError};

/// A disk that can be told to be full, and to have damaged what it holds.
#[derive(Debug, Default, Clone)]
pub struct FakeRecords {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    kept: BTreeMap<AllocId, Vec<u8>>,
    damaged: bool,
    full: bool,
    writes: u64,
}

impl FakeRecords {
    /// Refuses each write from now on, or takes them again.
    pub fn be_full(&self, full: bool) {
        self.lock().full = full;
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
    fn look(&self, alloc: &AllocId, bytes: &[u8]) -> Result<Vec<u8>, RecordsError> {
        match self.damaged {
            true => Err(RecordsError::Damaged { path: FakeRecords::path(alloc) }),
            false => Ok(bytes.to_vec()),
        }
    }
}

impl Records for FakeRecords {
    async fn write(&self, alloc: &AllocId, bytes: Vec<u8>) -> Result<(), RecordsError> {
        let mut state = self.lock();
        if state.full {
            let source = io::ErrorKind::StorageFull.into();
            return Err(RecordsError::Disk { doing: "write", path: Self::path(alloc), source });
        }
        state.writes += 1;
        state.kept.insert(alloc.clone(), bytes);
        Ok(())
    }

    async fn read(&self, alloc: &AllocId) -> Result<Option<Vec<u8>>, RecordsError> {
        let state = self.lock();
        state.kept.get(alloc).map(|bytes| state.look(alloc, bytes)).transpose()
    }

    async fn list(&self) -> Result<Vec<Listed>, RecordsError> {
        let state = self.lock();
        let listed = |(alloc, bytes): (&AllocId, &Vec<u8>)| Listed {
            alloc: alloc.clone(),
            bytes: state.look(alloc, bytes),
        };
        Ok(state.kept.iter().map(listed).collect())
    }

    async fn remove(&self, alloc: &AllocId) -> Result<(), RecordsError> {
        self.lock().kept.remove(alloc);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_keeps_refuses_damages_and_forgets_as_told() {
        let (records, alloc) = (FakeRecords::default(), "web-aaaa".parse().unwrap());
        records.write(&alloc, b"a".to_vec()).await.unwrap();
        records.be_full(true);
        assert!(records.write(&alloc, b"b".to_vec()).await.is_err());
        assert_eq!(records.clone().read(&alloc).await.unwrap(), Some(b"a".to_vec()));
        records.be_damaged(true);
        assert!(records.list().await.unwrap()[0].bytes.as_ref().unwrap_err().is_damage());
        records.be_damaged(false);
        records.forget(&alloc);
        assert_eq!(records.read(&alloc).await.unwrap(), None);
        assert_eq!(records.writes(), 1);
    }
}
