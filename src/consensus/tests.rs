//! Machines over a network and disks that a seed breaks.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::random::Random;
use crate::{Committed, Machine, Membership, Outgoing, Payload, ReadReady, Restored, Role, Settings, Work};
use crate::{HardState, Mark};

mod after_0_7_0;
mod chaos;
mod garbage;
mod stories;

/// A node: its machine, what is durable, and what is on its way to be.
struct Node {
    machine: Machine,
    settings: Settings,
    durable: Restored,
    writing: Vec<Work>,
    applied: Vec<Committed>,
    reads: Vec<ReadReady>,
    up: bool,
}

/// Several of them.
struct Cluster {
    nodes: BTreeMap<u64, Node>,
    wire: Vec<(u64, Outgoing)>,
    /// What was committed, by whomever first.
    truth: BTreeMap<u64, Committed>,
    leaders: BTreeMap<u64, u64>,
    cut: BTreeSet<u64>,
    random: Random,
    /// Writes are durable as soon as they are made.
    prompt: bool,
}

fn first_mark(members: &Membership) -> Mark {
    Mark { index: 1, term: 1, members: members.clone() }
}

fn voters(ids: &[u64]) -> Membership {
    Membership { voters: ids.iter().copied().collect(), ..Membership::default() }
}

impl Cluster {
    fn new(seed: u64, ids: &[u64]) -> Self {
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            wire: vec![],
            truth: BTreeMap::new(),
            leaders: BTreeMap::new(),
            cut: BTreeSet::new(),
            random: Random::new(seed),
            prompt: true,
        };
        let hard_state = HardState { term: 1, vote: 0, commit: 1 };
        let mark = Some(first_mark(&voters(ids)));
        for &id in ids {
            cluster.add(id, seed, Restored { hard_state, mark: mark.clone(), entries: vec![] });
        }
        cluster
    }

    fn add(&mut self, id: u64, seed: u64, durable: Restored) {
        let settings = Settings::new(id, seed * 1000 + id);
        let machine = Machine::new(&settings, durable.clone()).unwrap();
        let node =
            Node { machine, settings, durable, writing: vec![], applied: vec![], reads: vec![], up: true };
        self.nodes.insert(id, node);
    }

    fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    fn machine(&mut self, id: u64) -> &mut Machine {
        &mut self.node(id).machine
    }

    /// Takes work out of a machine and does it, as far as it needs no disk.
    fn work(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        assert!(node.machine.has_its_own_dice());
        while node.up
            && let Some(mut work) = node.machine.ready()
        {
            self.wire.extend(std::mem::take(&mut work.messages).into_iter().map(|out| (id, out)));
            if let Some(mark) = &work.install {
                node.applied = self.truth.range(..=mark.index).map(|(_, entry)| entry.clone()).collect();
            }
            for entry in std::mem::take(&mut work.committed) {
                let known = self.truth.entry(entry.index).or_insert_with(|| entry.clone());
                assert_eq!(*known, entry, "two entries committed at one index");
                let before = node.applied.last().map_or(1, |entry| entry.index);
                assert_eq!(entry.index, before + 1, "node {id} skips an entry");
                let index = entry.index;
                node.applied.push(entry);
                node.machine.applied(index);
            }
            node.reads.append(&mut work.reads);
            node.writing.push(work);
            if self.prompt {
                Self::persist(node, id, &mut self.wire);
            }
        }
        if node.machine.snapshot_wanted() {
            self.snapshot(id);
        }
        let node = self.node(id);
        if node.up && node.machine.role() == Role::Leader {
            let term = node.machine.term();
            let leader = *self.leaders.entry(term).or_insert(id);
            assert_eq!(leader, id, "two leaders in term {term}");
        }
    }

    /// All that a node writes becomes durable.
    fn persist(node: &mut Node, id: u64, wire: &mut Vec<(u64, Outgoing)>) {
        for work in std::mem::take(&mut node.writing) {
            if let Some(mark) = work.install {
                node.durable.entries.clear();
                node.durable.hard_state.commit = mark.index;
                node.durable.mark = Some(mark);
            }
            if let Some(first) = work.entries.first() {
                node.durable.entries.retain(|entry| entry.index < first.index);
            }
            node.durable.entries.extend(work.entries);
            if let Some(state) = work.hard_state {
                node.durable.hard_state = state;
            }
            node.machine.persisted(work.number);
            let installed = node.durable.mark.as_ref().map_or(0, |mark| mark.index);
            node.machine.applied(installed);
            wire.extend(work.messages_after_persist.into_iter().map(|out| (id, out)));
        }
    }

    fn persist_now(&mut self, id: u64) {
        Self::persist(self.nodes.get_mut(&id).unwrap(), id, &mut self.wire);
        self.work(id);
    }

    /// Power loss: what wasn't durable is gone.
    fn restart(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.writing.clear();
        node.up = true;
        node.settings.seed += 1;
        node.machine = Machine::new(&node.settings, node.durable.clone()).unwrap();
        let mark = node.durable.mark.as_ref().map_or(0, |mark| mark.index);
        node.applied.retain(|entry| entry.index <= mark);
    }

    /// The node stores a snapshot of all that it applied and forgets the entries.
    fn snapshot(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(index) = node.applied.last().map(|entry| entry.index) else { return };
        let Some(mark) = node.machine.mark_at(index) else { return };
        if node.durable.mark.as_ref().is_some_and(|known| known.index >= index) {
            return;
        }
        // Only what is durable may be compacted away: the entries are, the hard state may lag.
        let state = &mut node.durable.hard_state;
        state.commit = state.commit.max(index);
        node.durable.entries.retain(|entry| entry.index > index);
        node.durable.mark = Some(mark.clone());
        node.machine.compact(mark);
    }

    fn deliver(&mut self, from: u64, out: &Outgoing) {
        if self.cut.contains(&from) || self.cut.contains(&out.to) {
            return;
        }
        let Some(node) = self.nodes.get_mut(&out.to).filter(|node| node.up) else { return };
        let _refused_by_a_stranger = node.machine.step(&out.message);
        self.work(out.to);
        if out.snapshot.is_some() {
            self.machine(from).snapshot_sent(out.to, true);
        }
    }

    /// Delivers until nobody has anything more to say.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                self.work(id);
            }
            if self.wire.is_empty() {
                return;
            }
            for (from, out) in std::mem::take(&mut self.wire) {
                self.deliver(from, &out);
            }
        }
        panic!("the cluster never comes to rest");
    }

    fn tick(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            if self.node(id).up {
                self.machine(id).tick();
            }
        }
        self.settle();
    }

    /// Ticks until there is one leader whom a majority follows.
    fn elect(&mut self) -> u64 {
        for _ in 0..200 {
            self.tick();
            if let Some(leader) = self.leader() {
                return leader;
            }
        }
        panic!("no leader after 200 ticks");
    }

    /// The leader that all who can reach it agree on.
    fn leader(&self) -> Option<u64> {
        let reachable = self.nodes.iter().filter(|(id, node)| node.up && !self.cut.contains(id));
        let mut leaders = reachable.map(|(_, node)| node.machine.leader());
        let first = leaders.next()??;
        let reachable = self.nodes.get(&first).is_some_and(|node| node.up) && !self.cut.contains(&first);
        (leaders.all(|leader| leader == Some(first)) && reachable).then_some(first)
    }

    fn propose(&mut self, text: &str) -> bool {
        let Some(leader) = self.leader() else { return false };
        let taken = self.machine(leader).propose(Bytes::copy_from_slice(text.as_bytes())).is_ok();
        self.settle();
        taken
    }

    fn commands(&self, id: u64) -> Vec<String> {
        let text = |entry: &Committed| match &entry.payload {
            Payload::Command(data) => Some(String::from_utf8(data.to_vec()).unwrap()),
            _ => None,
        };
        self.nodes[&id].applied.iter().filter_map(text).collect()
    }
}
