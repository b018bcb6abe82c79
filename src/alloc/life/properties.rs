//! Random lives: any order of answers, deaths, orders, late news and restarts of the daemon.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::story::{assignment, checked, plain, task, with_scratch};
use super::*;
use crate::Kind;

#[derive(Debug, Clone, Copy)]
enum Event {
    /// One of the answers that are on their way arrives; good or bad.
    Answer { which: usize, good: bool },
    /// One of all timers ever set runs out, old ones too.
    Fire { which: usize },
    /// What runs dies.
    Die { code: u8 },
    /// Somebody removes all containers.
    Vanish,
    /// News of some incarnation, made up.
    Rumour { incarnation: u32, kind: u8 },
    /// The leader wants it gone.
    Stop,
    /// The leader has heard of this run.
    Heard { incarnation: u32 },
    /// The daemon dies: answers and timers are lost, containers are not, save one that was just being made.
    DaemonRestart { half_made_lost: bool },
    /// The daemon dies with the last record not yet on disk (the disk is full).
    DaemonRestartUnkept,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(which, good)| Event::Answer { which, good }),
        6 => any::<usize>().prop_map(|which| Event::Fire { which }),
        2 => any::<u8>().prop_map(|code| Event::Die { code }),
        1 => Just(Event::Vanish),
        2 => (0..6_u32, 0..7_u8).prop_map(|(incarnation, kind)| Event::Rumour { incarnation, kind }),
        1 => Just(Event::Stop),
        1 => (0..6_u32).prop_map(|incarnation| Event::Heard { incarnation }),
        2 => any::<bool>().prop_map(|half_made_lost| Event::DaemonRestart { half_made_lost }),
        1 => Just(Event::DaemonRestartUnkept),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(plain()), Just(checked()), Just(task())]
}

/// How far a container is.
#[derive(Debug, Clone, Copy)]
enum State {
    Made,
    Runs,
    Ended(u8),
}

impl State {
    fn die(&mut self, code: u8) {
        if matches!(self, Self::Runs) {
            *self = Self::Ended(code);
        }
    }
}

/// The world around one life: what the runtime has, what is on its way.
struct World {
    life: Life,
    now: Timestamp,
    kept: Option<Record>,
    containers: BTreeMap<Incarnation, State>,
    /// Whether the word was given to start a task.
    launched: bool,
    /// Whether its ephemeral volume is there.
    scratch: bool,
    underway: Vec<Effect>,
    timers: Vec<Timer>,
    latest: BTreeMap<TimerKind, u64>,
    started: BTreeSet<Incarnation>,
    status: Option<AllocStatus>,
}

impl World {
    fn new(kind: Kind) -> Self {
        let now = Timestamp(1_700_000_000_000);
        let life = Life::new(
            Arc::new(with_scratch(assignment(kind, None))),
            vec![],
            Heard::default(),
            Arc::default(),
            now,
        );
        let mut world = Self {
            life,
            now,
            kept: None,
            containers: BTreeMap::new(),
            launched: false,
            scratch: false,
            underway: vec![],
            timers: vec![],
            latest: BTreeMap::new(),
            started: BTreeSet::new(),
            status: None,
        };
        world.feed(Input::Resume { found: vec![] });
        world
    }

    fn feed(&mut self, input: Input) {
        self.now = self.now.after(Duration::from_millis(700));
        let stale =
            matches!(&input, Input::Fired(timer) if self.latest.get(&timer.kind) != Some(&timer.generation));
        let before = self.life.record.clone();
        let effects = self.life.step(self.now, input);
        if stale {
            assert_eq!(effects, [], "a timer of an old generation acted");
        }
        let after = &self.life.record;
        assert!(after.status.incarnation >= before.status.incarnation, "an incarnation went back");
        if before.status.phase.is_terminal() {
            assert_eq!(after.status.phase, before.status.phase, "terminal isn't terminal");
        }
        if after.status.phase.is_terminal() {
            assert!(!self.scratch, "ended for good, and its volume is left");
            assert!(
                self.containers.is_empty(),
                "ended for good, and a container is left: {:?}",
                self.containers
            );
        }
        let mut kept = false;
        for effect in effects {
            if let Effect::Persist(record) = &effect {
                self.kept = Some((**record).clone());
                kept = true;
                continue;
            }
            if matches!(effect, Effect::Start { .. } | Effect::Launch { .. }) {
                assert!(kept, "a start without its record on disk");
            }
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match &effect {
            Effect::Start { incarnation } => {
                assert!(self.containers.is_empty(), "two at once: {:?} and {incarnation}", self.containers);
                assert!(!self.life.phase().is_terminal());
                assert!(self.started.insert(*incarnation), "{incarnation} started twice");
                let is_task = self.life.assignment().is_task();
                self.containers.insert(*incarnation, if is_task { State::Made } else { State::Runs });
                self.scratch = true;
                self.underway.push(effect);
            }
            Effect::Launch { incarnation } => {
                assert!(!std::mem::replace(&mut self.launched, true), "a task runs twice");
                if let Some(state) = self.containers.get_mut(incarnation) {
                    *state = State::Runs;
                }
                self.underway.push(effect);
            }
            Effect::Kill { incarnation } | Effect::Signal { incarnation } => {
                if let Some(state) = self.containers.get_mut(incarnation) {
                    state.die(137);
                }
            }
            Effect::SetTimer { timer, .. } => {
                self.latest.insert(timer.kind, timer.generation);
                self.timers.push(*timer);
            }
            Effect::Report(status) => {
                if let Some(before) = &self.status {
                    assert!(status.revision > before.revision, "a revision didn't grow");
                }
                self.status = Some(status.clone());
            }
            _ => self.underway.push(effect),
        }
    }

    fn answer(&mut self, which: usize, good: bool) {
        if self.underway.is_empty() {
            return;
        }
        let effect = self.underway.remove(which % self.underway.len());
        let failure = || Failure::Runtime { detail: "no".into() };
        let input = match effect {
            Effect::Pull { incarnation } if good => Input::Pulled { incarnation },
            Effect::Pull { incarnation } => Input::PullFailed { incarnation, failure: failure() },
            Effect::Start { incarnation }
                if good && matches!(self.containers.get(&incarnation), Some(State::Made)) =>
            {
                let before = self.launched;
                self.feed(Input::Made { incarnation });
                if self.launched != before {
                    return;
                }
                Input::StartFailed { incarnation, failure: failure() }
            }
            Effect::Start { incarnation } | Effect::Launch { incarnation }
                if good && self.containers.contains_key(&incarnation) =>
            {
                Input::Started { incarnation }
            }
            // Its container may be there all the same.
            Effect::Start { incarnation } | Effect::Launch { incarnation } => {
                Input::StartFailed { incarnation, failure: failure() }
            }
            Effect::Check { incarnation, .. } => {
                let failure = CheckFailure { seen: "500".into(), clash: None };
                Input::Checked { incarnation, result: if good { Ok(()) } else { Err(failure) } }
            }
            Effect::Locate { incarnation } => {
                let seen = vec![good.then(|| "127.0.0.1:80".parse().unwrap())];
                Input::Located { incarnation, seen }
            }
            Effect::Remove { incarnation } if good => {
                self.containers.remove(&incarnation);
                Input::Removed { incarnation }
            }
            Effect::Remove { incarnation } => Input::RemoveFailed { incarnation },
            Effect::Clear if good => {
                assert!(self.containers.is_empty(), "cleared under a container");
                self.scratch = false;
                Input::Cleared
            }
            Effect::Clear => Input::ClearFailed,
            Effect::Watch { incarnation } => match self.containers.get(&incarnation) {
                Some(State::Made | State::Runs) => return self.underway.push(effect),
                Some(State::Ended(code)) => {
                    let exit = Exit::Code(*code);
                    Input::Ended { incarnation, exit, clash: None, at: self.now }
                }
                None => Input::Ended { incarnation, exit: Exit::Vanished, clash: None, at: self.now },
            },
            other => panic!("{other:?} has no answer"),
        };
        self.feed(input);
    }

    fn restart_daemon(&mut self) {
        let found = self.containers.iter().map(|(incarnation, exit)| Found {
            incarnation: *incarnation,
            state: match exit {
                State::Made => FoundState::Created,
                State::Runs => FoundState::Running,
                State::Ended(code) => FoundState::Ended { exit: Exit::Code(*code), at: self.now },
            },
        });
        let found = found.collect();
        let record = self.kept.clone().expect("the first record is on disk before anything else");
        let heard = self.status.as_ref().map(|status| status.revision).unwrap_or_default();
        self.life = Life::restore(record, Arc::default(), self.now);
        self.underway.clear();
        self.timers.clear();
        self.latest.clear();
        let heard = Heard { incarnation: Incarnation(0), revision: heard };
        self.feed(Input::Heard(heard));
        self.feed(Input::Resume { found });
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Answer { which, good } => self.answer(which, good),
            Event::Fire { .. } if self.timers.is_empty() => {}
            Event::Fire { which } => {
                let timer = self.timers[which % self.timers.len()];
                self.feed(Input::Fired(timer));
                self.latest.retain(|kind, generation| (*kind, *generation) != (timer.kind, timer.generation));
            }
            Event::Die { code } => {
                self.containers.values_mut().for_each(|state| state.die(code));
            }
            Event::Vanish => self.containers.clear(),
            Event::Rumour { incarnation, kind } => self.rumour(Incarnation(incarnation), kind),
            Event::Stop => self.feed(Input::Stop),
            Event::Heard { incarnation } => {
                let revision = self.life.status().revision;
                self.feed(Input::Heard(Heard { incarnation: Incarnation(incarnation), revision }));
            }
            Event::DaemonRestart { half_made_lost } => {
                for effect in &self.underway {
                    if let (true, Effect::Start { incarnation }) = (half_made_lost, effect) {
                        self.containers.remove(incarnation);
                    }
                }
                self.restart_daemon();
            }
            Event::DaemonRestartUnkept => {
                let before = self.kept.clone();
                self.answer(0, true);
                // A start is made only with its record on disk, so its record is never the one lost.
                let starts = |effect: &Effect| matches!(effect, Effect::Start { .. } | Effect::Launch { .. });
                if !self.underway.iter().any(starts) {
                    self.kept = before;
                }
                self.restart_daemon();
            }
        }
    }

    /// News of an incarnation that isn't the current one must change nothing.
    fn rumour(&mut self, incarnation: Incarnation, kind: u8) {
        if incarnation == self.life.current() || self.life.leftovers.contains_key(&incarnation) {
            return;
        }
        let failure = Failure::Vanished;
        let news = match kind {
            0 => Input::Pulled { incarnation },
            1 => Input::PullFailed { incarnation, failure },
            2 => Input::Started { incarnation },
            3 => Input::StartFailed { incarnation, failure },
            4 => Input::Ended { incarnation, exit: Exit::Code(0), clash: None, at: self.now },
            5 => Input::Checked { incarnation, result: Ok(()) },
            _ => Input::Removed { incarnation },
        };
        let before = self.life.record.clone();
        self.feed(news);
        assert_eq!(self.life.record, before, "late news of {incarnation} touched another");
    }

    /// A world that behaves again: every answer arrives, every timer fires.
    fn calm_down(&mut self) {
        for _ in 0..2_000 {
            if self.life.is_over() {
                return;
            }
            if !self.underway.is_empty() {
                self.answer(0, true);
            }
            for timer in std::mem::take(&mut self.timers) {
                self.feed(Input::Fired(timer));
                self.latest.retain(|kind, generation| (*kind, *generation) != (timer.kind, timer.generation));
            }
        }
        panic!("it hangs in {:?}: {:#?}", self.life.phase(), self.life.record);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_life_keeps_its_promises(kind in kind(), events in prop::collection::vec(event(), 1..150)) {
        let mut world = World::new(kind);
        for event in events {
            world.happen(event);
        }
        world.feed(Input::Stop);
        world.calm_down();
        prop_assert!(world.containers.is_empty(), "left behind: {:?}", world.containers);
    }
}
