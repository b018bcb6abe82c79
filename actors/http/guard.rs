//! Who knocks too often: failed authentications by source address, requests by token.
//!
//! # Why
//! - **A lock-out holds up whom it hasn't seen.** A script with a revoked token behind the same address as a whole team
//!   must not lock that team out; tokens that were used from an address within the last hour still open while it is
//!   locked. Nothing is lost by that: a token has 160 random bits, and who is locked out gets one answer to all of them.
//! - **It is the node's own.** Nothing of it is replicated: a flood must not become a flood of log entries.
//! - **All of it is bounded**, and a look costs a map's: no more than the request's own parsing.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mill_api::tokens::LastUsed;
use mill_model::limits::{
    AUTH_FAILURES_FREE, REFUSED_WRITES_LOGGED_PER_MINUTE, SOURCE_TOKENS_MAX, SOURCES_MAX,
    TOKEN_REQUESTS_BURST, TOKEN_REQUESTS_PER_SECOND, TOKENS_MAX,
};
use mill_model::{Tempo, Timestamp, TokenId};
use tokio::time::Instant;

/// Over which refused writes are counted.
const MINUTE: Duration = Duration::from_secs(60);

/// Where requests come from, as far as it matters: an IPv4 address, or an IPv6 network of 64 bits, which is what one
/// machine has at least (RFC 4291 §2.5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(IpAddr::V4(address)),
            IpAddr::V6(address) => Self(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))),
        }
    }
}

/// What a node remembers of those who knock.
#[derive(Debug, Default)]
pub(super) struct Guard(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    sources: HashMap<Source, Knocks>,
    tokens: HashMap<TokenId, Use>,
    refused: Refused,
}

/// What came from one source.
#[derive(Debug)]
struct Knocks {
    /// Failures since they were last forgotten.
    failures: u32,
    failed_at: Instant,
    locked_until: Option<Instant>,
    /// Tokens that opened, the one used last at the end.
    good: VecDeque<(TokenId, Instant)>,
}

/// How one token was used.
#[derive(Debug)]
struct Use {
    /// When it will have paid for its requests, at the rate that it has (generic cell rate algorithm).
    paid_at: Instant,
    last: LastUsed,
}

#[derive(Debug, Default)]
struct Refused {
    since: Option<Instant>,
    count: u32,
}

impl Guard {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long nothing new from `source` is listened to; `None`: it is.
    pub(super) fn locked(&self, source: Source, now: Instant) -> Option<Duration> {
        let until = self.inner().sources.get(&source)?.locked_until?;
        Some(until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// Whether a token was used from `source` lately.
    pub(super) fn knows(&self, source: Source, token: TokenId, now: Instant, tempo: &Tempo) -> bool {
        let inner = self.inner();
        let Some(knocks) = inner.sources.get(&source) else { return false };
        let lately = |at: Instant| now.saturating_duration_since(at) < tempo.lock_out_forgotten_after;
        knocks.good.iter().any(|(known, at)| *known == token && lately(*at))
    }

    /// An authentication failed. How long its source is locked out now, if it is.
    pub(super) fn failed(&self, source: Source, now: Instant, tempo: &Tempo) -> Option<Duration> {
        let mut inner = self.inner();
        let knocks = inner.knocks(source, now);
        if now.saturating_duration_since(knocks.failed_at) >= tempo.lock_out_forgotten_after {
            knocks.failures = 0;
        }
        knocks.failed_at = now;
        knocks.failures = knocks.failures.saturating_add(1);
        let beyond = knocks.failures.checked_sub(AUTH_FAILURES_FREE).filter(|beyond| *beyond > 0)?;
        let wait = tempo.lock_out_for(beyond);
        knocks.locked_until = Some(now + wait);
        Some(wait)
    }

    /// A token opened. Refused with how long to wait if it did so too often.
    pub(super) fn opened(
        &self,
        address: IpAddr,
        token: TokenId,
        now: Instant,
        wall: Timestamp,
    ) -> Result<(), Duration> {
        let mut inner = self.inner();
        let knocks = inner.knocks(address.into(), now);
        knocks.good.retain(|(known, _)| *known != token);
        knocks.good.push_back((token, now));
        if knocks.good.len() > SOURCE_TOKENS_MAX {
            knocks.good.pop_front();
        }
        let last = LastUsed { at: wall, from: address };
        let used = inner.tokens.entry(token).or_insert_with(|| Use { paid_at: now, last: last.clone() });
        used.last = last;
        let each = Duration::from_secs(1) / TOKEN_REQUESTS_PER_SECOND;
        let owed = used.paid_at.saturating_duration_since(now);
        match (owed + each).checked_sub(each * TOKEN_REQUESTS_BURST).filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(wait),
            None => {
                used.paid_at = now + owed + each;
                Ok(())
            }
        }
    }

    /// When a token was last used here.
    pub(super) fn last_used(&self, token: TokenId) -> Option<LastUsed> {
        self.inner().tokens.get(&token).map(|used| used.last.clone())
    }

    /// Forgets tokens that aren't any more, once there are too many.
    pub(super) fn forget(&self, is_token: impl Fn(TokenId) -> bool) {
        let mut inner = self.inner();
        if inner.tokens.len() > TOKENS_MAX {
            inner.tokens.retain(|token, _| is_token(*token));
        }
    }

    /// A write was refused. Whether to log it, and how many weren't before it.
    pub(super) fn refused(&self, now: Instant) -> Option<u32> {
        let mut inner = self.inner();
        let refused = &mut inner.refused;
        let begun = refused.since.filter(|since| now.saturating_duration_since(*since) < MINUTE);
        let mut unsaid = 0;
        if begun.is_none() {
            unsaid = refused.count.saturating_sub(REFUSED_WRITES_LOGGED_PER_MINUTE);
            *refused = Refused { since: Some(now), count: 0 };
        }
        refused.count = refused.count.saturating_add(1);
        (refused.count <= REFUSED_WRITES_LOGGED_PER_MINUTE).then_some(unsaid)
    }
}

impl Inner {
    /// What came from a source, the one forgotten for it that was heard of longest ago.
    fn knocks(&mut self, source: Source, now: Instant) -> &mut Knocks {
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            let heard = |knocks: &Knocks| {
                knocks.good.back().map_or(knocks.failed_at, |(_, at)| knocks.failed_at.max(*at))
            };
            let oldest =
                self.sources.iter().min_by_key(|(_, knocks)| heard(knocks)).map(|(source, _)| *source);
            if let Some(oldest) = oldest {
                self.sources.remove(&oldest);
            }
        }
        self.sources.entry(source).or_insert_with(|| Knocks {
            failures: 0,
            failed_at: now,
            locked_until: None,
            good: VecDeque::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn source(last: u8) -> Source {
        address(last).into()
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_too_often_is_locked_out_for_longer_and_longer_and_nobody_else_is() {
        let (guard, tempo) = (Guard::default(), Tempo::default());
        for _ in 0..AUTH_FAILURES_FREE {
            assert_eq!(guard.failed(source(1), Instant::now(), &tempo), None);
        }
        for wait in [1, 5, 15, 60, 60].map(Duration::from_secs) {
            assert_eq!(guard.locked(source(1), Instant::now()), None);
            assert_eq!(guard.failed(source(1), Instant::now(), &tempo), Some(wait));
            assert_eq!(guard.locked(source(1), Instant::now()), Some(wait));
            assert_eq!(guard.locked(source(2), Instant::now()), None);
            tokio::time::advance(wait).await;
        }
        tokio::time::advance(tempo.lock_out_forgotten_after).await;
        assert_eq!(guard.failed(source(1), Instant::now(), &tempo), None, "it is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_was_used_from_an_address_is_known_there_for_an_hour_and_nowhere_else() {
        let (guard, tempo) = (Guard::default(), Tempo::default());
        let knows = |last, token| guard.knows(source(last), TokenId(token), Instant::now(), &tempo);
        guard.opened(address(1), TokenId(7), Instant::now(), Timestamp(5)).unwrap();
        assert!(knows(1, 7) && !knows(2, 7) && !knows(1, 8));
        assert_eq!(guard.last_used(TokenId(7)), Some(LastUsed { at: Timestamp(5), from: address(1) }));
        for token in 0..u64::try_from(SOURCE_TOKENS_MAX).unwrap() {
            guard.opened(address(1), TokenId(100 + token), Instant::now(), Timestamp(6)).unwrap();
        }
        assert!(!knows(1, 7) && knows(1, 100), "bounded");
        tokio::time::advance(tempo.lock_out_forgotten_after).await;
        assert!(!knows(1, 100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_has_its_burst_and_then_its_rate() {
        let guard = Guard::default();
        let open = |token| guard.opened(address(1), TokenId(token), Instant::now(), Timestamp(5));
        for _ in 0..TOKEN_REQUESTS_BURST {
            open(1).unwrap();
        }
        let wait = open(1).unwrap_err();
        assert_eq!(wait, Duration::from_secs(1) / TOKEN_REQUESTS_PER_SECOND);
        open(2).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..TOKEN_REQUESTS_PER_SECOND {
            open(1).unwrap();
        }
        open(1).unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_of_it_grows_without_end() {
        let (guard, tempo) = (Guard::default(), Tempo::default());
        for number in 0..u32::try_from(2 * SOURCES_MAX).unwrap() {
            tokio::time::advance(Duration::from_millis(1)).await;
            guard.failed(IpAddr::from(number.to_be_bytes()).into(), Instant::now(), &tempo);
            let token = TokenId(u64::from(number));
            guard.opened(address(1), token, Instant::now(), Timestamp(5)).unwrap();
            guard.forget(|token| token.0 + 10 > u64::from(number));
        }
        let inner = guard.inner();
        assert!(inner.sources.len() <= SOURCES_MAX && inner.tokens.len() <= TOKENS_MAX + 1);
        assert!(inner.sources.contains_key(&source(1)), "who was heard of lately stays");
    }

    #[tokio::test(start_paused = true)]
    async fn refused_writes_fill_no_log() {
        let guard = Guard::default();
        let logged = (0..200).filter(|_| guard.refused(Instant::now()).is_some()).count();
        assert_eq!(logged, usize::try_from(REFUSED_WRITES_LOGGED_PER_MINUTE).unwrap());
        tokio::time::advance(MINUTE).await;
        assert_eq!(guard.refused(Instant::now()), Some(200 - REFUSED_WRITES_LOGGED_PER_MINUTE));
        assert_eq!(guard.refused(Instant::now()), Some(0));
    }

    #[test]
    fn a_machine_is_one_source_whatever_address_of_its_network_it_takes() {
        let of = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
