//! Ephemeral volumes: scratch directories of an alloc, bounded, and gone with it.
//!
//! A volume is a file system of its own in a sparse file, so that a full one fills itself and not the node, on any
//! file system below. Project quotas would be leaner where the node's file system has them switched on; a tmpfs
//! would count as memory. It starts empty, survives restarts of its container and of Mill, and does not survive
//! a reboot: then it is made anew.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mill_model::names::VolumeName;
use mill_model::{AllocId, Bytes};
use thiserror::Error;

pub use fake::FakeScratch;
pub use loopback::LoopScratch;

mod fake;
mod loopback;

/// A node's ephemeral volumes.
pub trait Scratch: Clone + Send + Sync + 'static {
    /// Makes an alloc's volume, or finds it as it was left; answers the directory to mount.
    fn make(
        &self,
        alloc: &AllocId,
        volume: &VolumeName,
        size: Option<Bytes>,
    ) -> impl Future<Output = Result<PathBuf, ScratchError>> + Send;

    /// Removes all volumes of an alloc, whose containers are gone. None there is as good.
    fn remove(&self, alloc: &AllocId) -> impl Future<Output = Result<(), ScratchError>> + Send;

    /// Allocs other than `known` that have volumes here.
    fn leftovers(
        &self,
        known: &BTreeSet<AllocId>,
    ) -> impl Future<Output = Result<BTreeSet<AllocId>, ScratchError>> + Send;
}

/// An ephemeral volume can't be made or removed.
#[derive(Debug, Clone, Error)]
pub enum ScratchError {
    /// A file or directory can't be used.
    #[error("can't {doing} {path}")]
    System {
        /// What failed.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// A program isn't installed.
    #[error("`{program}` isn't on PATH: ephemeral volumes need e2fsprogs and mount")]
    NotInstalled {
        /// Its name.
        program: &'static str,
    },
    /// A program failed.
    #[error("`{program}` failed on {path}: {said}")]
    Program {
        /// Its name.
        program: &'static str,
        /// On what.
        path: PathBuf,
        /// Its own words.
        said: String,
    },
    /// The size asked for can't hold a file system.
    #[error("an ephemeral volume of {size} is too small: at least {least}")]
    TooSmall {
        /// As asked for.
        size: Bytes,
        /// The bound.
        least: Bytes,
    },
}

fn system(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ScratchError {
    move |source| ScratchError::System { doing, path: path.to_owned(), source: Arc::new(source) }
}
