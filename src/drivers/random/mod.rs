//! Randomness, as an injected source: the kernel's in production, a seed's in tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use thiserror::Error;

/// The kernel gave no random bytes.
#[derive(Debug, Error)]
#[error("failed to draw random bytes")]
pub struct RandomError(#[source] Errno);

/// A source of random bytes.
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes`. Good enough for keys.
    ///
    /// # Errors
    /// The source gave none.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError>;

    /// A number, each as likely as any other.
    ///
    /// # Errors
    /// The source gave none.
    fn number(&self) -> Result<u64, RandomError> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// The kernel's generator: getrandom(2).
#[derive(Debug, Default, Clone, Copy)]
pub struct KernelRandom;

impl Random for KernelRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match getrandom(rest, GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(RandomError(error)),
            }
        }
        Ok(())
    }
}

/// The same bytes for the same seed (splitmix64, Steele et al., OOPSLA 2014). For tests only.
#[derive(Debug, Clone)]
pub struct SeededRandom(Arc<AtomicU64>);

impl SeededRandom {
    /// A source that begins at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        for chunk in bytes.chunks_mut(8) {
            let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_never_gives_the_same_twice_and_a_seed_always_does() {
        assert_ne!(KernelRandom.number().unwrap(), KernelRandom.number().unwrap());
        let draw = |seed| (0..3).map(|_| SeededRandom::new(seed).number().unwrap()).collect::<Vec<_>>();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let mut odd = [0; 13];
        SeededRandom::new(1).fill(&mut odd).unwrap();
        assert_ne!(odd, [0; 13]);
    }
}
