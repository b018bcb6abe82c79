//! One alloc's life on this node: its decisions are [`mill_alloc::Life`]'s, its deeds are here.
//!
//! - owns: the alloc's container, its record on disk, its timers
//! - told by: the agent (orders), its own tasks and timers (what came of its deeds)
//! - fails when: a task of its own panics, or the agent is away at a report
//! - restarted by: the agent, for ever; it reads its record, asks the runtime what runs, and takes it from there,
//!   as after a restart of the daemon: there is no other recovery

mod check;
mod deeds;
mod launch;
mod streams;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use mill_alloc::{
    Exit, Found, FoundState, Heard, Input, Life, Record, RecordError, Timer as LifeTimer, TimerKind,
};
use mill_control::node::Begin;
use mill_drivers::bundle::Drivers;
use mill_drivers::cgroups::Oom;
use mill_drivers::clock::Clock as _;
use mill_drivers::containers::{self, ContainerError, Containers as _};
use mill_drivers::records::{Kept, Records as _, RecordsError};
use mill_model::{AllocId, Failure, Incarnation, NodeName};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::kit::{Actor, Address, Crash, Me, Message, Reply, Task, TaskPanicked, Timer};
use crate::outlet::Outlet;
use crate::secrets::Sealed;
use crate::{agent, images};

pub(crate) use check::words;
pub use streams::{Pipes, Streams};

/// The room.
pub struct Alloc<D>(PhantomData<fn() -> D>);

/// Looks that fail before anyone is told: the runtime may just be started anew.
const LOOKS_UNTOLD: u32 = 3;

/// What it is told.
#[derive(Debug)]
pub enum Msg {
    /// Stop it for good.
    Stop,
    /// What was heard of it elsewhere.
    Heard(Heard),
    /// The runtime was asked what it has of this alloc.
    Looked(Result<Result<Vec<containers::Found>, ContainerError>, TaskPanicked>),
    /// Ask the runtime again.
    LookAgain,
    /// Its container is made, and waits for a word to start.
    Made {
        /// Which.
        incarnation: Incarnation,
        /// Told whether it may.
        go: Reply<Result<(), Failure>>,
    },
    /// Something came of a deed.
    Came(Result<Input, TaskPanicked>),
    /// A timer has run out.
    Fired(LifeTimer),
    /// A deed is done that has no answer.
    Done(Result<(), TaskPanicked>),
}

impl Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Heard(_) => "heard",
            Self::Looked(_) => "looked",
            Self::LookAgain => "look_again",
            Self::Made { .. } => "made",
            Self::Came(_) => "came",
            Self::Fired(_) => "fired",
            Self::Done(_) => "done",
        }
    }
}

/// What all allocs of a node have in common.
#[derive(Debug, Clone)]
pub struct Home<D> {
    /// The node's hands.
    pub drivers: D,
    /// The node's name.
    pub node: NodeName,
    /// Where mapped ports are reached.
    pub address: IpAddr,
    /// Who has the plane read containers' output.
    pub streams: Outlet<Streams>,
    /// The secrets that containers run with.
    pub secrets: Sealed,
}

/// What it starts with.
#[derive(Debug, Clone)]
pub struct Args<D> {
    /// The node's.
    pub home: Home<D>,
    /// The alloc's.
    pub begin: Begin,
    /// Its supervisor.
    pub agent: Address<agent::Msg>,
    /// Where images are pulled.
    pub images: Address<images::Msg>,
}

/// What it holds.
pub struct State<D> {
    home: Home<D>,
    agent: Address<agent::Msg>,
    images: Address<images::Msg>,
    life: Life,
    timers: BTreeMap<TimerKind, Timer>,
    /// By what they do; one of a kind at a time, a new one ends the old.
    tasks: BTreeMap<&'static str, Task>,
    /// Removals of several incarnations may be under way at once.
    removals: BTreeMap<Incarnation, Task>,
    /// Who waits for the word to start what was made.
    go: Option<Reply<Result<(), Failure>>>,
    looked: u32,
    look_again: Option<Timer>,
}

impl<D: Drivers> Actor for Alloc<D> {
    type Msg = Msg;
    type Args = Args<D>;
    type State = State<D>;

    async fn start(me: &Me<Self>, args: Args<D>) -> Result<State<D>, Crash> {
        let (life, is_recorded) = revive(me, &args).await?;
        let Args { home, agent, images, .. } = args;
        let alloc = life.status().id.clone();
        let mut state = State {
            home,
            agent,
            images,
            life,
            timers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            removals: BTreeMap::new(),
            go: None,
            looked: 0,
            look_again: None,
        };
        if is_recorded {
            state.look(me);
        }
        // What was heard of it, and orders that came while it was away.
        let record = is_recorded.then(|| state.life.status().clone());
        state.agent.tell(agent::Msg::Woke { alloc, record })?;
        Ok(state)
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut State<D>) -> Result<(), Crash> {
        match msg {
            Msg::Stop => state.take(me, Input::Stop).await,
            Msg::Heard(heard) => {
                state.take(me, Input::Heard(heard)).await?;
                if state.looked == 0 && !state.tasks.contains_key("look") {
                    state.look(me);
                }
                Ok(())
            }
            Msg::Looked(found) => state.looked(me, found?).await,
            Msg::LookAgain => {
                state.look(me);
                Ok(())
            }
            Msg::Made { incarnation, go } => {
                state.go = Some(go);
                state.take(me, Input::Made { incarnation }).await?;
                // One that nobody wants any more hears that nobody answers.
                state.go = None;
                Ok(())
            }
            Msg::Came(input) => state.take(me, input?).await,
            Msg::Fired(timer) => state.take(me, Input::Fired(timer)).await,
            Msg::Done(done) => Ok(done?),
        }
    }

    fn observe(state: &State<D>) -> Value {
        let status = state.life.status();
        json!({
            "workload": state.life.assignment().workload.to_string(),
            "phase": status.phase.to_string(),
            "incarnation": status.incarnation,
            "failures": status.failures,
            "since": status.since,
            "ports": status.ports.iter().map(|port| port.mapped).collect::<Vec<_>>(),
            "doing": state.tasks.iter().filter(|(_, task)| !task.is_finished()).map(|(name, _)| *name).collect::<Vec<_>>(),
        })
    }
}

/// The life that the record tells of, else one that begins; and whether there is a record.
async fn revive<D: Drivers>(me: &Me<Alloc<D>>, args: &Args<D>) -> Result<(Life, bool), Crash> {
    let alloc = &args.begin.assignment.alloc;
    let (tempo, now) = (Arc::clone(me.tempo()), args.home.drivers.clock().now());
    let kept = args.home.drivers.records().read(alloc).await.transpose();
    let anew = |tempo| {
        let Begin { assignment, ports, loopback, heard } = args.begin.clone();
        Life::new(assignment, ports, heard, tempo, now).with_loopback(loopback)
    };
    match kept.map(read_record).transpose() {
        Ok(Some(record)) => Ok((Life::restore(record, tempo, now), true)),
        Ok(None) => Ok((anew(tempo), false)),
        Err(Unread::Damaged(error)) => {
            warn!(%alloc, error, "the record can't be read; what runs of this alloc is replaced, if it isn't a task");
            Ok((anew(tempo).with_unread_record(), false))
        }
        Err(Unread::NotNow(crash)) => Err(crash),
    }
}

/// Why there is no record.
pub(crate) enum Unread {
    /// It is lost for good; how, for people.
    Damaged(String),
    /// Another attempt may read it: by this daemon, or by the later version that wrote it.
    NotNow(Crash),
}

/// What a record says.
pub(crate) fn read_record(kept: Result<Kept, RecordsError>) -> Result<Record, Unread> {
    let Kept { bytes, over } = kept.map_err(|error| match error.is_damage() {
        true => Unread::Damaged(words(&error)),
        false => Unread::NotNow(error.into()),
    })?;
    match Record::decode(&bytes) {
        Ok(record) => Ok(match over {
            Some(phase) => record.over(phase),
            None => record,
        }),
        // Whoever went back a version should go forward again.
        Err(error @ RecordError::Version { .. }) => Err(Unread::NotNow(error.into())),
        Err(error) => Err(Unread::Damaged(words(&error))),
    }
}

impl<D: Drivers> State<D> {
    fn alloc(&self) -> &AllocId {
        &self.life.status().id
    }

    fn look(&mut self, me: &Me<Alloc<D>>) {
        let (containers, alloc) = (self.home.drivers.containers().clone(), self.alloc().clone());
        let look = me.task("look", async move { containers.list(&alloc).await }, Msg::Looked);
        self.tasks.insert("look", look);
    }

    async fn looked(
        &mut self,
        me: &Me<Alloc<D>>,
        found: Result<Vec<containers::Found>, ContainerError>,
    ) -> Result<(), Crash> {
        match found {
            Ok(found) => {
                let found = found.iter().map(of_life).collect();
                self.take(me, Input::Resume { found }).await
            }
            Err(error) => {
                // Nothing can be decided before it is known what runs.
                self.looked = self.looked.saturating_add(1);
                let pause = me.tempo().runtime_delay(self.looked);
                info!(alloc = %self.alloc(), %error, ?pause, "the runtime can't say what runs, asking again");
                self.look_again = Some(me.after(pause, Msg::LookAgain));
                match self.looked {
                    0..=LOOKS_UNTOLD => Ok(()),
                    _ => {
                        self.take(me, Input::Unseen { failure: Failure::Runtime { detail: words(&error) } })
                            .await
                    }
                }
            }
        }
    }

    /// Gives the life an input and does what follows.
    async fn take(&mut self, me: &Me<Alloc<D>>, input: Input) -> Result<(), Crash> {
        let mut input = Some(input);
        // A deed that fails at once is an input in its turn; no effect of it fails at once again.
        while let Some(next) = input.take() {
            let effects = self.life.step(self.home.drivers.clock().now(), next);
            input = self.carry_out(me, effects).await?;
        }
        if self.life.is_over() {
            self.agent.tell(agent::Msg::Over { alloc: self.alloc().clone() })?;
        }
        Ok(())
    }
}

fn of_life(found: &containers::Found) -> Found {
    let state = match &found.state {
        containers::State::Created => FoundState::Created,
        containers::State::Running { .. } => FoundState::Running,
        containers::State::Ended(exit) => FoundState::Ended { exit: exit_of(exit), at: exit.at },
    };
    Found { incarnation: found.name.incarnation, state }
}

fn exit_of(exit: &containers::Exit) -> Exit {
    match (exit.oom, exit.signal) {
        (Some(Oom::Ceiling), _) => Exit::OutOfMemory,
        (Some(Oom::Node), _) => Exit::NodeOutOfMemory,
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(exit.code),
    }
}
