//! What is counted about an actor. Written by its own loop, read by anyone at any time.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use mill_model::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::actor::Crash;

/// Handling times kept for the percentiles. Enough for a p99 that one outlier doesn't make, and 512 bytes.
const LATENCIES_KEPT: usize = 128;

/// Seconds over which the rate is taken: long enough to be calm, short enough to follow.
const RATE_SECONDS: usize = 10;

/// Longest error text that is kept: the rest is in the log.
const ERROR_BYTES_MAX: usize = 1024;

/// Where an actor is in its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In `start`, or waiting for its predecessor of the same name to end.
    Starting,
    /// Handles messages.
    Running,
    /// Between two lives.
    Restarting,
    /// Told to stop; its children go first.
    Stopping,
    /// There will be no further life.
    Stopped,
}

/// The last reason for a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// What went wrong, with its sources.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

/// What an actor is doing right now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busy {
    /// The message in hand; `start` and `stop` for those.
    pub message: String,
    /// For how long, in milliseconds.
    pub for_ms: u64,
}

/// A copy of the counters.
pub(super) struct Counted {
    pub(super) status: Status,
    pub(super) handled: u64,
    pub(super) messages: BTreeMap<String, u64>,
    pub(super) rate: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) restarts: u64,
    pub(super) last_error: Option<LastError>,
    pub(super) busy: Option<Busy>,
}

/// The counters of one actor, over all its lives.
///
/// Behind a lock that is held for nanoseconds and never over an await, so that a reader needs nobody's cooperation.
pub(super) struct Stats {
    born: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    status: Status,
    handled: u64,
    by_name: BTreeMap<&'static str, u64>,
    /// Handled per second: the second since birth and the count, at the second modulo the length.
    seconds: Vec<(u64, u32)>,
    latencies: Vec<Duration>,
    next_latency: usize,
    restarts: u64,
    last_error: Option<LastError>,
    busy: Option<(&'static str, Instant)>,
}

impl Stats {
    pub(super) fn new() -> Self {
        Self {
            born: Instant::now(),
            inner: Mutex::new(Inner {
                status: Status::Starting,
                handled: 0,
                by_name: BTreeMap::new(),
                seconds: vec![(0, 0); RATE_SECONDS],
                latencies: Vec::new(),
                next_latency: 0,
                restarts: 0,
                last_error: None,
                busy: None,
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_status(&self, status: Status) {
        self.inner().status = status;
    }

    pub(super) fn status(&self) -> Status {
        self.inner().status
    }

    /// Something that is no message begins: `start`, `stop`.
    pub(super) fn begin(&self, what: &'static str) {
        self.inner().busy = Some((what, Instant::now()));
    }

    /// What was in hand is done, or was cut off.
    pub(super) fn idle(&self) {
        self.inner().busy = None;
    }

    /// The message in hand is handled, well or not.
    pub(super) fn handled(&self) {
        let second = self.born.elapsed().as_secs();
        let index = usize::try_from(second).unwrap_or_default() % RATE_SECONDS;
        let mut inner = self.inner();
        let Some((name, since)) = inner.busy.take() else { return };
        inner.handled += 1;
        *inner.by_name.entry(name).or_default() += 1;
        if let Some(slot) = inner.seconds.get_mut(index) {
            let earlier = if slot.0 == second { slot.1 } else { 0 };
            *slot = (second, earlier.saturating_add(1));
        }
        inner.latency(since.elapsed());
    }

    pub(super) fn crashed(&self, crash: &Crash) {
        let mut text = crash.to_string();
        let mut end = text.len().min(ERROR_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        // For people only; nothing is decided by it.
        let at = Timestamp::from(SystemTime::now());
        self.inner().last_error = Some(LastError { text, at });
    }

    pub(super) fn restarted(&self) {
        self.inner().restarts += 1;
    }

    pub(super) fn read(&self) -> Counted {
        let age = self.born.elapsed();
        let window = Duration::from_secs(RATE_SECONDS.try_into().unwrap_or(u64::MAX));
        let inner = self.inner();
        let mut latencies = inner.latencies.clone();
        latencies.sort_unstable();
        let recent = inner
            .seconds
            .iter()
            .filter(|(second, _)| age.as_secs().saturating_sub(*second) < window.as_secs());
        let count: u64 = recent.map(|&(_, count)| u64::from(count)).sum();
        let over = age.as_secs_f64().clamp(1.0, window.as_secs_f64());
        Counted {
            status: inner.status,
            handled: inner.handled,
            messages: inner.by_name.iter().map(|(&name, &count)| (name.to_owned(), count)).collect(),
            rate: f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / over,
            p50: percentile(&latencies, 50),
            p99: percentile(&latencies, 99),
            restarts: inner.restarts,
            last_error: inner.last_error.clone(),
            busy: inner.busy.map(|(message, since)| Busy {
                message: message.to_owned(),
                for_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }
}

impl Inner {
    fn latency(&mut self, took: Duration) {
        let next = self.next_latency;
        match self.latencies.get_mut(next) {
            Some(oldest) => *oldest = took,
            None => self.latencies.push(took),
        }
        self.next_latency = (next + 1) % LATENCIES_KEPT;
    }
}

/// The smallest value that `percent` of the sorted values don't exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let hundred: Vec<Duration> = (1..=100).map(ms).collect();
        for (values, p50, p99) in
            [(&hundred[..0], 0, 0), (&hundred[..1], 1, 1), (&hundred[..2], 1, 2), (&hundred[..], 50, 99)]
        {
            assert_eq!((percentile(values, 50), percentile(values, 99)), (ms(p50), ms(p99)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_of_the_last_ten_seconds() {
        let stats = Stats::new();
        let handle = |times: u32| {
            for _ in 0..times {
                stats.begin("x");
                stats.handled();
            }
        };
        handle(5);
        assert!((stats.read().rate - 5.0).abs() < 0.001);
        tokio::time::advance(ms(4_000)).await;
        handle(15);
        assert!((stats.read().rate - 5.0).abs() < 0.001);
        tokio::time::advance(ms(9_500)).await;
        assert!((stats.read().rate - 1.5).abs() < 0.001, "the first five are older than ten seconds");
        tokio::time::advance(ms(1_000)).await;
        assert!(stats.read().rate < 0.001);
        assert_eq!(stats.read().messages["x"], 20);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_latest_latencies_count() {
        let stats = Stats::new();
        for took in [ms(900)].into_iter().chain(std::iter::repeat_n(ms(1), LATENCIES_KEPT)) {
            stats.begin("x");
            tokio::time::advance(took).await;
            stats.handled();
        }
        assert_eq!(stats.read().p99, ms(1));
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let stats = Stats::new();
        stats.crashed(&Crash::because("é".repeat(ERROR_BYTES_MAX)));
        assert_eq!(stats.read().last_error.unwrap().text.len(), ERROR_BYTES_MAX);
        stats.crashed(&Crash::because(format!("x{}", "é".repeat(ERROR_BYTES_MAX))));
        assert_eq!(stats.read().last_error.unwrap().text.len(), ERROR_BYTES_MAX - 1);
    }
}
