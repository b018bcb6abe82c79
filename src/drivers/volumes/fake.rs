//! Ephemeral volumes that are names only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mill_model::names::VolumeName;
use mill_model::{AllocId, Bytes};

use super::{Scratch, ScratchError};

/// Ephemeral volumes of a node in a test. Clones share state.
#[derive(Debug, Clone, Default)]
pub struct FakeScratch {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    volumes: BTreeMap<AllocId, BTreeSet<VolumeName>>,
    failures: Vec<ScratchError>,
}

impl FakeScratch {
    /// The next call fails so; several are used up in order.
    pub fn fail_next(&self, error: ScratchError) {
        self.state().failures.push(error);
    }

    /// What there is.
    pub fn volumes(&self) -> BTreeMap<AllocId, BTreeSet<VolumeName>> {
        self.state().volumes.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> Result<MutexGuard<'_, State>, ScratchError> {
        let mut state = self.state();
        match state.failures.is_empty() {
            true => Ok(state),
            false => Err(state.failures.remove(0)),
        }
    }
}

impl Scratch for FakeScratch {
    async fn make(
        &self,
        alloc: &AllocId,
        volume: &VolumeName,
        _size: Option<Bytes>,
    ) -> Result<PathBuf, ScratchError> {
        self.ready()?.volumes.entry(alloc.clone()).or_default().insert(volume.clone());
        Ok(PathBuf::from(format!("/fake/{alloc}/{volume}")))
    }

    async fn remove(&self, alloc: &AllocId) -> Result<(), ScratchError> {
        self.ready()?.volumes.remove(alloc);
        Ok(())
    }

    async fn leftovers(&self, known: &BTreeSet<AllocId>) -> Result<BTreeSet<AllocId>, ScratchError> {
        Ok(self.ready()?.volumes.keys().filter(|alloc| !known.contains(alloc)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_fake_keeps_what_is_made_until_it_is_removed() {
        let scratch = FakeScratch::default();
        let (alloc, volume) = ("web-2222".parse::<AllocId>().unwrap(), VolumeName::new("tmp").unwrap());
        scratch.make(&alloc, &volume, None).await.unwrap();
        assert_eq!(scratch.leftovers(&BTreeSet::new()).await.unwrap(), [alloc.clone()].into());
        assert_eq!(scratch.leftovers(&[alloc.clone()].into()).await.unwrap(), BTreeSet::new());
        scratch.fail_next(ScratchError::NotInstalled { program: "mount" });
        assert!(scratch.remove(&alloc).await.is_err());
        scratch.remove(&alloc).await.unwrap();
        assert!(scratch.volumes().is_empty());
    }
}
