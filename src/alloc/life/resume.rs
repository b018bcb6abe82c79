//! Taking an alloc from where it is: at the start of its actor, whatever was before.

use mill_model::{Failure, Incarnation, Phase};

use super::{Container, Effect, Exit, Found, FoundState, Life, TimerKind};
use crate::record::Ending;

impl Life {
    pub(super) fn resume(&mut self, found: &[Found]) {
        if self.resumed {
            return;
        }
        self.resumed = true;
        let current = self.current();
        let mine = found.iter().find(|found| found.incarnation == current).map(|found| &found.state);
        for other in found.iter().filter(|found| found.incarnation != current) {
            self.remove(other.incarnation);
        }
        if self.phase().is_terminal() && !self.record.marked {
            self.remove_if(mine, current);
        } else if self.record.last_phase.is_some() {
            self.remove(current);
        } else {
            self.resume_phase(mine);
        }
        // A record that was lost or is behind must not lead to a number that was used already.
        let highest = found.iter().map(|found| found.incarnation).max().unwrap_or_default();
        let is_used = match self.phase() {
            Phase::Pulling => highest >= self.current(),
            _ => highest > self.current(),
        };
        if is_used && self.record.last_phase.is_none() && self.container == Container::Absent {
            self.skip_to(highest);
        }
    }

    fn resume_phase(&mut self, mine: Option<&FoundState>) {
        let current = self.current();
        match self.phase() {
            Phase::Pending => {
                self.remove_if(mine, current);
                match self.ordered_to_stop() {
                    true => self.end(Ending::Ordered),
                    false if self.has_run_unrecorded() => self.conclude(Some(lost()), None, self.now),
                    false if self.record.status.failures > 0 => {
                        self.turn(Phase::Waiting);
                        self.back_off();
                    }
                    false => self.begin(),
                }
            }
            Phase::Pulling => {
                self.remove_if(mine, current);
                match self.ordered_to_stop() {
                    true => self.end(Ending::Ordered),
                    false => self.effects.push(Effect::Pull { incarnation: current }),
                }
            }
            Phase::Waiting => {
                // Also if it isn't found: not all that a removal does may have been done.
                self.remove(current);
                match self.ordered_to_stop() {
                    true => self.end(Ending::Ordered),
                    false => self.back_off(),
                }
            }
            Phase::Starting | Phase::Stopping => self.resume_between(mine),
            Phase::Running | Phase::Healthy | Phase::Unhealthy => self.resume_up(mine),
            Phase::Stopped | Phase::Failed | Phase::Lost => {}
        }
    }

    /// The daemon went away while a container was being started or stopped.
    fn resume_between(&mut self, mine: Option<&FoundState>) {
        match mine {
            Some(FoundState::Running) => {
                self.container = Container::Starting;
                match self.ordered_to_stop() {
                    true => self.resume_ending(),
                    false if self.phase() == Phase::Stopping => self.resume_ending(),
                    false => self.started(self.current()),
                }
            }
            Some(FoundState::Ended { exit, at }) => self.ended(*exit, None, *at),
            Some(FoundState::Created) | None if self.record.ending.is_some() || self.record.launched => {
                self.ended(Exit::Vanished, None, self.now);
            }
            // It never ran, as far as anyone knows; what was on its way may still arrive, so its name is
            // cleared and the next one begins. Nobody failed.
            Some(FoundState::Created) | None => {
                self.remove(self.current());
                self.begin();
            }
        }
    }

    fn resume_ending(&mut self) {
        self.container = Container::Running;
        self.effects.push(Effect::Watch { incarnation: self.current() });
        // Time that passed while nobody looked counts only if the signal was sent: `since` is its moment.
        let since = self.record.status.since;
        let signalled = self.record.signalled;
        self.turn(Phase::Stopping);
        self.signal();
        if signalled {
            let grace = self.record.assignment.container.stop.grace;
            self.set_timer(TimerKind::Grace, self.left_of(grace, since));
        }
    }

    fn resume_up(&mut self, mine: Option<&FoundState>) {
        match mine {
            Some(FoundState::Running) if self.record.ending.is_some() => self.resume_ending(),
            Some(FoundState::Running) => {
                self.container = Container::Running;
                self.effects.push(Effect::Watch { incarnation: self.current() });
                self.watch_health();
            }
            Some(FoundState::Ended { exit, at }) => self.ended(*exit, None, *at),
            Some(FoundState::Created) | None => self.ended(Exit::Vanished, None, self.now),
        }
    }

    fn ordered_to_stop(&self) -> bool {
        self.record.ending == Some(Ending::Ordered)
    }

    /// Whether it is a task whose record was lost: it has run, perhaps to its end, and never runs twice.
    fn has_run_unrecorded(&self) -> bool {
        self.record.assignment.is_task() && (self.unread || self.current() > Incarnation::default())
    }

    fn remove_if(&mut self, found: Option<&FoundState>, incarnation: Incarnation) {
        if found.is_some() {
            self.remove(incarnation);
        }
    }

    /// Renumbers an incarnation that has no container yet.
    fn skip_to(&mut self, highest: Incarnation) {
        let waits = self.phase() == Phase::Waiting;
        self.record.status.incarnation = if waits { highest } else { highest.next() };
        for effect in &mut self.effects {
            if let Effect::Pull { incarnation } = effect {
                *incarnation = self.record.status.incarnation;
            }
        }
    }
}

/// Why a task isn't begun, or gone on with.
pub(super) fn lost() -> Failure {
    Failure::Runtime { detail: "the node has lost its record of it, and a task never runs twice".to_owned() }
}
