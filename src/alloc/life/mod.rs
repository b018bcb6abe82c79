//! The machine: what happened goes in, what is to be done comes out.
//!
//! # How to run it
//! Make one with [`Life::new`] (just assigned) or [`Life::restore`] (from its record), ask the runtime for all
//! containers of this alloc, and give them as [`Input::Resume`]: first thing, also when its actor starts again
//! after a crash. One without a record, be it the first time or because the record is lost, is told before what was
//! [`Input::Heard`] of it, so that no number is given twice. Carry out the effects of each step in their order; a
//! [`Effect::Persist`] must be on disk before the effects behind it begin. If it can't be, answer the
//! [`Effect::Start`] or [`Effect::Launch`] behind it with [`Input::StartFailed`]; the others may go on. So may the [`Effect::Report`] of an
//! end, if the disk takes a mark of it instead ([`Record::over`]); if it takes neither, hold the report back and
//! answer [`Input::NotKept`].
//!
//! # Why
//! - An *incarnation* is one attempt, pull included. Its number is on disk before its container exists, and
//!   the next begins only when the end of this one is known: late news carries the old number and is dropped.
//! - A container of an older incarnation must be *removed*, not only ended, before the next one starts: two
//!   at once would share ports and volumes.
//! - A task never runs twice: that it may have run is on disk before it does, after its container was made, which
//!   takes long. One whose record is lost counts as one that has run.
//! - An end is told only when the next daemon will know of it: once it is told, its place, ports and volumes are
//!   given to others, beside whom it must not begin again. Nothing else that is told has such consequences.
//! - No news isn't good news: one that counts as healthy because it runs is looked at before it does. The word of its
//!   end may be held up by a runtime that is away.
//! - Unhealthy isn't yet stopped: traffic goes away at once, and requests in hand get `stop.drain`. A check
//!   that succeeds meanwhile takes it back (healthy ⇄ unhealthy).
//! - Given back after five failures is a standing request, not a full stop: until the leader places it
//!   elsewhere and stops it here, it is tried on under the same backoff. A node that is cut off from its
//!   leader, or the only one there is, needs no word from anyone (P12).

mod ending;
mod health;
mod resume;
mod words;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod record_tests;
#[cfg(test)]
mod story;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mill_model::ports::{Loopback, MappedPort};
use mill_model::{AllocStatus, Failure, Incarnation, Phase, Tempo, Timestamp};

use crate::assignment::Assignment;
use crate::record::{Ending, Record};

pub use words::{
    Asked, Check, CheckFailure, Clash, Effect, Exit, Found, FoundState, Heard, Input, Timer, TimerKind,
};

/// How far the current incarnation's container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    /// There is none.
    Absent,
    /// Its image is here.
    Pulled,
    /// Its start was asked for.
    Starting,
    /// It runs.
    Running,
}

/// How far the removal is of what outlives single containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clearing {
    /// To be asked for, when the time has come.
    Wanted,
    /// Asked for, or waiting to be asked for again.
    Asked,
    /// Done.
    Done,
}

/// Checks of the current incarnation. Not kept on disk: they are simply made again.
#[derive(Debug, Default)]
struct Checks {
    asked: bool,
    due: bool,
    count_failures: bool,
    failed_in_row: u32,
    last: Option<CheckFailure>,
}

/// One alloc on this node.
#[derive(Debug)]
pub struct Life {
    record: Record,
    kept: Option<Record>,
    reported: Option<AllocStatus>,
    tempo: Arc<Tempo>,
    now: Timestamp,
    resumed: bool,
    /// There was a record of it, which can't be read.
    unread: bool,
    container: Container,
    checks: Checks,
    /// Containers to be removed; whether that was asked for and has no answer yet.
    leftovers: BTreeMap<Incarnation, bool>,
    removals_failed: u32,
    clearing: Clearing,
    /// The disk didn't take its end, and isn't asked again yet.
    end_unkept: bool,
    /// The latest incarnation that was heard of.
    floor: Incarnation,
    timers: BTreeMap<TimerKind, u64>,
    generation: u64,
    effects: Vec<Effect>,
}

impl Life {
    /// The life of an alloc that was just assigned to this node and given `ports`.
    pub fn new(
        assignment: Arc<Assignment>,
        ports: Vec<MappedPort>,
        heard: Heard,
        tempo: Arc<Tempo>,
        now: Timestamp,
    ) -> Self {
        let status = AllocStatus {
            id: assignment.alloc.clone(),
            incarnation: heard.incarnation,
            revision: heard.revision,
            phase: Phase::Pending,
            since: now,
            failures: assignment.failures,
            given_back: false,
            ports,
            last_end: None,
            ailment: None,
        };
        let record = Record {
            assignment,
            status,
            loopback: None,
            ending: None,
            signalled: false,
            launched: false,
            started_at: None,
            deadline: None,
            last_phase: None,
            marked: false,
        };
        Self::over(record, tempo, now)
    }

    /// The same with a private loopback, where the kernel maps ports.
    #[must_use]
    pub fn with_loopback(mut self, loopback: Option<Loopback>) -> Self {
        self.record.loopback = loopback;
        self
    }

    /// The same where a record was that can't be read any more.
    #[must_use]
    pub fn with_unread_record(mut self) -> Self {
        self.unread = true;
        self
    }

    /// The life of an alloc that this node had before its daemon or the alloc's actor started.
    pub fn restore(record: Record, tempo: Arc<Tempo>, now: Timestamp) -> Self {
        let reported = Some(record.status.clone());
        Self { reported, kept: Some(record.clone()), ..Self::over(record, tempo, now) }
    }

    fn over(record: Record, tempo: Arc<Tempo>, now: Timestamp) -> Self {
        Self {
            record,
            kept: None,
            reported: None,
            tempo,
            now,
            resumed: false,
            unread: false,
            container: Container::Absent,
            checks: Checks::default(),
            leftovers: BTreeMap::new(),
            removals_failed: 0,
            clearing: Clearing::Wanted,
            end_unkept: false,
            floor: Incarnation::default(),
            timers: BTreeMap::new(),
            generation: 0,
            effects: vec![],
        }
    }

    /// Takes one input at wall time `now`; says what is to be done, in this order.
    #[must_use = "an effect that isn't carried out leaves the alloc hanging"]
    pub fn step(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        self.now = now;
        match input {
            Input::Resume { found } => self.resume(&found),
            Input::Stop => self.stop(),
            Input::Heard(heard) => self.heard(heard),
            Input::Unseen { failure } => self.unseen(failure),
            _ if !self.resumed => {}
            Input::Pulled { incarnation } => self.pulled(incarnation),
            Input::PullFailed { incarnation, failure } => self.pull_failed(incarnation, failure),
            Input::Made { incarnation } => self.made(incarnation),
            Input::Started { incarnation } => self.started(incarnation),
            Input::StartFailed { incarnation, failure } => self.start_failed(incarnation, failure),
            Input::Ended { incarnation, exit, clash, at } => {
                if incarnation == self.current() && self.container == Container::Running {
                    self.ended(exit, clash, at);
                }
            }
            Input::Checked { incarnation, result } => self.checked(incarnation, result),
            Input::Located { incarnation, seen } => self.located(incarnation, seen),
            Input::Removed { incarnation } => self.removed(incarnation),
            Input::RemoveFailed { incarnation } => self.remove_failed(incarnation),
            Input::Cleared => self.clearing = Clearing::Done,
            Input::ClearFailed => self.clear_failed(),
            Input::NotKept => self.not_kept(),
            Input::Fired(timer) => self.fired(timer),
        }
        self.settle();
        self.flush()
    }

    /// What is said about it.
    pub const fn status(&self) -> &AllocStatus {
        &self.record.status
    }

    /// Its private loopback, if it has one.
    pub const fn loopback(&self) -> Option<Loopback> {
        self.record.loopback
    }

    /// What it was made from.
    pub const fn assignment(&self) -> &Arc<Assignment> {
        &self.record.assignment
    }

    /// Whether nothing will ever happen to it any more.
    pub fn is_over(&self) -> bool {
        // What it left is known to nobody before the runtime has said what it found.
        let left = self.record.marked && (!self.resumed || self.has_volumes());
        self.phase().is_terminal() && self.leftovers.is_empty() && !left
    }

    const fn phase(&self) -> Phase {
        self.record.status.phase
    }

    const fn current(&self) -> Incarnation {
        self.record.status.incarnation
    }

    fn is_up(&self) -> bool {
        matches!(self.phase(), Phase::Running | Phase::Healthy | Phase::Unhealthy)
    }

    fn turn(&mut self, phase: Phase) {
        if self.phase() != phase {
            self.record.status.phase = phase;
            self.record.status.since = self.now;
            self.record.status.ailment = None;
        }
    }

    /// Begins the next incarnation.
    fn begin(&mut self) {
        self.record.status.incarnation = self.current().max(self.floor).next();
        self.container = Container::Absent;
        self.record.ending = None;
        self.record.launched = false;
        self.record.status.ports.iter_mut().for_each(|port| port.seen = None);
        self.turn(Phase::Pulling);
        self.effects.push(Effect::Pull { incarnation: self.current() });
    }

    fn pulled(&mut self, incarnation: Incarnation) {
        if incarnation == self.current() && self.phase() == Phase::Pulling {
            self.container = Container::Pulled;
        }
    }

    fn pull_failed(&mut self, incarnation: Incarnation, failure: Failure) {
        if incarnation == self.current()
            && self.phase() == Phase::Pulling
            && self.container == Container::Absent
        {
            self.conclude(Some(failure), None, self.now);
        }
    }

    /// A task's container is made, and nothing of it runs yet.
    fn made(&mut self, incarnation: Incarnation) {
        let is_wanted = self.container == Container::Starting && self.record.ending.is_none();
        if incarnation == self.current() && is_wanted {
            self.record.launched = true;
            self.effects.push(Effect::Launch { incarnation });
        }
    }

    fn started(&mut self, incarnation: Incarnation) {
        if incarnation != self.current() || self.container != Container::Starting {
            return;
        }
        self.container = Container::Running;
        self.record.started_at = Some(self.now);
        if let crate::Kind::Task { timeout } = self.record.assignment.kind {
            self.record.deadline = Some(self.now.after(timeout));
        }
        self.effects.push(Effect::Watch { incarnation });
        match self.phase() {
            Phase::Stopping => self.signal(),
            _ => {
                self.turn(Phase::Running);
                self.watch_health();
            }
        }
    }

    fn start_failed(&mut self, incarnation: Incarnation, failure: Failure) {
        if incarnation == self.current() && self.container == Container::Starting {
            self.container = Container::Absent;
            // The start may have gone further than its caller knows.
            self.remove(incarnation);
            let failure = if self.record.ending == Some(Ending::Ordered) { None } else { Some(failure) };
            self.conclude(failure, None, self.now);
        }
    }

    fn fired(&mut self, timer: Timer) {
        if self.timers.get(&timer.kind) != Some(&timer.generation) {
            return;
        }
        self.timers.remove(&timer.kind);
        match timer.kind {
            TimerKind::Backoff => self.begin(),
            TimerKind::Check => self.check_due(),
            TimerKind::StartPeriod => self.start_period_over(),
            TimerKind::Age => self.old_enough(),
            TimerKind::Forgive => self.forgive(),
            TimerKind::Drain => self.drained(),
            TimerKind::Grace | TimerKind::Kill => self.kill(),
            TimerKind::Deadline => self.end(Ending::Failed { failure: Failure::TimedOut }),
            TimerKind::Remove => self.remove_again(),
        }
    }

    /// A later report must have a later revision than any that was heard, and no number is used again, though the
    /// record knows of neither: it was lost, or its disk was full. What runs under a number before the one that was
    /// heard has ended, by an earlier word of this node; the leader believes nothing more of it.
    fn heard(&mut self, heard: Heard) {
        if heard.revision > self.record.status.revision {
            self.record.status.revision = heard.revision;
        }
        self.floor = self.floor.max(heard.incarnation);
        if self.floor <= self.current() {
            return;
        }
        match self.phase() {
            _ if !self.resumed => self.record.status.incarnation = self.floor,
            Phase::Pulling => self.begin(),
            Phase::Starting => self.end(self.disbelieved()),
            _ if self.is_up() => self.end(self.disbelieved()),
            _ => {}
        }
    }

    /// The end of a run of which the leader believes nothing more.
    fn disbelieved(&self) -> Ending {
        match self.record.assignment.is_task() && (self.record.launched || self.is_up()) {
            true => Ending::Failed { failure: resume::lost() },
            false => Ending::Restart,
        }
    }

    /// What follows from the state alone, whichever input led to it.
    fn settle(&mut self) {
        if !self.resumed || !self.leftovers.is_empty() {
            return;
        }
        if self.container == Container::Absent && self.phase() != Phase::Pulling {
            self.record.status.incarnation = self.current().max(self.floor);
        }
        if let Some(phase) = self.record.last_phase {
            if !self.end_unkept && self.is_cleared() {
                self.turn(phase);
                self.timers.clear();
            }
        } else if self.container == Container::Pulled {
            self.container = Container::Starting;
            self.turn(Phase::Starting);
            self.effects.push(Effect::Start { incarnation: self.current() });
        }
    }

    /// Whether the alloc may have volumes of its own.
    fn has_volumes(&self) -> bool {
        self.record.assignment.has_scratch() && self.clearing != Clearing::Done
    }

    /// Whether nothing is left of what the alloc had for itself; asks for it.
    fn is_cleared(&mut self) -> bool {
        // One that was only marked ended where nothing could be written, perhaps before this was done.
        let ended = self.phase().is_terminal() && !self.record.marked;
        if ended || !self.has_volumes() {
            return true;
        }
        if self.clearing == Clearing::Wanted {
            self.clearing = Clearing::Asked;
            self.effects.push(Effect::Clear);
        }
        false
    }

    /// Puts the record in front of the effects and the report behind them.
    fn flush(&mut self) -> Vec<Effect> {
        let mut effects = std::mem::take(&mut self.effects);
        if self.resumed && self.reported.as_ref() != Some(&self.record.status) {
            effects.push(self.report());
        }
        // Before that it knows less than an earlier record, or than it is about to be told.
        if self.resumed && self.kept.as_ref() != Some(&self.record) {
            self.kept = Some(self.record.clone());
            effects.insert(0, Effect::Persist(Box::new(self.record.clone())));
        }
        effects
    }

    fn report(&mut self) -> Effect {
        self.record.status.revision = self.record.status.revision.saturating_add(1);
        self.reported = Some(self.record.status.clone());
        Effect::Report(self.record.status.clone())
    }

    /// Says what keeps it from beginning. Of one that anything was ever said of, a record may know less than the leader:
    /// nothing is said of it before it is known what runs.
    fn unseen(&mut self, failure: Failure) {
        if !self.resumed && self.phase() == Phase::Pending && self.record.status.revision == 0 {
            self.record.status.ailment = Some(failure);
            let report = self.report();
            self.effects.push(report);
        }
    }

    fn set_timer(&mut self, kind: TimerKind, after: Duration) {
        self.generation = self.generation.saturating_add(1);
        self.timers.insert(kind, self.generation);
        self.effects.push(Effect::SetTimer { timer: Timer { kind, generation: self.generation }, after });
    }

    fn cancel(&mut self, kinds: &[TimerKind]) {
        self.timers.retain(|kind, _| !kinds.contains(kind));
    }

    /// What is left of `whole`, counted from `start` by wall time. A clock that jumped makes it at most whole.
    fn left_of(&self, whole: Duration, start: Timestamp) -> Duration {
        whole.saturating_sub(self.now.since(start))
    }
}
