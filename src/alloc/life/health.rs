//! Checks, and what follows from them.

use std::net::SocketAddr;
use std::time::Duration;

use mill_model::spec::defaults;
use mill_model::text::cut;
use mill_model::{Failure, Incarnation, Phase, limits};

use super::{Asked, Check, CheckFailure, Effect, Life, TimerKind};
use crate::assignment::Readiness;
use crate::record::Ending;

impl Life {
    /// The current container runs, since now or since before this daemon started: sets what its phase needs.
    pub(super) fn watch_health(&mut self) {
        let started = self.record.started_at.unwrap_or(self.now);
        let since = self.record.status.since;
        if let Some(deadline) = self.record.deadline {
            let timeout = deadline.since(started);
            self.set_timer(TimerKind::Deadline, self.left_of(timeout, started));
        }
        match self.phase() {
            Phase::Running => match self.record.assignment.readiness() {
                Readiness::Age => {
                    self.set_timer(TimerKind::Age, self.left_of(self.tempo.healthy_after, started));
                }
                Readiness::Never => {}
                Readiness::Probe(_) | Readiness::Port(_) => {
                    let period = self.record.assignment.start_period();
                    self.set_timer(TimerKind::StartPeriod, self.left_of(period, started));
                }
            },
            Phase::Healthy => self.hope(),
            Phase::Unhealthy => {
                let drain = self.left_of(self.record.assignment.container.stop.drain, since);
                // It may have become well while nobody looked: the check that is made now comes first.
                let answered = self.next_check().map_or(Duration::ZERO, |(check, _)| check.timeout);
                self.set_timer(TimerKind::Drain, drain.max(answered));
            }
            _ => {}
        }
        self.check();
    }

    /// Healthy: from its beginning on, time works for it.
    fn hope(&mut self) {
        if !self.record.status.ports.is_empty() {
            self.effects.push(Effect::Locate { incarnation: self.current() });
        }
        if self.record.status.failures > 0 {
            let whole = self.tempo.failures_forgotten_after;
            self.set_timer(TimerKind::Forgive, self.left_of(whole, self.record.status.since));
        }
    }

    /// The check to make in this phase, and the time until the next one.
    fn next_check(&self) -> Option<(Check, Duration)> {
        let first = self.phase() == Phase::Running;
        match self.record.assignment.readiness() {
            Readiness::Probe(health) => {
                let every = if first { self.tempo.first_checks_every } else { health.interval };
                let what = Asked::Probe(health.probe.clone());
                Some((Check { what, timeout: health.timeout }, every))
            }
            Readiness::Port(port) if first => {
                let check = Check { what: Asked::Port(port), timeout: defaults::HEALTH_TIMEOUT };
                Some((check, self.tempo.first_checks_every))
            }
            Readiness::Port(_) | Readiness::Age | Readiness::Never => None,
        }
    }

    fn check(&mut self) {
        if let Some((check, every)) = self.next_check() {
            self.checks.asked = true;
            self.checks.due = false;
            self.effects.push(Effect::Check { incarnation: self.current(), check });
            self.set_timer(TimerKind::Check, every);
        }
    }

    pub(super) fn check_due(&mut self) {
        match self.checks.asked {
            true => self.checks.due = true,
            false => self.check(),
        }
    }

    /// It has been silent for as long as makes it healthy. Does it run?
    pub(super) fn old_enough(&mut self) {
        self.checks.asked = true;
        let check = Check { what: Asked::Runs, timeout: defaults::HEALTH_TIMEOUT };
        self.effects.push(Effect::Check { incarnation: self.current(), check });
    }

    pub(super) fn checked(&mut self, incarnation: Incarnation, result: Result<(), CheckFailure>) {
        if incarnation != self.current() || !self.is_up() || !self.checks.asked {
            return;
        }
        self.checks.asked = false;
        match result {
            Ok(()) => self.well(),
            Err(failure) => self.ill(failure),
        }
        if self.is_up() && self.checks.due {
            self.check();
        }
        if self.phase() == Phase::Running && self.record.assignment.readiness() == Readiness::Age {
            // Its end is on the way, or the runtime can't say.
            self.set_timer(TimerKind::Age, self.tempo.first_checks_every);
        }
    }

    pub(super) fn located(&mut self, incarnation: Incarnation, seen: Vec<Option<SocketAddr>>) {
        if incarnation == self.current() && self.is_up() {
            for (port, seen) in self.record.status.ports.iter_mut().zip(seen) {
                port.seen = seen;
            }
        }
    }

    pub(super) fn well(&mut self) {
        self.checks.failed_in_row = 0;
        self.checks.last = None;
        let first = self.phase() == Phase::Running;
        if self.phase() == Phase::Healthy {
            return;
        }
        self.turn(Phase::Healthy);
        self.cancel(&[TimerKind::Drain, TimerKind::StartPeriod]);
        self.hope();
        if first {
            // From hurried checks to the config's.
            self.checks.due = false;
            self.cancel(&[TimerKind::Check]);
            if let Some((_, every)) = self.next_check() {
                self.set_timer(TimerKind::Check, every);
            }
        }
    }

    fn ill(&mut self, failure: CheckFailure) {
        let (retries, probed) = match self.record.assignment.readiness() {
            Readiness::Probe(health) => (health.retries.max(1), true),
            _ => (1, false),
        };
        let clashes = failure.clash.is_some();
        let seen = cut(failure.seen, limits::SEEN_CHARS_MAX);
        self.checks.last = Some(CheckFailure { seen, ..failure });
        self.tell_unready();
        let counts = self.phase() != Phase::Running || self.checks.count_failures;
        // Without a check of its own a service may take as long as it likes to listen, unless it never can.
        if !counts || !(probed || clashes) {
            return;
        }
        self.checks.failed_in_row = self.checks.failed_in_row.saturating_add(1);
        if self.checks.failed_in_row < retries {
            return;
        }
        match self.phase() {
            // It never had traffic that could be drained.
            Phase::Running => self.end(Ending::Failed { failure: self.diagnosis() }),
            Phase::Healthy => {
                let ailment = self.diagnosis();
                self.turn(Phase::Unhealthy);
                self.record.status.ailment = Some(ailment);
                self.cancel(&[TimerKind::Forgive]);
                self.set_timer(TimerKind::Drain, self.record.assignment.container.stop.drain);
            }
            _ => {}
        }
    }

    /// Says once what keeps a run from becoming healthy: nobody may count its failures before a deploy's deadline.
    fn tell_unready(&mut self) {
        let began = self.record.started_at.unwrap_or(self.now);
        let late = self.now.since(began) >= self.tempo.unready_after;
        if self.phase() == Phase::Running && late && self.record.status.ailment.is_none() {
            self.record.status.ailment = Some(self.diagnosis());
        }
    }

    pub(super) fn start_period_over(&mut self) {
        self.checks.count_failures = true;
    }

    pub(super) fn drained(&mut self) {
        self.end(Ending::Failed { failure: self.diagnosis() });
    }

    fn diagnosis(&self) -> Failure {
        match &self.checks.last {
            Some(CheckFailure { clash: Some(clash), .. }) => {
                Failure::PortTaken { port: clash.port, holder: clash.holder.clone() }
            }
            Some(CheckFailure { seen, clash: None }) => Failure::Unhealthy { last: seen.clone() },
            // After a restart of the daemon, before its first check: what made it unhealthy. A record of an earlier
            // version doesn't tell.
            None => self.record.status.ailment.clone().unwrap_or_else(|| Failure::Unhealthy {
                last: "an earlier daemon saw its checks fail".to_owned(),
            }),
        }
    }

    pub(super) fn forgive(&mut self) {
        self.record.status.failures = 0;
        self.record.status.given_back = false;
    }
}
