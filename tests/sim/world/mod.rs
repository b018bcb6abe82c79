//! One machine: a clock, a disk, a runtime, a user, and a daemon that comes and goes.

pub(crate) mod end;
pub(crate) mod log;
pub(crate) mod rules;
pub(crate) mod tally;
pub(crate) mod weather;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mill_alloc::Exit;
use mill_drivers::disk::{Crash, FakeDisk};
use mill_fsm::Cluster;
use mill_model::{AllocId, DeployId, Incarnation, ProjectName, Tempo, Timestamp};

use crate::daemon::ops::{Op, OpEvent};
use crate::daemon::{Daemon, Due};
use crate::dice::Dice;
use crate::outside::user::User;
use crate::outside::{Kept, Kind, Name, Runtime, Space, State};
use end::Calmness;
use log::{Log, note};
use tally::Tally;
use weather::Rot;

/// When stories begin.
pub(crate) const START: Timestamp = Timestamp(1_700_000_000_000);

/// Why something went no further.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The daemon is dead.
    Died,
    /// A rule is broken.
    Broken(String),
}

pub(crate) type Go<T = ()> = Result<T, Halt>;

/// That a rule is broken.
pub(crate) fn broken<T>(what: impl Into<String>) -> Go<T> {
    Err(Halt::Broken(what.into()))
}

/// Something whose time comes.
#[derive(Debug)]
pub(crate) enum Event {
    /// The daemon is started.
    Boot,
    /// The user does something.
    User,
    /// Something goes wrong.
    Fault,
    /// From now on nothing goes wrong any more.
    Calm,
    /// Is all as it should be?
    Look,
    /// A program ends, by itself or because it was told to.
    Exit { name: Name, exit: Exit, told: bool },
    /// Something within the daemon of this life.
    Due(u64, Due),
    /// A call of the runtime takes effect, if its caller still wants it.
    Op(OpEvent),
    /// One that was under way when its caller died.
    Late(Op),
    /// The disk has room again.
    Space,
}

/// How bad it gets.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    /// How long.
    pub(crate) wild_for: Duration,
    /// Milliseconds between two troubles, at most.
    pub(crate) trouble_every: u64,
    /// Milliseconds between two deeds of the user, at most.
    pub(crate) deed_every: u64,
    /// Calls of the runtime that fail, in a hundred.
    pub(crate) calls_fail: u64,
    /// Records that can't be written, in a thousand.
    pub(crate) records_fail: u64,
    /// Deaths of the daemon after which a bit of its log is wrong, in a hundred.
    pub(crate) log_rots: u64,
    /// Deaths of the daemon after which one of its records is damaged, in a hundred.
    pub(crate) records_rot: u64,
    /// Starts of the daemon after which no leader speaks to the node for a while, in a hundred.
    pub(crate) leader_is_late: u64,
}

/// Everything.
pub(crate) struct World {
    /// By the clock that never jumps.
    pub(crate) now: Timestamp,
    /// Milliseconds by which the machine's wall clock is off.
    pub(crate) skew: i64,
    pub(crate) dice: Dice,
    pub(crate) log: Log,
    pub(crate) tempo: Arc<Tempo>,
    pub(crate) weather: Weather,
    pub(crate) wild: bool,
    queue: BTreeMap<(Timestamp, u64), Event>,
    drawn: u64,
    pub(crate) disk: FakeDisk,
    pub(crate) records: BTreeMap<AllocId, Kept>,
    pub(crate) space: Space,
    pub(crate) runtime: Runtime,
    pub(crate) user: User,
    pub(crate) daemon: Option<Daemon>,
    pub(crate) life: u64,
    /// Steps until the daemon dies.
    pub(crate) fuse: Option<u64>,
    /// The state that was published last, and its index.
    pub(crate) truth: Option<(u64, Cluster)>,
    /// Deploys that the user was told are begun.
    pub(crate) acked: BTreeMap<DeployId, ProjectName>,
    pub(crate) seen: BTreeMap<AllocId, (Incarnation, bool)>,
    pub(crate) calmness: Calmness,
    /// The bit of the log that is wrong on the disk.
    pub(crate) rot: Option<Rot>,
    pub(crate) tally: Tally,
    pub(crate) done: bool,
}

impl World {
    pub(crate) fn new(seed: u64, log: Log) -> Self {
        let mut dice = Dice::new(seed);
        let weather = Weather::draw(&mut dice);
        let tempo = Arc::new(weather::tempo(&mut dice));
        let user = User::new(seed, &mut dice);
        let mut world = Self {
            now: START,
            skew: 0,
            log,
            tempo,
            wild: true,
            queue: BTreeMap::new(),
            drawn: 0,
            disk: FakeDisk::new(dice.draw()),
            records: BTreeMap::new(),
            space: Space::default(),
            runtime: Runtime::default(),
            user,
            daemon: None,
            life: 0,
            fuse: None,
            truth: None,
            acked: BTreeMap::new(),
            seen: BTreeMap::new(),
            calmness: Calmness::default(),
            rot: None,
            tally: Tally::default(),
            done: false,
            dice,
            weather,
        };
        world.at(0, Event::Boot);
        world.at(1, Event::User);
        let trouble = world.dice.below(world.weather.trouble_every);
        world.at(trouble, Event::Fault);
        let wild_for = u64::try_from(world.weather.wild_for.as_millis()).unwrap_or_default();
        world.at(wild_for, Event::Calm);
        world
    }

    /// Has `event` happen in so many milliseconds.
    pub(crate) fn at(&mut self, ms: u64, event: Event) {
        let number = self.number();
        self.queue.insert((Timestamp(self.now.0 + ms), number), event);
    }

    /// What the machine's clock shows.
    pub(crate) const fn wall(&self) -> Timestamp {
        Timestamp(self.now.0.saturating_add_signed(self.skew))
    }

    /// Since this story began, by the clock that never jumps.
    pub(crate) fn up(&self) -> Duration {
        self.now.since(START)
    }

    /// A number that was never drawn before.
    pub(crate) const fn number(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    /// A step of the daemon's; perhaps its last.
    pub(crate) fn spark(&mut self) -> Go {
        match &mut self.fuse {
            Some(0) => {
                self.fuse = None;
                Err(Halt::Died)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Plays to the end.
    pub(crate) fn play(&mut self) -> Result<(), String> {
        while !self.done {
            let step = match self.step() {
                Err(Halt::Died) => self.die(Crash::Process),
                other => other,
            };
            match step {
                Ok(()) => {}
                Err(Halt::Died) => return Err("the daemon died twice at once".to_owned()),
                Err(Halt::Broken(what)) => return Err(what),
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Go {
        let letters = self.daemon.as_ref().is_some_and(Daemon::has_mail);
        if letters && (self.queue.is_empty() || self.dice.percent(90)) {
            return self.deliver();
        }
        let Some(((at, _), event)) = self.queue.pop_first() else {
            return broken("nothing will ever happen again");
        };
        self.now = self.now.max(at);
        self.happen(event)
    }

    fn happen(&mut self, event: Event) -> Go {
        match event {
            Event::Boot => self.boot(),
            Event::User => self.user_acts(),
            Event::Fault => self.trouble(),
            Event::Calm => {
                self.calm();
                Ok(())
            }
            Event::Look => self.look(),
            Event::Exit { name, exit, told } => {
                self.program_ends(&name, exit, told);
                Ok(())
            }
            Event::Due(life, due) if life == self.life && self.daemon.is_some() => self.due(due),
            Event::Due(..) => Ok(()),
            Event::Op(event) => self.op_due(event),
            Event::Late(op) => self.op(op),
            Event::Space => {
                self.find_space();
                Ok(())
            }
        }
    }

    fn program_ends(&mut self, name: &Name, exit: Exit, told: bool) {
        let wild = self.wild;
        let Some(container) = self.runtime.containers.get(name) else { return };
        let spared = !told && !wild && container.kind == Kind::Good;
        if container.is_running() && !spared {
            self.end_container(name, exit);
        }
    }

    /// A container's program is over.
    pub(crate) fn end_container(&mut self, name: &Name, exit: Exit) {
        let at = self.wall();
        let Some(container) = self.runtime.containers.get_mut(name) else { return };
        if container.is_running() {
            container.state = State::Ended { exit, at };
            note!(self, "container {}.{} ends: {exit:?}", name.0, name.1);
            self.tell_watcher(name);
        }
    }

    /// The daemon dies: what it had in memory is gone, what it asked the runtime for a moment ago may still come.
    pub(crate) fn die(&mut self, crash: Crash) -> Go {
        note!(self, "======== the daemon dies ({crash:?})");
        self.disk.crash(crash);
        self.daemon = None;
        self.fuse = None;
        self.life += 1;
        let power_is_lost = crash != Crash::Process;
        match power_is_lost {
            true => self.tally.power_losses += 1,
            false => self.tally.crashes += 1,
        }
        self.abandon(|_| true, !power_is_lost);
        let mut pause = self.dice.between(100, 400);
        if self.dice.percent(20) {
            pause = self.dice.between(400, 60_000);
        }
        if self.space != Space::Plenty {
            // Whoever starts it again and again gives it more and more time.
            pause += self.dice.between(1000, 15_000);
        }
        if power_is_lost {
            self.forget_unwritten_runs();
            self.runtime.reboot();
            self.runtime.away_until = Timestamp::default();
            pause += 5000;
        }
        self.may_rot();
        self.at(pause, Event::Boot);
        Ok(())
    }

    /// Whoever called the runtime is gone. A call that was about to take effect may still do so.
    pub(crate) fn abandon(&mut self, of: impl Fn(&OpEvent) -> bool, late: bool) {
        /// From the last moment of a dead caller to the effect of its last call.
        const UNDER_WAY_MS: u64 = 30;
        let soon = self.now.0 + UNDER_WAY_MS;
        let gone: Vec<(Timestamp, u64)> = self
            .queue
            .iter()
            .filter(|(_, event)| matches!(event, Event::Op(event) if of(event)))
            .map(|(key, _)| *key)
            .collect();
        let mut callers = BTreeSet::new();
        for key in gone {
            let Some(Event::Op(OpEvent { op, task, .. })) = self.queue.remove(&key) else { continue };
            // Only the call that is under way: the next of the same caller is never made.
            if late && key.0.0 <= soon && callers.insert(task) && self.dice.percent(50) {
                self.queue.insert(key, Event::Late(op));
            }
        }
    }
}
