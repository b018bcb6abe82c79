//! One node's session: orders there, reports back.
//!
//! - owns: what the node is known to have in this reign
//! - told by: the published state; the leader (images to fetch); the node's agent
//! - fails when: the agent is away, refuses the term, ends the session (as its own crash does) or leaves an order
//!   unanswered, or a report isn't written
//! - restarted by: dispatch, however often; the session then opens anew, from the node's inventory

use std::sync::Arc;

use mill_control::dispatch::{Ack, Batch, Inventory, News, Order, Refusal};
use mill_control::fetch::{Fetched, Fetches};
use mill_control::leader::session::{Dispatch, Session};
use mill_fsm::{Cluster, Command};
use mill_model::{NodeId, Term};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Wanted, agent, raft};
use crate::kit::{Actor, Address, AskError, Crash, Me, Message, Task, TaskPanicked};
use crate::outlet::Outlet;
use crate::raft::ProposeError;

/// Talks with one node.
pub(super) struct NodeSession;

/// What a session is told.
#[derive(Debug)]
pub(super) enum Msg {
    /// The state has changed.
    Changed,
    /// The node has answered all orders, or hasn't.
    Answered(Result<Result<Vec<Ack>, AskError>, TaskPanicked>),
    /// The node has news.
    Said(News),
    /// The node's end of the session is gone.
    Closed,
    /// A report is written, or isn't.
    Written {
        /// Which.
        sequence: Option<u64>,
        /// What became of it.
        result: Result<Result<Result<mill_fsm::Done, ProposeError>, AskError>, TaskPanicked>,
    },
}

impl Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Answered(_) => "answered",
            Self::Said(_) => "said",
            Self::Closed => "closed",
            Self::Written { .. } => "written",
        }
    }
}

/// What a session needs.
#[derive(Clone)]
pub(super) struct Args {
    pub(super) node: NodeId,
    pub(super) term: Term,
    pub(super) cluster: watch::Receiver<Arc<Cluster>>,
    pub(super) raft: Address<raft::Msg>,
    pub(super) agent: Address<agent::Msg>,
    pub(super) fetches: watch::Receiver<Wanted>,
    pub(super) fetched: Outlet<(NodeId, Fetched)>,
}

/// What a session holds.
pub(super) struct State {
    args: Args,
    session: Session,
    /// Orders on their way; what changes meanwhile is looked at when they are answered.
    ordering: Option<Task>,
    writing: Vec<Task>,
    caught_up: bool,
    orders: u64,
    reports: u64,
    watching: [Task; 2],
    _closing: Task,
}

impl Actor for NodeSession {
    type Msg = Msg;
    type Args = Args;
    type State = State;

    async fn start(me: &Me<Self>, args: Args) -> Result<State, Crash> {
        let (inventory, _closing) = open(me, &args).await?;
        // What it said in an earlier session may not be so any more.
        args.fetched.tell((args.node, Fetched::new()))?;
        debug!(node = %args.node, held = inventory.allocs.len(), "session open");
        let session = Session::open(args.node, args.term, &inventory);
        let watching = watch(me, &args);
        let (ordering, writing) = (None, vec![]);
        let (caught_up, orders, reports) = (false, 0, 0);
        let mut state =
            State { args, session, ordering, writing, caught_up, orders, reports, watching, _closing };
        state.speak(me);
        Ok(state)
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut State) -> Result<(), Crash> {
        match msg {
            Msg::Changed => state.changed(me),
            Msg::Answered(answers) => state.answered(me, answers?).await?,
            Msg::Said(News::Statuses(batch)) => state.reported(me, &batch),
            Msg::Said(News::Images(images)) => state.args.fetched.tell((state.args.node, images))?,
            Msg::Closed => return Err(Crash::because("the node's agent has ended the session")),
            Msg::Written { sequence, result } => state.written(sequence, result?)?,
        }
        Ok(())
    }

    fn observe(state: &State) -> serde_json::Value {
        json!({
            "node": state.args.node,
            "term": state.args.term,
            "caught_up": state.caught_up,
            "orders": state.orders,
            "reports": state.reports,
        })
    }
}

/// Hears of the next change of the state, or of what is to be fetched.
fn watch(me: &Me<NodeSession>, args: &Args) -> [Task; 2] {
    [me.on_change(&args.cluster, Msg::Changed), me.on_change(&args.fetches, Msg::Changed)]
}

/// Opens the session; the node says what it has.
///
/// The node's end is what reports come through. An agent that begins a new life has lost it, and would never report
/// again: that this end is dropped is how the session hears of it, as it will hear of a connection that is cut.
async fn open(me: &Me<NodeSession>, args: &Args) -> Result<(Inventory, Task), Crash> {
    let here = me.address();
    let closed = CancellationToken::new();
    let theirs = closed.clone().drop_guard();
    let news = Outlet::new(move |news| {
        let _open = &theirs;
        here.tell(Msg::Said(news))
    });
    let term = args.term;
    let deadline = me.tempo().ask_deadline;
    let answer: Result<Inventory, Refusal> =
        args.agent.ask(deadline, |reply| agent::Msg::Open { term, news, reply }).await?;
    let closing = me.task("closing", closed.cancelled_owned(), |_| Msg::Closed);
    Ok((answer?, closing))
}

impl State {
    fn changed(&mut self, me: &Me<NodeSession>) {
        self.watching = watch(me, &self.args);
        self.speak(me);
    }

    fn speak(&mut self, me: &Me<NodeSession>) {
        if self.ordering.is_some() {
            return;
        }
        let cluster = Arc::clone(&self.args.cluster.borrow());
        let wanted = Arc::clone(&self.args.fetches.borrow());
        let none = Fetches::new();
        let fetches = wanted.get(&self.args.node).unwrap_or(&none);
        let Dispatch { orders, command } = self.session.next(&cluster, fetches);
        if let Some(command) = command {
            self.write(me, None, command);
        }
        if !orders.is_empty() || !self.caught_up {
            self.orders += orders.len() as u64;
            let (agent, deadline) = (self.args.agent.clone(), me.tempo().ask_deadline);
            let give = async move {
                let mut acks = Vec::with_capacity(orders.len());
                for order in orders {
                    acks.push(give(&agent, deadline, order).await?);
                }
                Ok(acks)
            };
            self.ordering = Some(me.task("orders", give, Msg::Answered));
        }
    }

    async fn answered(
        &mut self,
        me: &Me<NodeSession>,
        acks: Result<Vec<Ack>, AskError>,
    ) -> Result<(), Crash> {
        self.ordering = None;
        for ack in &acks? {
            self.session.acked(ack);
        }
        if !self.caught_up {
            let (term, deadline) = (self.args.term, me.tempo().ask_deadline);
            let counted: Result<(), Refusal> =
                self.args.agent.ask(deadline, |reply| agent::Msg::CaughtUp { term, reply }).await?;
            counted?;
            self.caught_up = true;
        }
        self.speak(me);
        Ok(())
    }

    fn reported(&mut self, me: &Me<NodeSession>, batch: &Batch) {
        self.reports += 1;
        let command = self.session.reported(batch);
        self.write(me, Some(batch.sequence), command);
        self.speak(me);
    }

    fn write(&mut self, me: &Me<NodeSession>, sequence: Option<u64>, command: Command) {
        let (raft, deadline) = (self.args.raft.clone(), me.tempo().write_deadline);
        let propose = async move { raft.ask(deadline, |reply| raft::Msg::Propose { command, reply }).await };
        self.writing.push(me.task("report", propose, move |result| Msg::Written { sequence, result }));
    }

    fn written(
        &mut self,
        sequence: Option<u64>,
        result: Result<Result<mill_fsm::Done, ProposeError>, AskError>,
    ) -> Result<(), Crash> {
        self.writing.retain(|task| !task.is_finished());
        result??;
        if let Some(sequence) = sequence {
            self.args.agent.tell(agent::Msg::Acknowledged { sequence })?;
        }
        Ok(())
    }
}

async fn give(
    agent: &Address<agent::Msg>,
    deadline: std::time::Duration,
    order: Order,
) -> Result<Ack, AskError> {
    agent.ask(deadline, |reply| agent::Msg::Order { order, reply }).await
}
