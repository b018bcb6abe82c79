//! The leader's decisions, made where this node leads and for as long as it does.
//!
//! - owns: nothing that lasts; `control::leader` decides anew from the state each time. What nodes said of images that
//!   they shall fetch, for this reign
//! - told by: the log, through its published state; its sessions (images); its own clock
//! - fails when: it can't draw random bytes
//! - restarted by: the node's root, at once; a new term starts a new one
//!
//! # Why
//! One actor for all deploys: a deploy is replicated state and its next step a function of that, so there is
//! nothing that an actor for each could hold. Proposals are answered before the next decision is made, so that
//! nothing is decided twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mill_control::fetch::{Fetched, Fetching};
use mill_control::leader::{Decision, Facts, decide};
use mill_drivers::clock::Clock;
use mill_drivers::random::Random;
use mill_fsm::{Cluster, Command};
use mill_model::{NodeId, Term, Timestamp};
use serde_json::json;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::dispatch::{self, Wanted};
use crate::kit::{Actor, Address, Crash, Me, Message, Restart, Task, Timer};
use crate::outlet::Outlet;
use crate::raft::{self, ProposeError};

/// Decides and has it written.
pub struct Leader<C, R>(std::marker::PhantomData<fn() -> (C, R)>);

/// What the leader is told.
#[derive(Debug)]
pub enum Msg {
    /// The state has changed.
    Changed,
    /// A node says how images are that it shall fetch.
    Fetched {
        /// Which node.
        node: NodeId,
        /// All of them.
        images: Fetched,
    },
    /// A moment has come that was waited for.
    Due,
    /// Everything of the last decision was answered.
    Written {
        /// How many commands were applied.
        applied: usize,
    },
}

impl Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Fetched { .. } => "fetched",
            Self::Due => "due",
            Self::Written { .. } => "written",
        }
    }
}

/// What the leader needs.
pub struct Args<C, R> {
    /// Its term.
    pub term: Term,
    /// The state.
    pub cluster: watch::Receiver<Arc<Cluster>>,
    /// The log.
    pub raft: Address<raft::Msg>,
    /// The agents of the nodes that it gives orders to.
    pub agents: dispatch::Agents,
    /// Wall time.
    pub clock: C,
    /// What the log makes of it.
    pub stamps: raft::Stamps,
    /// Random parts of new ids.
    pub random: R,
}

impl<C: Clone, R: Clone> Clone for Args<C, R> {
    fn clone(&self) -> Self {
        Self {
            term: self.term,
            cluster: self.cluster.clone(),
            raft: self.raft.clone(),
            agents: self.agents.clone(),
            clock: self.clock.clone(),
            stamps: self.stamps.clone(),
            random: self.random.clone(),
        }
    }
}

/// What the leader holds.
pub struct State<C, R> {
    args: Args<C, R>,
    decided: u64,
    refused: u64,
    /// Set while proposals are on their way; a change meanwhile is looked at when they are answered.
    writing: Option<Task>,
    changed_meanwhile: bool,
    due: Option<Timer>,
    fetching: Fetching,
    /// What its sessions are to have fetched.
    fetches: watch::Sender<Wanted>,
    _watching: Task,
}

impl<C, R> Actor for Leader<C, R>
where
    C: Clock + Clone,
    R: Random + Clone,
{
    type Msg = Msg;
    type Args = Args<C, R>;
    type State = State<C, R>;

    async fn start(me: &Me<Self>, args: Self::Args) -> Result<Self::State, Crash> {
        let fetches = watch::Sender::new(Wanted::default());
        let here = me.address();
        let dispatch = dispatch::Args {
            term: args.term,
            cluster: args.cluster.clone(),
            raft: args.raft.clone(),
            agents: args.agents.clone(),
            fetches: fetches.subscribe(),
            fetched: Outlet::new(move |(node, images)| here.tell(Msg::Fetched { node, images })),
        };
        me.child::<dispatch::Dispatch>("dispatch", dispatch, Restart::OnCrash)?;
        let watching = me.on_change(&args.cluster, Msg::Changed);
        let mut state = State {
            args,
            decided: 0,
            refused: 0,
            writing: None,
            changed_meanwhile: false,
            due: None,
            fetching: Fetching::default(),
            fetches,
            _watching: watching,
        };
        state.decide(me)?;
        Ok(state)
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut Self::State) -> Result<(), Crash> {
        match msg {
            Msg::Changed => state.changed(me),
            Msg::Fetched { node, images } => state.fetched(me, node, images),
            Msg::Due => state.decide(me),
            Msg::Written { applied } => state.written(me, applied),
        }
    }

    fn observe(state: &Self::State) -> serde_json::Value {
        json!({
            "term": state.args.term,
            "decided": state.decided,
            "refused": state.refused,
            "writing": state.writing.is_some(),
            "fetches": state.fetching.asked.values().map(BTreeMap::len).sum::<usize>(),
        })
    }
}

impl<C, R> State<C, R>
where
    C: Clock + Clone,
    R: Random + Clone,
{
    fn changed(&mut self, me: &Me<Leader<C, R>>) -> Result<(), Crash> {
        self._watching = me.on_change(&self.args.cluster, Msg::Changed);
        self.decide(me)
    }

    fn fetched(&mut self, me: &Me<Leader<C, R>>, node: NodeId, images: Fetched) -> Result<(), Crash> {
        self.fetching.said.insert(node, images);
        self.decide(me)
    }

    fn decide(&mut self, me: &Me<Leader<C, R>>) -> Result<(), Crash> {
        if self.writing.is_some() {
            self.changed_meanwhile = true;
            return Ok(());
        }
        let cluster = Arc::clone(&self.args.cluster.borrow());
        let now = self.args.stamps.now(&self.args.clock, me.tempo(), &cluster);
        let facts = Facts { cluster: &cluster, fetching: &self.fetching, now, tempo: me.tempo() };
        let mut broken = None;
        let mut draw = || {
            self.args.random.number().unwrap_or_else(|error| {
                broken = Some(error);
                0
            })
        };
        let Decision { commands, fetches, wake } = decide(&facts, &mut draw);
        if let Some(error) = broken {
            return Err(error.into());
        }
        if fetches != self.fetching.asked {
            self.fetches.send_replace(Arc::new(fetches.clone()));
            self.fetching.asked = fetches;
        }
        self.due = Some(me.after(until(wake, now, me.tempo().leader_round), Msg::Due));
        if !commands.is_empty() {
            self.decided += 1;
            self.write(me, commands);
        }
        Ok(())
    }

    fn write(&mut self, me: &Me<Leader<C, R>>, commands: Vec<Command>) {
        debug!(count = commands.len(), "proposing what was decided");
        let (raft, deadline) = (self.args.raft.clone(), me.tempo().write_deadline);
        let propose = async move {
            let answers = commands.into_iter().map(|command| propose(&raft, deadline, command));
            futures::future::join_all(answers).await.into_iter().filter(|applied| *applied).count()
        };
        let done = |applied: Result<usize, _>| Msg::Written { applied: applied.unwrap_or_default() };
        self.writing = Some(me.task("propose", propose, done));
    }

    fn written(&mut self, me: &Me<Leader<C, R>>, applied: usize) -> Result<(), Crash> {
        self.writing = None;
        // What was refused is decided anew with the next change or round, not at once: it would be refused again.
        if applied == 0 {
            self.refused += 1;
        }
        match std::mem::take(&mut self.changed_meanwhile) || applied > 0 {
            true => self.decide(me),
            false => Ok(()),
        }
    }
}

async fn propose(raft: &Address<raft::Msg>, deadline: Duration, command: Command) -> bool {
    let answer = raft.ask(deadline, |reply| raft::Msg::Propose { command, reply }).await;
    match answer {
        Ok(Ok(_)) => return true,
        Ok(Err(ProposeError::Rejected(rejected))) => {
            warn!(reason = %rejected, "a decision was rejected");
        }
        Ok(Err(error)) => debug!(%error, "a decision was not written"),
        Err(error) => debug!(%error, "a decision was not answered"),
    }
    false
}

fn until(wake: Option<Timestamp>, now: Timestamp, round: Duration) -> Duration {
    wake.map_or(round, |wake| wake.since(now).min(round))
}
