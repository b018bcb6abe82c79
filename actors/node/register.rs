//! A node says what it is when the state knows otherwise: a new version, another size, another address.

use mill_drivers::bundle::Outside;
use mill_fsm::{Command, Done};
use tracing::warn;

use super::{Msg, Node, State};
use crate::kit::{AskError, Me, TaskPanicked};
use crate::raft::{self, ProposeError};

impl<O: Outside> State<O> {
    /// Proposes what this node is, if that is news and this node leads.
    pub(super) fn register(&mut self, me: &Me<Node<O>>) {
        let Some((identity, rooms)) = self.identity.as_ref().zip(self.rooms.as_ref()) else { return };
        let facts = self.facts(identity);
        let known =
            self.args.published.cluster.borrow().nodes.get(&identity.node).map(|node| node.facts.clone());
        if self.leads.is_none() || self.registering.is_some() || known.is_none_or(|known| known == facts) {
            return;
        }
        let (raft, deadline) = (rooms.raft.clone(), me.tempo().write_deadline);
        let command = Command::RegisterNode(facts);
        let propose = async move { raft.ask(deadline, |reply| raft::Msg::Propose { command, reply }).await };
        self.registering = Some(me.task("register", propose, Msg::Registered));
    }

    /// What was refused is tried again with the next change.
    pub(super) fn registered(
        &mut self,
        result: Result<Result<Result<Done, ProposeError>, AskError>, TaskPanicked>,
    ) {
        self.registering = None;
        match result {
            Ok(Ok(Ok(_))) => {}
            Ok(Ok(Err(error))) => warn!(%error, "this node could not say what it is"),
            Ok(Err(error)) => warn!(%error, "this node could not say what it is"),
            Err(error) => warn!(%error, "this node could not say what it is"),
        }
    }
}
