//! The leader's side of one node's session: which orders make the node's allocs those that all agreed on.
//!
//! Holds what the node is known to have; that starts with its inventory and follows its acknowledgements and
//! reports. Whatever got lost on the way shows in the next session's inventory.

use std::collections::BTreeMap;
use std::sync::Arc;

use mill_alloc::{Assignment, Heard, Kind};
use mill_fsm::{Alloc, Cluster, Command, Runnable};
use mill_model::{AllocId, AllocStatus, NodeId, Phase, Term};

use crate::dispatch::{Ack, Batch, Inventory, Order, Outcome, Refusal};

/// One node's session in one leader's reign.
#[derive(Debug)]
pub struct Session {
    node: NodeId,
    term: Term,
    held: BTreeMap<AllocId, Held>,
}

/// An alloc that the node has, or was told to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    ended: bool,
    told: Told,
}

/// What the node was told last about an alloc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Run,
    Stop,
    Forget,
}

/// What a session wants done.
#[derive(Debug, Default, Clone, PartialEq)]
#[must_use]
pub struct Dispatch {
    /// For the node.
    pub orders: Vec<Order>,
    /// For the log: what is said on behalf of a node that knows nothing of an alloc.
    pub command: Option<Command>,
}

impl Session {
    /// A session that the node answered with `inventory`.
    pub fn open(node: NodeId, term: Term, inventory: &Inventory) -> Self {
        let held = |held: &crate::dispatch::Held| Held {
            ended: held.status.phase.is_terminal(),
            told: if held.stopping { Told::Stop } else { Told::Run },
        };
        let held = inventory.allocs.iter().map(|alloc| (alloc.status.id.clone(), held(alloc))).collect();
        Self { node, term, held }
    }

    /// What is to be said now. Each thing is said once in a session.
    pub fn next(&mut self, cluster: &Cluster) -> Dispatch {
        let mut dispatch = Dispatch::default();
        let mut never_begun = vec![];
        for alloc in cluster.allocs_on(self.node).filter(|alloc| alloc.is_live()) {
            match (self.held.get(&alloc.id).copied(), alloc.stop) {
                (None, None) => dispatch.orders.extend(self.run(cluster, alloc)),
                (None, Some(_)) => never_begun.push(stopped(alloc)),
                (Some(held), Some(_)) if held.told == Told::Run && !held.ended => {
                    dispatch.orders.push(self.say(&alloc.id, Told::Stop));
                }
                (Some(_), _) => {}
            }
        }
        if !never_begun.is_empty() {
            dispatch.command = Some(Command::ReportAllocs { node: self.node, statuses: never_begun });
        }
        dispatch.orders.extend(self.clear(cluster));
        dispatch
    }

    fn run(&mut self, cluster: &Cluster, alloc: &Alloc) -> Option<Order> {
        let assignment = assignment(cluster, alloc)?;
        self.held.insert(alloc.id.clone(), Held { ended: false, told: Told::Run });
        let status = &alloc.status;
        let heard = Heard { incarnation: status.incarnation, revision: status.revision };
        Some(Order::Run { term: self.term, assignment: Arc::new(assignment), heard })
    }

    /// Stops and forgets what nobody agreed on any more.
    fn clear(&mut self, cluster: &Cluster) -> Vec<Order> {
        let unknown = |id: &AllocId| cluster.allocs.get(id).is_none_or(|alloc| alloc.node != self.node);
        let due = |(id, held): (&AllocId, &Held)| {
            let next = if held.ended { Told::Forget } else { Told::Stop };
            (unknown(id) && held.told != next).then(|| (id.clone(), next))
        };
        let due: Vec<(AllocId, Told)> = self.held.iter().filter_map(due).collect();
        due.into_iter().map(|(id, next)| self.say(&id, next)).collect()
    }

    fn say(&mut self, id: &AllocId, told: Told) -> Order {
        if let Some(held) = self.held.get_mut(id) {
            held.told = told;
        }
        let (term, alloc) = (self.term, id.clone());
        match told {
            Told::Forget => Order::Forget { term, alloc },
            Told::Stop | Told::Run => Order::Stop { term, alloc },
        }
    }

    /// The node has answered an order.
    pub fn acked(&mut self, ack: &Ack) {
        match ack.outcome {
            // It has nothing of it: the next round says what follows from that.
            Outcome::Unknown => {
                self.held.remove(&ack.alloc);
            }
            // It runs after all: its end will be reported.
            Outcome::Refused(Refusal::NotEnded) => {
                self.held.insert(ack.alloc.clone(), Held { ended: false, told: Told::Stop });
            }
            // Said again in the next session: in this one it would be refused again.
            Outcome::Refused(_) => {}
            Outcome::Accepted => {
                if self.held.get(&ack.alloc).is_some_and(|held| held.told == Told::Forget) {
                    self.held.remove(&ack.alloc);
                }
            }
            Outcome::Already => {}
        }
    }

    /// The node has reported: what all shall know.
    pub fn reported(&mut self, batch: &Batch) -> Command {
        for status in &batch.statuses {
            if let Some(held) = self.held.get_mut(&status.id) {
                held.ended = status.phase.is_terminal();
            }
        }
        Command::ReportAllocs { node: self.node, statuses: batch.statuses.clone() }
    }
}

/// What a node needs to run an alloc; `None` if nobody knows its text.
fn assignment(cluster: &Cluster, alloc: &Alloc) -> Option<Assignment> {
    let runnable = cluster.runnables.get(&alloc.version.hash)?;
    let kind = match runnable {
        Runnable::Service(spec) => Kind::Service { health: spec.health.clone() },
        Runnable::Task(spec) => Kind::Task { timeout: spec.timeout },
    };
    Some(Assignment {
        alloc: alloc.id.clone(),
        workload: alloc.workload.clone(),
        index: alloc.index,
        kind,
        hash: alloc.version.hash,
        container: runnable.container().clone(),
        deploy: alloc.deploy,
        failures: 0,
    })
}

/// The end of an alloc that its node never began.
fn stopped(alloc: &Alloc) -> AllocStatus {
    AllocStatus { phase: Phase::Stopped, revision: alloc.status.revision + 1, ..alloc.status.clone() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mill_fsm::DeployKind;
    use mill_model::Timestamp;

    use super::super::tests::{World, project, service};
    use super::*;
    use crate::node::Node;

    /// Says all that is due to `node` until nothing is; the orders, in words.
    fn talk(world: &mut World, session: &mut Session, node: &mut Node) -> Vec<String> {
        let mut said = vec![];
        for _ in 0..20 {
            let dispatch = session.next(&world.cluster);
            if dispatch.orders.is_empty() && dispatch.command.is_none() {
                return said;
            }
            if let Some(command) = dispatch.command {
                world.apply(command).unwrap();
            }
            for order in dispatch.orders {
                said.push(word(&order).to_owned());
                let (ack, _) = node.order(order, &BTreeSet::new(), Timestamp(1));
                session.acked(&ack);
            }
        }
        panic!("never silent: {said:?}");
    }

    fn word(order: &Order) -> &'static str {
        match order {
            Order::Run { .. } => "run",
            Order::Stop { .. } => "stop",
            Order::Restart { .. } => "restart",
            Order::Forget { .. } => "forget",
        }
    }

    fn deployed(replicas: u32) -> World {
        let mut world = World::new();
        world
            .begin(&project("shop", vec![service("web", "web1", replicas, &[])], vec![]), DeployKind::Deploy);
        world.decide();
        world.decide();
        world
    }

    #[test]
    fn each_thing_is_said_once_and_again_in_the_next_session_only_if_it_got_lost() {
        let (mut world, mut node) = (deployed(2), Node::new(20_000));
        let mut session = Session::open(NodeId(1), Term(1), &node.open(Term(1)).unwrap());
        assert_eq!(talk(&mut world, &mut session, &mut node), ["run", "run"]);

        let mut next = Session::open(NodeId(1), Term(2), &node.open(Term(2)).unwrap());
        assert_eq!(talk(&mut world, &mut next, &mut node), Vec::<String>::new());

        let mut wiped = Node::new(20_000);
        let mut after = Session::open(NodeId(1), Term(3), &wiped.open(Term(3)).unwrap());
        assert_eq!(talk(&mut world, &mut after, &mut wiped), ["run", "run"]);
    }

    #[test]
    fn an_alloc_that_its_node_never_began_ends_without_it() {
        let (mut world, mut node) = (deployed(1), Node::new(20_000));
        world.begin(&project("shop", vec![], vec![]), DeployKind::Undeploy);
        let deploy = world.cluster.deploys.values().next().unwrap().id;
        let cancel = Command::CancelDeploy { deploy, outcome: mill_fsm::Outcome::Cancelled };
        world.apply(cancel).unwrap();
        world.decide();
        world.decide();
        let mut session = Session::open(NodeId(1), Term(1), &node.open(Term(1)).unwrap());
        assert_eq!(talk(&mut world, &mut session, &mut node), Vec::<String>::new());
        assert!(world.cluster.allocs.values().all(|alloc| alloc.status.phase == Phase::Stopped));
    }

    #[test]
    fn what_nobody_agreed_on_is_stopped() {
        let (mut world, mut node) = (deployed(1), Node::new(20_000));
        let mut session = Session::open(NodeId(1), Term(1), &node.open(Term(1)).unwrap());
        talk(&mut world, &mut session, &mut node);
        let mut empty = World::new();
        let mut other = Session::open(NodeId(1), Term(2), &node.open(Term(2)).unwrap());
        assert_eq!(talk(&mut empty, &mut other, &mut node), ["stop"]);
    }
}
