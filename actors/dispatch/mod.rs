//! Sessions of the leader with the nodes: one for each node of the state.
//!
//! - owns: which nodes have a session
//! - told by: the published state
//! - fails when: a session can't be made, or gives up
//! - restarted by: the leader, at once; sessions then open anew, from inventories

mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mill_control::fetch::{Fetched, Fetches};
use mill_fsm::Cluster;
use mill_model::{NodeId, Term};
use serde_json::json;
use tokio::sync::watch;

use crate::agent;
use crate::kit::{Actor, Address, Crash, Me, Message, Restart, Task};
use crate::outlet::Outlet;
use crate::raft;

/// Agents by node. One of them, until machines join.
pub type Agents = BTreeMap<NodeId, Address<agent::Msg>>;

/// What each node shall fetch.
pub type Wanted = Arc<BTreeMap<NodeId, Fetches>>;

/// Keeps a session with each node.
pub struct Dispatch;

/// What dispatch is told.
#[derive(Debug)]
pub enum Msg {
    /// The state has changed.
    Changed,
}

impl Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Changed => "changed",
        }
    }
}

/// What dispatch needs.
#[derive(Clone)]
pub struct Args {
    /// The leader's term.
    pub term: Term,
    /// The state.
    pub cluster: watch::Receiver<Arc<Cluster>>,
    /// The log.
    pub raft: Address<raft::Msg>,
    /// Where the nodes' agents are.
    pub agents: Agents,
    /// What the leader wants fetched.
    pub fetches: watch::Receiver<Wanted>,
    /// Where it hears what a node says of that; nothing, when a session begins.
    pub fetched: Outlet<(NodeId, Fetched)>,
}

/// What dispatch holds.
pub struct State {
    args: Args,
    nodes: BTreeSet<NodeId>,
    watching: Task,
}

impl Actor for Dispatch {
    type Msg = Msg;
    type Args = Args;
    type State = State;

    async fn start(me: &Me<Self>, args: Args) -> Result<State, Crash> {
        let watching = me.on_change(&args.cluster, Msg::Changed);
        let mut state = State { args, nodes: BTreeSet::new(), watching };
        state.meet_nodes(me)?;
        Ok(state)
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut State) -> Result<(), Crash> {
        match msg {
            Msg::Changed => state.changed(me),
        }
    }

    fn observe(state: &State) -> serde_json::Value {
        json!({ "term": state.args.term, "nodes": state.nodes })
    }
}

impl State {
    fn changed(&mut self, me: &Me<Dispatch>) -> Result<(), Crash> {
        self.watching = me.on_change(&self.args.cluster, Msg::Changed);
        self.meet_nodes(me)
    }

    fn meet_nodes(&mut self, me: &Me<Dispatch>) -> Result<(), Crash> {
        let cluster = Arc::clone(&self.args.cluster.borrow());
        for node in cluster.nodes.keys() {
            let Some(agent) = self.args.agents.get(node).filter(|_| !self.nodes.contains(node)) else {
                continue;
            };
            let args = session::Args {
                node: *node,
                term: self.args.term,
                cluster: self.args.cluster.clone(),
                raft: self.args.raft.clone(),
                agent: agent.clone(),
                fetches: self.args.fetches.clone(),
                fetched: self.args.fetched.clone(),
            };
            me.child::<session::NodeSession>(format!("session-{node}"), args, Restart::Forever)?;
            self.nodes.insert(*node);
        }
        Ok(())
    }
}
