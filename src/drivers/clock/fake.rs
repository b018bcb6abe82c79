//! A clock that goes with tokio's time, paused or not, and can be made to jump, and whoever looks at it to panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use mill_model::Timestamp;
use tokio::time::Instant;

use super::Clock;

/// Wall time for tests: a start, and tokio's time since then.
#[derive(Debug, Clone)]
pub struct FakeClock {
    start: Timestamp,
    began: Instant,
    jumped_ms: Arc<AtomicI64>,
    looks: Arc<AtomicU64>,
    panics_at: Arc<AtomicU64>,
}

impl FakeClock {
    /// A clock that shows `start` now.
    pub fn at(start: Timestamp) -> Self {
        Self {
            start,
            began: Instant::now(),
            jumped_ms: Arc::default(),
            looks: Arc::default(),
            panics_at: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// How often it was looked at.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// Has the look of this number, as [`Self::looks`] counts, panic: a defect in whichever room that is.
    pub fn panic_at(&self, look: u64) {
        self.panics_at.store(look, Ordering::Relaxed);
    }

    /// Sets it forward.
    pub fn jump_forward(&self, by: Duration) {
        self.jumped_ms.fetch_add(millis(by), Ordering::Relaxed);
    }

    /// Sets it back.
    pub fn jump_back(&self, by: Duration) {
        self.jumped_ms.fetch_sub(millis(by), Ordering::Relaxed);
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Clock for FakeClock {
    #[expect(clippy::panic, reason = "a test has asked for it")]
    fn now(&self) -> Timestamp {
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        if look == self.panics_at.load(Ordering::Relaxed) {
            panic!("look {look} at the clock");
        }
        let shown = self.start.after(self.began.elapsed());
        Timestamp(shown.0.saturating_add_signed(self.jumped_ms.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_with_paused_time_and_jumps_when_told() {
        let clock = FakeClock::at(Timestamp(100_000));
        let other = clock.clone();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.now(), Timestamp(103_000));
        other.jump_back(Duration::from_secs(2));
        assert_eq!(clock.now(), Timestamp(101_000));
        other.jump_forward(Duration::from_secs(4));
        assert_eq!(clock.now(), Timestamp(105_000));
    }

    #[tokio::test(start_paused = true)]
    async fn one_look_panics_if_told_so_and_the_next_does_not() {
        let clock = FakeClock::at(Timestamp(1));
        clock.now();
        clock.panic_at(clock.looks() + 1);
        clock.now();
        let other = clock.clone();
        assert!(tokio::spawn(async move { other.now() }).await.unwrap_err().is_panic());
        assert_eq!((clock.now(), clock.looks()), (Timestamp(1), 4));
    }
}
