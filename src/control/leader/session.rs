//! The leader's side of one node's session: which orders make the node's allocs those that all agreed on.
//!
//! Holds what the node is known to have; that starts with its inventory and follows its acknowledgements and
//! reports. Whatever got lost on the way shows in the next session's inventory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mill_alloc::{Assignment, Heard, Kind};
use mill_fsm::{Alloc, Cluster, Command, Runnable};
use mill_model::limits::REPORTS_PER_BATCH_MAX;
use mill_model::{AllocId, AllocStatus, NodeId, Phase, Term};

use crate::dispatch::{Ack, Batch, Inventory, Order, Outcome, Refusal};
use crate::fetch::Fetches;

/// One node's session in one leader's reign.
#[derive(Debug)]
pub struct Session {
    node: NodeId,
    term: Term,
    held: BTreeMap<AllocId, Held>,
    /// What the node said of each at the beginning, until that was compared.
    inventory: BTreeMap<AllocId, AllocStatus>,
    /// What the node was told last to fetch.
    fetches: Fetches,
    /// Allocs that it has no port for, until another one ends.
    without_ports: BTreeSet<AllocId>,
    /// Allocs that it never began, and whose end was said for it.
    never_begun: BTreeSet<AllocId>,
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
        let said = |alloc: &crate::dispatch::Held| (alloc.status.id.clone(), alloc.status.clone());
        let allocs = inventory.allocs.iter().map(said).collect();
        Self {
            node,
            term,
            held,
            inventory: allocs,
            fetches: inventory.fetches.clone(),
            without_ports: BTreeSet::new(),
            never_begun: BTreeSet::new(),
        }
    }

    /// What is to be said now, with the images that the node shall fetch. Each thing is said once in a session.
    pub fn next(&mut self, cluster: &Cluster, fetches: &Fetches) -> Dispatch {
        let mut dispatch = Dispatch::default();
        if self.fetches != *fetches {
            self.fetches.clone_from(fetches);
            dispatch.orders.push(Order::Fetch { term: self.term, images: fetches.clone() });
        }
        let mut never_begun = vec![];
        let inventory = std::mem::take(&mut self.inventory);
        for alloc in cluster.allocs_on(self.node).filter(|alloc| alloc.is_live()) {
            if inventory.get(&alloc.id).is_some_and(|said| is_behind(said, &alloc.status)) {
                dispatch.orders.extend(self.remind(cluster, alloc));
            }
            match (self.held.get(&alloc.id).copied(), alloc.stop) {
                (None, None) if self.without_ports.contains(&alloc.id) => {}
                (None, None) => dispatch.orders.extend(self.run(cluster, alloc)),
                (None, Some(_)) if alloc.status.revision == 0 => {
                    // The rest follows when these are applied.
                    if never_begun.len() < REPORTS_PER_BATCH_MAX && self.never_begun.insert(alloc.id.clone())
                    {
                        never_begun.push(stopped(alloc));
                    }
                }
                (None, Some(_)) => dispatch.orders.extend(self.clear_lost(cluster, alloc)),
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
        let order = self.remind(cluster, alloc)?;
        self.held.insert(alloc.id.clone(), Held { ended: false, told: Told::Run });
        Some(order)
    }

    /// Its node had it, and has lost its memory of it; what it ran may still be there. It begins it again, only to
    /// end it, and tells when nothing of it is left. Without ports: they may be all in use.
    fn clear_lost(&mut self, cluster: &Cluster, alloc: &Alloc) -> Vec<Order> {
        let mut run = self.run(cluster, alloc);
        if let Some(Order::Run { assignment, .. }) = &mut run {
            Arc::make_mut(assignment).container.ports.clear();
        }
        let stop = run.is_some().then(|| self.say(&alloc.id, Told::Stop));
        run.into_iter().chain(stop).collect()
    }

    /// To run it, with what was heard of it last: a node that has it already learns how far it was.
    fn remind(&self, cluster: &Cluster, alloc: &Alloc) -> Option<Order> {
        let assignment = assignment(cluster, alloc)?;
        let status = &alloc.status;
        let heard = Heard { incarnation: status.incarnation, revision: status.revision };
        Some(Order::Run { term: self.term, assignment: Arc::new(assignment), heard })
    }

    /// Stops and forgets what nobody agreed on any more. What counts as ended is stopped too: a node that couldn't
    /// write the end down has begun it again.
    fn clear(&mut self, cluster: &Cluster) -> Vec<Order> {
        let due = |(id, held): (&AllocId, &Held)| {
            let known = cluster.allocs.get(id).filter(|alloc| alloc.node == self.node);
            let next = match (known, held.ended) {
                (None, true) => Told::Forget,
                (None, false) => Told::Stop,
                (Some(alloc), false) if !alloc.is_live() => Told::Stop,
                (Some(_), _) => return None,
            };
            (held.told != next).then(|| (id.clone(), next))
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
        // One about images is of an older term at worst: said again in the next session.
        let Some(alloc) = &ack.alloc else { return };
        match ack.outcome {
            // It has nothing of it: the next round says what follows from that.
            Outcome::Unknown => {
                self.held.remove(alloc);
            }
            // It runs after all: its end will be reported.
            Outcome::Refused(Refusal::NotEnded) => {
                self.held.insert(alloc.clone(), Held { ended: false, told: Told::Stop });
            }
            // Said again when one that has ports has ended.
            Outcome::Refused(Refusal::NoPorts(_)) => {
                self.held.remove(alloc);
                self.without_ports.insert(alloc.clone());
            }
            // Said again in the next session: in this one it would be refused again.
            Outcome::Refused(_) => {}
            Outcome::Accepted => {
                if self.held.get(alloc).is_some_and(|held| held.told == Told::Forget) {
                    self.held.remove(alloc);
                }
            }
            Outcome::Already => {}
        }
    }

    /// The node has reported: what all shall know.
    pub fn reported(&mut self, batch: &Batch) -> Command {
        if batch.statuses.iter().any(|status| status.phase.is_terminal()) {
            self.without_ports.clear();
        }
        for status in &batch.statuses {
            if let Some(held) = self.held.get_mut(&status.id) {
                held.ended = status.phase.is_terminal();
            }
        }
        Command::ReportAllocs { node: self.node, statuses: batch.statuses.clone() }
    }
}

/// Whether a node says something else than what was heard of it last, and would not be believed: its record is older
/// than its report, because the disk was full.
fn is_behind(said: &AllocStatus, heard: &AllocStatus) -> bool {
    let earlier = said.revision <= heard.revision || said.incarnation < heard.incarnation;
    heard.revision > 0 && said != heard && earlier
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
    let revision = alloc.status.revision + 1;
    AllocStatus { phase: Phase::Stopped, revision, ailment: None, ..alloc.status.clone() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mill_fsm::DeployKind;
    use mill_model::{DeployId, Timestamp};

    use super::super::tests::{World, project, service};
    use super::*;
    use crate::node::Node;

    /// Says all that is due to `node` until nothing is; the orders, in words.
    fn talk(world: &mut World, session: &mut Session, node: &mut Node) -> Vec<String> {
        let mut said = vec![];
        for _ in 0..20 {
            let dispatch = session.next(&world.cluster, &Fetches::new());
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
            Order::Forget { .. } => "forget",
            Order::Fetch { .. } => "fetch",
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
    fn images_are_asked_for_when_they_change_and_in_a_new_session_only_if_the_node_forgot() {
        let (world, mut node) = (World::new(), Node::new(20_000));
        let image = |name: &str| format!("r.test/{name}").parse().unwrap();
        let one = Fetches::from([(image("web1"), DeployId(1))]);
        let two = Fetches::from([(image("web1"), DeployId(2))]);
        let speak = |session: &mut Session, node: &mut Node, fetches: &Fetches| {
            let orders = session.next(&world.cluster, fetches).orders;
            for order in orders.clone() {
                session.acked(&node.order(order, &BTreeSet::new(), Timestamp(1)).0);
            }
            let asked = |order: Order| match order {
                Order::Fetch { images, .. } => images,
                other => panic!("{other:?}"),
            };
            orders.into_iter().map(asked).collect::<Vec<_>>()
        };
        let mut session = Session::open(NodeId(1), Term(1), &node.open(Term(1)).unwrap());
        for (fetches, asked) in [
            (Fetches::new(), vec![]),
            (one.clone(), vec![one.clone()]),
            (one, vec![]),
            (two.clone(), vec![two.clone()]),
        ] {
            assert_eq!(speak(&mut session, &mut node, &fetches), asked);
        }
        let mut next = Session::open(NodeId(1), Term(2), &node.open(Term(2)).unwrap());
        assert_eq!(speak(&mut next, &mut node, &two), []);
        let mut wiped = Node::new(20_000);
        let mut after = Session::open(NodeId(1), Term(3), &wiped.open(Term(3)).unwrap());
        assert_eq!(speak(&mut after, &mut wiped, &two), [two]);
        let mut last = Session::open(NodeId(1), Term(4), &wiped.open(Term(4)).unwrap());
        assert_eq!(speak(&mut last, &mut wiped, &Fetches::new()), [Fetches::new()], "it is let go");
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

    /// What a node says of the only alloc, if its record is `revision` of it.
    fn says(world: &World, phase: Phase, revision: u64) -> Inventory {
        let alloc = world.cluster.allocs.values().next().unwrap();
        let status = AllocStatus { phase, revision, ailment: None, ..alloc.status.clone() };
        let (workload, hash) = (alloc.workload.clone(), alloc.version.hash);
        let held = crate::dispatch::Held {
            workload,
            hash,
            deploy: alloc.deploy,
            status,
            stopping: alloc.stop.is_some(),
        };
        Inventory { allocs: vec![held], ..Inventory::default() }
    }

    fn report(world: &mut World, phase: Phase, revision: u64) {
        let status = says(world, phase, revision).allocs.remove(0).status;
        world.apply(Command::ReportAllocs { node: NodeId(1), statuses: vec![status] }).unwrap();
    }

    #[test]
    fn a_node_whose_record_is_older_than_its_report_is_told_what_was_heard() {
        for (phase, revision, orders) in
            [(Phase::Running, 3, 1), (Phase::Waiting, 4, 1), (Phase::Healthy, 4, 0), (Phase::Waiting, 5, 0)]
        {
            let mut world = deployed(1);
            report(&mut world, Phase::Healthy, 4);
            let mut session = Session::open(NodeId(1), Term(1), &says(&world, phase, revision));
            let told = session.next(&world.cluster, &Fetches::new()).orders;
            assert_eq!(told.len(), orders, "{phase} {revision}: {told:?}");
            let four = |order: &Order| matches!(order, Order::Run { heard, .. } if heard.revision == 4);
            assert!(told.iter().all(four), "{told:?}");
            assert_eq!(session.next(&world.cluster, &Fetches::new()).orders, [], "once in a session");
        }
        // Later, and yet of an earlier run: it wouldn't be believed either.
        let mut world = deployed(1);
        let mut status = says(&world, Phase::Waiting, 4).allocs.remove(0).status;
        status.incarnation = mill_model::Incarnation(2);
        world.apply(Command::ReportAllocs { node: NodeId(1), statuses: vec![status] }).unwrap();
        let mut inventory = says(&world, Phase::Stopped, 9);
        inventory.allocs[0].status.incarnation = mill_model::Incarnation(1);
        let mut session = Session::open(NodeId(1), Term(1), &inventory);
        assert_eq!(session.next(&world.cluster, &Fetches::new()).orders.len(), 1);
    }

    #[test]
    fn what_its_node_has_lost_ends_only_when_the_node_says_so() {
        let mut world = deployed(1);
        report(&mut world, Phase::Healthy, 4);
        let id = world.cluster.allocs.keys().next().unwrap().clone();
        let reason = mill_fsm::StopReason::Removed;
        world.apply(Command::StopAllocs { allocs: vec![id.clone()], reason }).unwrap();
        let mut node = Node::new(20_000);
        let mut session = Session::open(NodeId(1), Term(1), &node.open(Term(1)).unwrap());
        assert_eq!(talk(&mut world, &mut session, &mut node), ["run", "stop"]);
        assert_eq!(world.cluster.allocs[&id].status.phase, Phase::Healthy);
        let held = node.statuses().next().unwrap();
        assert_eq!((held.revision, held.ports.len()), (4, 0));
    }

    #[test]
    fn what_counts_as_ended_and_runs_again_is_stopped() {
        let mut world = deployed(1);
        report(&mut world, Phase::Stopped, 4);
        let mut session = Session::open(NodeId(1), Term(1), &says(&world, Phase::Waiting, 3));
        let told = session.next(&world.cluster, &Fetches::new()).orders;
        assert!(matches!(told.as_slice(), [Order::Stop { .. }]), "{told:?}");
        let mut session = Session::open(NodeId(1), Term(1), &says(&world, Phase::Stopped, 3));
        assert_eq!(session.next(&world.cluster, &Fetches::new()).orders, []);
    }

    #[test]
    fn an_alloc_without_a_port_is_tried_again_when_another_has_ended() {
        let world = deployed(2);
        let mut session = Session::open(NodeId(1), Term(1), &Inventory::default());
        let ids: Vec<AllocId> = world.cluster.allocs.keys().cloned().collect();
        let orders = |session: &mut Session| session.next(&world.cluster, &Fetches::new()).orders.len();
        assert_eq!(orders(&mut session), 2);
        let exhausted = mill_alloc::ports::Exhausted { held: 1, size: 1 };
        let outcome = Outcome::Refused(Refusal::NoPorts(exhausted));
        session.acked(&Ack { alloc: Some(ids[1].clone()), outcome });
        assert_eq!(orders(&mut session), 0, "there is none yet");
        let status = |phase| AllocStatus { phase, ..world.cluster.allocs[&ids[0]].status.clone() };
        for (phase, due) in [(Phase::Running, 0), (Phase::Stopped, 1)] {
            let _ = session.reported(&Batch { sequence: 1, statuses: vec![status(phase)] });
            assert_eq!(orders(&mut session), due, "{phase}");
        }
    }

    #[test]
    fn what_its_node_never_began_is_said_once_and_not_all_in_one_command() {
        let many = u32::try_from(REPORTS_PER_BATCH_MAX).unwrap() + 1;
        let mut world = World::new();
        let mut web = service("web", "web1", many, &[]);
        web.container.resources = mill_model::Resources::default();
        world.begin(&project("shop", vec![web], vec![]), DeployKind::Deploy);
        while world.cluster.allocs.len() < REPORTS_PER_BATCH_MAX + 1 && world.decide() {}
        let allocs: Vec<AllocId> = world.cluster.allocs.keys().cloned().collect();
        let reason = mill_fsm::StopReason::Removed;
        world.apply(Command::StopAllocs { allocs, reason }).unwrap();
        let mut session = Session::open(NodeId(1), Term(1), &Inventory::default());
        for said in [REPORTS_PER_BATCH_MAX, 1, 0] {
            let command = session.next(&world.cluster, &Fetches::new()).command;
            let statuses = command.map_or(0, |command| match command {
                Command::ReportAllocs { statuses, .. } => statuses.len(),
                other => panic!("{other:?}"),
            });
            assert_eq!(statuses, said);
        }
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
