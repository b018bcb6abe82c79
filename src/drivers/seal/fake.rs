//! Sealing in a test: reversible by anybody, told to lose its key or to damage what it opens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mill_model::Hidden;

use super::{Seal, SealError};

/// What each byte of a value is mixed with, so that no value lies open in a state.
const MASK: u8 = 0xA5;

/// A seal that keeps nobody out. Clones share state.
#[derive(Debug, Clone, Default)]
pub struct FakeSeal(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    no_key: bool,
    /// Labels whose values open as damaged.
    damaged: Vec<String>,
    opened: Vec<String>,
}

impl FakeSeal {
    /// From now on there is no key, or there is one again.
    pub fn lose_key(&self, lost: bool) {
        self.inner().no_key = lost;
    }

    /// From now on what was sealed with this label is damaged.
    pub fn damage(&self, label: &str) {
        self.inner().damaged.push(label.to_owned());
    }

    /// The labels of all that was opened, in order.
    pub fn opened(&self) -> Vec<String> {
        self.inner().opened.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seal for FakeSeal {
    fn seal(&self, label: &str, value: &Hidden<Vec<u8>>) -> Result<Vec<u8>, SealError> {
        if self.inner().no_key {
            return Err(SealError::KeyForm);
        }
        let masked = value.expose().iter().map(|byte| byte ^ MASK);
        Ok(label.bytes().chain([0]).chain(masked).collect())
    }

    fn open(&self, label: &str, sealed: &[u8]) -> Result<Hidden<Vec<u8>>, SealError> {
        let mut inner = self.inner();
        if inner.no_key {
            return Err(SealError::KeyForm);
        }
        if inner.damaged.iter().any(|damaged| damaged == label) {
            return Err(SealError::Damaged);
        }
        let end = sealed.iter().position(|byte| *byte == 0).ok_or(SealError::Damaged)?;
        let (found, masked) = sealed.split_at(end);
        if found != label.as_bytes() {
            return Err(SealError::OtherLabel);
        }
        inner.opened.push(label.to_owned());
        Ok(Hidden::new(masked.iter().skip(1).map(|byte| byte ^ MASK).collect()))
    }
}
