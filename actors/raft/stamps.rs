//! The time of the log: one clock for all that stamps commands and counts deadlines in one life of the daemon.
//!
//! # Why
//! A leap of the wall clock is held back while a deploy is under way ([`mill_control::pace`]). An actor that counted by
//! itself would forget that with its life, and the deadline that wasn't to be reached would have passed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mill_control::pace::Pace;
use mill_drivers::clock::Clock;
use mill_fsm::Cluster;
use mill_model::{Tempo, Timestamp};
use tokio::time::Instant;
use tracing::warn;

/// The clock of a daemon's log. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Stamps(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    begun: Instant,
    pace: Option<Pace>,
    /// And when it was noticed, by the clock that doesn't jump: the one that was set can't say how long ago that was.
    jump: Option<(Jump, Instant)>,
}

/// The wall clock was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// When that was seen, by the new time.
    pub at: Timestamp,
    /// By how many milliseconds; negative: backwards.
    pub by_ms: i64,
}

impl Default for Stamps {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner { begun: Instant::now(), pace: None, jump: None })))
    }
}

impl Stamps {
    /// The time to act by, on this state.
    pub(crate) fn now(&self, clock: &impl Clock, tempo: &Tempo, cluster: &Cluster) -> Timestamp {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall, up) = (clock.now(), inner.begun.elapsed());
        let stamp = inner.pace.get_or_insert_with(|| Pace::new(tempo.clock_leap)).now(wall, up, cluster);
        if let Some(by_ms) = stamp.jumped_ms {
            warn!(by_ms, "the wall clock was set; deadlines don't mind");
            inner.jump = Some((Jump { at: wall, by_ms }, Instant::now()));
        }
        stamp.now
    }

    /// The last time that the wall clock was set while this daemon looked, if that was less than `within` ago.
    pub fn jump(&self, within: Duration) -> Option<Jump> {
        let noticed = self.0.lock().unwrap_or_else(PoisonError::into_inner).jump;
        noticed.filter(|(_, noticed)| noticed.elapsed() < within).map(|(jump, _)| jump)
    }
}

#[cfg(test)]
mod tests {
    use mill_drivers::clock::FakeClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_leap_that_one_has_seen_is_told_and_known_to_all() {
        let (stamps, tempo, cluster) = (Stamps::default(), Tempo::default(), Cluster::default());
        let clock = FakeClock::at(Timestamp(1_000_000));
        stamps.now(&clock, &tempo, &cluster);
        tokio::time::advance(Duration::from_secs(1)).await;
        stamps.now(&clock, &tempo, &cluster);
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(stamps.jump(day), None);
        clock.jump_forward(2 * day);
        let then = Timestamp(1_001_000).after(2 * day);
        assert_eq!(stamps.clone().now(&clock, &tempo, &cluster), then);
        assert_eq!(stamps.jump(day), Some(Jump { at: then, by_ms: 2 * 86_400_000 }));
        tokio::time::advance(Duration::from_secs(1)).await;
        clock.jump_back(2 * day);
        assert!(stamps.now(&clock, &tempo, &cluster) > then, "the log's time doesn't go back");
        assert_eq!(stamps.jump(day).map(|jump| jump.by_ms), Some(-2 * 86_400_000), "told, by whichever time");
        tokio::time::advance(day).await;
        assert_eq!(stamps.jump(day), None, "for a day");
    }
}
