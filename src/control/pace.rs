//! The time that a leader stamps into what it proposes, made from a wall clock that jumps and one that can't.
//!
//! # Why
//! Deadlines are counted between stamps, by whoever leads then: it must be wall time. But a wall clock that is set
//! forward must not end a deploy that has begun a second ago, and one that is set back must not stop the time of
//! those that wait (product.md §6). So a leap forward is followed once no deploy is under way, and what is ahead of a
//! clock that was set back goes on at half its speed until it is caught up with. While no daemon runs nobody counts:
//! what the clock jumps then is time that has passed.

use std::time::Duration;

use mill_fsm::Cluster;
use mill_model::Timestamp;

/// The stamps of one leader, in one life of its daemon.
#[derive(Debug)]
pub struct Pace {
    /// [`mill_model::Tempo::clock_leap`]
    leap: Duration,
    last: Option<Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    stamp: Timestamp,
    /// When it was given, by the clock that doesn't jump.
    up: Duration,
    wall: Timestamp,
    looked: Duration,
}

/// A time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// To be stamped: never before an earlier one, nor before the state's.
    pub now: Timestamp,
    /// Milliseconds by which the wall clock was set since the last one, if it was.
    pub jumped_ms: Option<i64>,
}

impl Pace {
    /// Of a leader whose wall clock is set if it is off by more than `leap`.
    pub const fn new(leap: Duration) -> Self {
        Self { leap, last: None }
    }

    /// Now, from what the wall clock shows and the time since any fixed moment by a clock that doesn't jump.
    pub fn now(&mut self, wall: Timestamp, up: Duration, cluster: &Cluster) -> Stamp {
        let paced = self.last.map_or(wall, |last| last.paced(wall, up, cluster, self.leap));
        let now = paced.max(cluster.time);
        let jumped_ms = self.last.and_then(|last| last.jumped_ms(wall, up, self.leap));
        // One that stands still is counted on from, so that no part of a millisecond is lost.
        let (stamp, given) = match self.last {
            Some(last) if last.stamp == now => (now, last.up),
            _ => (now, up),
        };
        self.last = Some(Last { stamp, up: given, wall, looked: up });
        Stamp { now, jumped_ms }
    }
}

impl Last {
    fn paced(&self, wall: Timestamp, up: Duration, cluster: &Cluster, leap: Duration) -> Timestamp {
        let passed = up.saturating_sub(self.up);
        let steady = self.stamp.after(passed);
        if wall < steady {
            return wall.max(self.stamp.after(passed / 2));
        }
        match wall.since(steady) > leap && cluster.deploys.values().any(|deploy| deploy.is_active()) {
            true => steady,
            false => wall,
        }
    }

    fn jumped_ms(&self, wall: Timestamp, up: Duration, leap: Duration) -> Option<i64> {
        let expected = self.wall.after(up.saturating_sub(self.looked));
        let (ahead, behind) = (wall.since(expected), expected.since(wall));
        let ms = |by: Duration| i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        (ahead.max(behind) > leap).then(|| ms(ahead) - ms(behind))
    }
}

#[cfg(test)]
mod tests {
    use mill_fsm::DeployKind;

    use super::*;
    use crate::leader::tests::{World, project, service};

    const DAY: u64 = 24 * 3600 * 1000;
    const START: u64 = 30 * DAY;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn deploying() -> Cluster {
        let mut world = World::new();
        world.begin(&project("shop", vec![service("web", "web1", 1, &[])], vec![]), DeployKind::Deploy);
        assert!(world.cluster.deploys.values().any(|deploy| deploy.is_active()));
        at_start(world.cluster)
    }

    fn at_start(mut cluster: Cluster) -> Cluster {
        cluster.time = Timestamp(START);
        cluster
    }

    fn quiet() -> Cluster {
        at_start(Cluster::default())
    }

    #[test]
    fn an_even_clock_is_followed_to_the_millisecond() {
        let (mut pace, cluster) = (Pace::new(secs(2)), deploying());
        for ms in [0, 1, 1, 500, 90_000] {
            let stamp = pace.now(Timestamp(START + ms), Duration::from_millis(ms), &cluster);
            assert_eq!(stamp, Stamp { now: Timestamp(START + ms), jumped_ms: None });
        }
    }

    #[test]
    fn a_leap_forward_waits_until_no_deploy_is_under_way() {
        let (mut pace, busy) = (Pace::new(secs(2)), deploying());
        pace.now(Timestamp(START), secs(0), &busy);
        let leapt = pace.now(Timestamp(START + DAY + 1000), secs(1), &busy);
        let day = i64::try_from(DAY).unwrap();
        assert_eq!(leapt, Stamp { now: Timestamp(START + 1000), jumped_ms: Some(day) });
        let later = pace.now(Timestamp(START + DAY + 2000), secs(2), &busy);
        assert_eq!(later, Stamp { now: Timestamp(START + 2000), jumped_ms: None }, "it is told once");
        assert_eq!(
            pace.now(Timestamp(START + DAY + 3000), secs(3), &quiet()).now,
            Timestamp(START + DAY + 3000)
        );
    }

    #[test]
    fn time_goes_on_at_half_its_speed_while_it_is_ahead_of_the_clock() {
        for cluster in [quiet(), deploying()] {
            let mut pace = Pace::new(secs(2));
            pace.now(Timestamp(START), secs(0), &cluster);
            let back = pace.now(Timestamp(START - 8000), secs(2), &cluster);
            assert_eq!(back, Stamp { now: Timestamp(START + 1000), jumped_ms: Some(-10_000) });
            // However often it is asked.
            for tenth in 0..=2000 {
                let up = secs(2) + Duration::from_micros(tenth * 100);
                pace.now(Timestamp(START - 8000 + tenth / 10), up, &cluster);
            }
            let now = pace.now(Timestamp(START - 7800), Duration::from_millis(2200), &cluster).now;
            assert!((1090..=1100).contains(&(now.0 - START)), "{now}");
            assert_eq!(
                pace.now(Timestamp(START + 40_000), secs(50), &cluster).now,
                Timestamp(START + 40_000)
            );
        }
    }

    #[test]
    fn what_others_have_stamped_is_never_gone_behind() {
        let (mut pace, cluster) = (Pace::new(secs(2)), quiet());
        for (wall, up) in [(START - DAY, 0), (START - DAY + 1000, 1), (0, 2)] {
            let now = pace.now(Timestamp(wall), secs(up), &cluster).now;
            assert_eq!(now, Timestamp(START + up * 500), "{wall}");
        }
    }
}
