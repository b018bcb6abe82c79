//! One life told by hand: a clock, the timers that it set, the record that it kept.

use std::num::NonZeroU16;

use mill_model::ports::{Port, Protocol};
use mill_model::spec::{ContainerSpec, HealthCheck, Probe, Stop, VolumeKind, VolumeMount};
use mill_model::{DeployId, Resources, SpecHash, Workload};

use super::*;
use crate::Kind;

pub(super) const START: Timestamp = Timestamp(1_700_000_000_000);

pub(super) fn assignment(kind: Kind, port: Option<u16>) -> Assignment {
    let port = port.and_then(NonZeroU16::new);
    let ports = port.map(|number| Port { name: None, number, protocol: Protocol::Tcp });
    let container = ContainerSpec {
        image: "r.example/web:v1".parse().unwrap(),
        entrypoint: None,
        command: None,
        env: vec![],
        resources: Resources::default(),
        ports: ports.into_iter().collect(),
        volumes: vec![],
        secrets: vec![],
        stop: Stop { signal: None, grace: Duration::from_secs(10), drain: Duration::from_secs(7) },
        user: None,
        workdir: None,
        read_only_root: false,
        cap_add: vec![],
        cap_drop: vec![],
        devices: vec![],
        pins: vec![],
    };
    Assignment {
        alloc: "web-7k2f".parse().unwrap(),
        workload: Workload { project: "shop".parse().unwrap(), name: "web".parse().unwrap() },
        index: 0,
        kind,
        hash: SpecHash([7; 32]),
        container,
        deploy: DeployId(1),
        failures: 0,
    }
}

/// With an ephemeral volume.
pub(super) fn with_scratch(assignment: Assignment) -> Assignment {
    let (name, kind) = ("tmp".parse().unwrap(), VolumeKind::Ephemeral { size: None });
    let volume = VolumeMount { name, path: "/tmp".to_owned(), kind, read_only: false };
    let container = ContainerSpec { volumes: vec![volume], ..assignment.container };
    Assignment { container, ..assignment }
}

pub(super) fn plain() -> Kind {
    Kind::Service { health: None }
}

pub(super) fn checked() -> Kind {
    let health = HealthCheck {
        probe: Probe::Exec { command: vec![] },
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(2),
        retries: 3,
        start_period: Duration::from_secs(30),
    };
    Kind::Service { health: Some(health) }
}

pub(super) fn task() -> Kind {
    Kind::Task { timeout: Duration::from_secs(60) }
}

/// A life, its clock, and the last generation of each timer that it set.
pub(super) struct Story {
    pub(super) life: Life,
    pub(super) now: Timestamp,
    pub(super) timers: BTreeMap<TimerKind, (Timer, Duration)>,
    pub(super) record: Option<Record>,
    pub(super) effects: Vec<Effect>,
}

impl Story {
    pub(super) fn of(kind: Kind, port: Option<u16>) -> Self {
        Self::over(Life::new(
            Arc::new(assignment(kind, port)),
            vec![],
            Heard::default(),
            Arc::default(),
            START,
        ))
        .after(Input::Resume { found: vec![] })
    }

    pub(super) fn over(life: Life) -> Self {
        Self { life, now: START, timers: BTreeMap::new(), record: None, effects: vec![] }
    }

    pub(super) fn running(kind: Kind, port: Option<u16>) -> Self {
        Self::of(kind, port).run(1)
    }

    /// Pulled and started as incarnation `n`.
    pub(super) fn run(self, n: u32) -> Self {
        let incarnation = Incarnation(n);
        let mut story = self.after(Input::Pulled { incarnation });
        if story.life.assignment().is_task() {
            story.feed(Input::Made { incarnation });
        }
        story.after(Input::Started { incarnation })
    }

    pub(super) fn after(mut self, input: Input) -> Self {
        self.feed(input);
        self
    }

    pub(super) fn feed(&mut self, input: Input) {
        self.effects = self.life.step(self.now, input);
        for effect in &self.effects {
            match effect {
                Effect::SetTimer { timer, after } => {
                    self.timers.insert(timer.kind, (*timer, *after));
                }
                Effect::Persist(record) => self.record = Some((**record).clone()),
                _ => {}
            }
        }
    }

    /// Lets the timer of this kind run out, and its time pass.
    pub(super) fn fire(&mut self, kind: TimerKind) -> Duration {
        let (timer, after) = self.timers.remove(&kind).expect("no such timer was set");
        self.now = self.now.after(after);
        self.feed(Input::Fired(timer));
        after
    }

    /// Lets it become old enough to be healthy.
    pub(super) fn age(&mut self) -> Duration {
        let after = self.fire(TimerKind::Age);
        self.answer(Ok(()));
        after
    }

    pub(super) fn exit(&mut self, code: u8) {
        let incarnation = self.life.current();
        self.feed(Input::Ended { incarnation, exit: Exit::Code(code), clash: None, at: self.now });
        self.feed(Input::Removed { incarnation });
    }

    pub(super) fn answer(&mut self, result: Result<(), &str>) {
        let result = result.map_err(|seen| CheckFailure { seen: seen.to_owned(), clash: None });
        self.feed(Input::Checked { incarnation: self.life.current(), result });
    }

    /// The daemon dies and another one takes over after `away`.
    pub(super) fn restarted(self, away: Duration, found: Vec<Found>) -> Self {
        let now = self.now.after(away);
        let bytes = self.record.expect("nothing was kept").encode().unwrap();
        let life = Life::restore(Record::decode(&bytes).unwrap(), Arc::default(), now);
        Self { now, ..Self::over(life) }.after(Input::Resume { found })
    }

    pub(super) fn has(&self, wanted: &Effect) -> bool {
        self.effects.contains(wanted)
    }

    pub(super) fn last_failure(&self) -> Option<Failure> {
        self.life.status().last_end.as_ref().and_then(|end| end.failure.clone())
    }

    #[track_caller]
    pub(super) fn is(&self, phase: Phase) {
        assert_eq!(self.life.phase(), phase, "{:#?}", self.life.record);
    }
}

pub(super) const fn found(n: u32, state: FoundState) -> Found {
    Found { incarnation: Incarnation(n), state }
}

pub(super) const ONE: Incarnation = Incarnation(1);
