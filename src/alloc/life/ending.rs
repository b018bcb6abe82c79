//! Stopping, ending, removing, beginning again.

use mill_model::limits::FAILURES_BEFORE_GIVEN_BACK;
use mill_model::{Ended, Failure, Incarnation, Phase, Timestamp};

use super::{Clash, Clearing, Container, Effect, Exit, Life, TimerKind};
use crate::record::Ending;

/// Timers that have no meaning once a container is to end.
const OF_THE_LIVING: [TimerKind; 7] = [
    TimerKind::Backoff,
    TimerKind::Check,
    TimerKind::StartPeriod,
    TimerKind::Age,
    TimerKind::Forgive,
    TimerKind::Drain,
    TimerKind::Deadline,
];

impl Life {
    pub(super) fn stop(&mut self) {
        if self.record.last_phase.is_some() || self.phase().is_terminal() {
            return;
        }
        if !self.resumed {
            // What runs isn't known yet; `resume` goes on from here.
            self.record.ending = Some(Ending::Ordered);
            return;
        }
        self.end(Ending::Ordered);
    }

    /// Takes the container down, wherever it is in its life.
    pub(super) fn end(&mut self, ending: Ending) {
        self.record.ending = Some(ending);
        self.cancel(&OF_THE_LIVING);
        match self.phase() {
            Phase::Pending | Phase::Pulling | Phase::Waiting => {
                self.container = Container::Absent;
                self.last(Phase::Stopped);
            }
            // Its start is under way; its answer comes first.
            Phase::Starting => self.turn(Phase::Stopping),
            Phase::Running | Phase::Healthy | Phase::Unhealthy => {
                self.turn(Phase::Stopping);
                self.signal();
            }
            // Under way already; now for another reason.
            Phase::Stopping | Phase::Stopped | Phase::Failed | Phase::Lost => {}
        }
    }

    pub(super) fn signal(&mut self) {
        if !self.record.signalled {
            self.record.signalled = true;
            self.effects.push(Effect::Signal { incarnation: self.current() });
        }
        self.set_timer(TimerKind::Grace, self.record.assignment.container.stop.grace);
    }

    pub(super) fn kill(&mut self) {
        self.effects.push(Effect::Kill { incarnation: self.current() });
        // The runtime may have been away: asked again until the end is seen.
        self.set_timer(TimerKind::Kill, self.tempo.runtime_deadline);
    }

    /// The current container's end is known.
    pub(super) fn ended(&mut self, exit: Exit, clash: Option<Clash>, at: Timestamp) {
        let failure = self.verdict(exit, clash);
        self.container = Container::Absent;
        self.remove(self.current());
        self.conclude(failure, exit.code(), at);
    }

    fn verdict(&self, exit: Exit, clash: Option<Clash>) -> Option<Failure> {
        match &self.record.ending {
            Some(Ending::Ordered | Ending::Restart) => return None,
            Some(Ending::Failed { failure }) => return Some(failure.clone()),
            None => {}
        }
        // A program that never became healthy and leaves by itself while its port is someone else's.
        let clash = clash.filter(|_| matches!(self.phase(), Phase::Starting | Phase::Running));
        match (exit, clash) {
            (Exit::Code(0), _) if self.record.assignment.is_task() => None,
            (Exit::Code(1..), Some(Clash { port, holder })) => Some(Failure::PortTaken { port, holder }),
            (Exit::Code(code), _) => Some(Failure::Exited { code }),
            (Exit::Signal(signal), _) => Some(Failure::Signalled { signal }),
            (Exit::OutOfMemory, _) => Some(Failure::OutOfMemory),
            (Exit::NodeOutOfMemory, _) => Some(Failure::NodeOutOfMemory),
            (Exit::Vanished, _) => Some(Failure::Vanished),
        }
    }

    /// The current incarnation is over: what comes next?
    pub(super) fn conclude(&mut self, failure: Option<Failure>, code: Option<u8>, at: Timestamp) {
        self.cancel(&OF_THE_LIVING);
        self.cancel(&[TimerKind::Grace, TimerKind::Kill]);
        self.checks = super::Checks::default();
        self.record.signalled = false;
        self.record.started_at = None;
        self.record.deadline = None;
        let failed = failure.is_some();
        let ended = Ended { incarnation: self.current(), failure, at, code };
        self.record.status.last_end = Some(ended);
        let is_task = self.record.assignment.is_task();
        match self.record.ending.take() {
            Some(Ending::Ordered) => self.last(Phase::Stopped),
            Some(Ending::Restart) => self.begin(),
            _ if is_task && failed => self.last(Phase::Failed),
            _ if is_task => self.last(Phase::Stopped),
            _ => self.wait(at),
        }
    }

    fn wait(&mut self, since: Timestamp) {
        let status = &mut self.record.status;
        status.failures = status.failures.saturating_add(1);
        status.given_back = status.failures >= FAILURES_BEFORE_GIVEN_BACK;
        self.turn(Phase::Waiting);
        self.record.status.since = since;
        self.back_off();
    }

    /// Sets the timer for the rest of the pause that `Waiting` began.
    pub(super) fn back_off(&mut self) {
        let whole = self.tempo.restart_delay(self.record.status.failures);
        self.set_timer(TimerKind::Backoff, self.left_of(whole, self.record.status.since));
    }

    /// Ends it for good, once its containers are gone.
    fn last(&mut self, phase: Phase) {
        self.record.ending = None;
        self.record.last_phase = Some(phase);
        self.turn(Phase::Stopping);
    }

    pub(super) fn remove(&mut self, incarnation: Incarnation) {
        if self.leftovers.insert(incarnation, true) != Some(true) {
            self.effects.push(Effect::Remove { incarnation });
        }
    }

    pub(super) fn removed(&mut self, incarnation: Incarnation) {
        if self.leftovers.remove(&incarnation).is_some() {
            self.removals_failed = 0;
        }
    }

    pub(super) fn remove_failed(&mut self, incarnation: Incarnation) {
        if let Some(asked) = self.leftovers.get_mut(&incarnation) {
            *asked = false;
            self.removals_failed = self.removals_failed.saturating_add(1);
            let pause = self.tempo.restart_delay(self.removals_failed);
            self.set_timer(TimerKind::Remove, pause);
        }
    }

    pub(super) fn clear_failed(&mut self) {
        self.removals_failed = self.removals_failed.saturating_add(1);
        self.set_timer(TimerKind::Remove, self.tempo.restart_delay(self.removals_failed));
    }

    /// Takes its end back until the disk takes it.
    pub(super) fn not_kept(&mut self) {
        if self.phase().is_terminal() {
            self.turn(Phase::Stopping);
            self.end_unkept = true;
            // With the pause of a removal that failed: neither is in anyone's way.
            self.clear_failed();
        }
    }

    pub(super) fn remove_again(&mut self) {
        self.end_unkept = false;
        if self.clearing == Clearing::Asked {
            self.clearing = Clearing::Wanted;
        }
        let waiting: Vec<Incarnation> = self
            .leftovers
            .iter()
            .filter(|(_, asked)| !**asked)
            .map(|(incarnation, _)| *incarnation)
            .collect();
        for incarnation in waiting {
            self.remove(incarnation);
        }
    }
}
