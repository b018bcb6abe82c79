//! A clock that goes with tokio's time, paused or not, and can be made to jump.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
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
}

impl FakeClock {
    /// A clock that shows `start` now.
    pub fn at(start: Timestamp) -> Self {
        Self { start, began: Instant::now(), jumped_ms: Arc::default() }
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
    fn now(&self) -> Timestamp {
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
}
