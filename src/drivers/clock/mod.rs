//! Wall time. Monotonic time is tokio's, so that tests pause it.

mod fake;

use std::time::SystemTime;

use mill_model::Timestamp;

pub use fake::FakeClock;

/// Who knows what time it is.
pub trait Clock: Clone + Send + Sync + 'static {
    /// Now, UTC. May jump: nothing is timed by it.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}
