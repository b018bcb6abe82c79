//! Sealing: what only members of the cluster can read, so that it may lie in the log, in snapshots and on disks.
//!
//! [`ClusterSeal`] is age (<https://age-encryption.org/v1>) with an X25519 identity, the *cluster key*: made by
//! `mill init`, kept in `keys/cluster.key`, root's alone. `age --decrypt -i cluster.key` opens what it sealed, should
//! Mill itself ever be out of reach.
//!
//! # Why
//! - **A label is sealed in with each value**, and asked for when it is opened: a sealed value that got to another
//!   place, by a defect or on purpose, isn't taken for what belongs there.
//! - **The key is read at its first use, and held.** A node seals nothing before it is a member. A key that others can
//!   read is refused each time ([`crate::home`] says so at the start already).
//! - Opened values are [`Hidden`]: no log shows them, and nothing is left of them when they are dropped. Copies that
//!   the kernel makes of memory (swap) aren't prevented here: a machine with secrets swaps to an encrypted device or
//!   not at all.

mod cluster;
mod fake;

use mill_model::Hidden;
use thiserror::Error;

use crate::home::HomeError;

pub use cluster::{ClusterKey, ClusterSeal};
pub use fake::FakeSeal;

/// Seals and opens.
pub trait Seal: Clone + Send + Sync + 'static {
    /// Seals `value` for every member of the cluster. `label` says what it is for: whoever opens it says the same.
    ///
    /// # Errors
    /// There is no key.
    fn seal(&self, label: &str, value: &Hidden<Vec<u8>>) -> Result<Vec<u8>, SealError>;

    /// Opens what was sealed with this label.
    ///
    /// # Errors
    /// There is no key, or the bytes aren't what was sealed with it and this label.
    fn open(&self, label: &str, sealed: &[u8]) -> Result<Hidden<Vec<u8>>, SealError>;
}

/// Why something can't be sealed or opened. Says nothing of the value.
#[derive(Debug, Error)]
pub enum SealError {
    /// The cluster key can't be read, or mustn't be used.
    #[error("the cluster key can't be used")]
    Key(#[from] HomeError),
    /// The cluster key's file holds something else.
    #[error("the cluster key is damaged")]
    KeyForm,
    /// Sealed by another cluster, or with a key that was replaced.
    #[error("it was sealed with another cluster's key")]
    OtherKey,
    /// Not what was sealed.
    #[error("the sealed value is damaged")]
    Damaged,
    /// Sealed for something else.
    #[error("the sealed value belongs to something else")]
    OtherLabel,
    /// Sealing failed.
    #[error("the value can't be sealed")]
    Unsealed,
}

impl SealError {
    /// Whether it is about the key, and so about every value.
    pub const fn is_about_key(&self) -> bool {
        matches!(self, Self::Key(_) | Self::KeyForm)
    }
}
