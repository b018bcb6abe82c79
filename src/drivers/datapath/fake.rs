//! A datapath in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Datapath, DatapathError, Entry, Mapping, Mended, Mode, NodeNet};
use crate::containers::ContainerName;

/// Entries of a node in a test. Clones share state, which outlives the Mill that uses it, as the kernel's does.
#[derive(Debug, Clone, Default)]
pub struct FakeDatapath {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    maps: bool,
    broken: bool,
    lies: bool,
    slow: Duration,
    attached: bool,
    node: Option<NodeNet>,
    entries: BTreeMap<ContainerName, Mapping>,
}

impl FakeDatapath {
    /// A kernel that can, from the next daemon on; a fresh one can't.
    pub fn be_able(&self) {
        self.lock().maps = true;
    }

    /// Nothing works, or does again. What is attached maps on.
    pub fn be_broken(&self, broken: bool) {
        self.lock().broken = broken;
    }

    /// Each call takes this long.
    pub fn slow_down(&self, each: Duration) {
        self.lock().slow = each;
    }

    /// A lie: it says that there are no entries, or tells the truth again.
    pub fn lie(&self, lies: bool) {
        self.lock().lies = lies;
    }

    /// Somebody removes an entry behind Mill's back.
    pub fn forget(&self, name: &ContainerName) {
        self.lock().entries.remove(name);
    }

    /// Somebody detaches all programs.
    pub fn detach(&self) {
        self.lock().attached = false;
    }

    /// Whether programs are attached.
    pub fn is_attached(&self) -> bool {
        self.lock().attached
    }

    /// What it holds, whatever it says.
    pub fn held(&self) -> BTreeMap<ContainerName, Mapping> {
        self.lock().entries.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self) -> Result<(), DatapathError> {
        let slow = self.lock().slow;
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        match self.lock().broken {
            true => {
                let source = Arc::new(io::ErrorKind::PermissionDenied.into());
                Err(DatapathError::Pins { path: "/fake".into(), source })
            }
            false => Ok(()),
        }
    }
}

impl Datapath for FakeDatapath {
    fn mode(&self) -> Mode {
        match self.lock().maps {
            true => Mode::Kernel,
            false => Mode::Fallback { reason: "a fake kernel".to_owned() },
        }
    }

    fn settle(&self, node: NodeNet) {
        self.lock().node = Some(node);
    }

    async fn keep(&self) -> Result<Vec<Mended>, DatapathError> {
        self.ask().await?;
        let mut state = self.lock();
        if state.node.is_none() {
            return Err(DatapathError::NotSettled);
        }
        let was_attached = std::mem::replace(&mut state.attached, true);
        Ok((!was_attached).then_some(Mended::Programs).into_iter().collect())
    }

    async fn put(&self, name: &ContainerName, mapping: &Mapping) -> Result<(), DatapathError> {
        self.ask().await?;
        self.lock().entries.insert(name.clone(), mapping.clone());
        Ok(())
    }

    async fn remove(&self, name: &ContainerName) -> Result<(), DatapathError> {
        self.ask().await?;
        self.lock().entries.remove(name);
        Ok(())
    }

    async fn entries(&self) -> Result<BTreeMap<ContainerName, Entry>, DatapathError> {
        self.ask().await?;
        let state = self.lock();
        let entry = |mapping: &Mapping| Entry { mapping: mapping.clone(), is_current: true };
        let told = state.entries.iter().filter(|_| !state.lies);
        Ok(told.map(|(name, mapping)| (name.clone(), entry(mapping))).collect())
    }
}
