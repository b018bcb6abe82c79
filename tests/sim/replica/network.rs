//! Replicas over a network that loses, delays, doubles and reorders, on disks that lose power in the middle of
//! anything: nothing confirmed is ever lost, all states are one history, and in the end all agree.

use std::collections::{BTreeMap, BTreeSet};

use mill_consensus::{Change, Outgoing, Role};
use mill_drivers::disk::{Crash, Fault};

use super::Random;
use super::host::{Birth, Host};

const SEEDS: u64 = 60;

struct World {
    hosts: BTreeMap<u64, Host>,
    wire: Vec<(u64, Outgoing, Option<Vec<u8>>)>,
    cut: BTreeSet<u64>,
    random: Random,
    confirmed: BTreeSet<u64>,
    /// The history that all states are prefixes of.
    history: Vec<u64>,
    leaders: BTreeMap<u64, u64>,
    next: u64,
    seed: u64,
}

impl World {
    /// One node that takes two others in.
    fn new(seed: u64) -> Self {
        let mut hosts = BTreeMap::new();
        for id in 1..=3 {
            let birth = if id == 1 { Birth::Alone } else { Birth::Joining };
            let mut host = Host::new(id, seed * 10 + id, birth);
            host.start().unwrap();
            hosts.insert(id, host);
        }
        let random = Random(seed);
        let mut world = Self {
            hosts,
            wire: vec![],
            cut: BTreeSet::new(),
            random,
            confirmed: BTreeSet::new(),
            history: vec![],
            leaders: BTreeMap::new(),
            next: 0,
            seed,
        };
        world.rest();
        world.change(&Change { add: [2, 3].into(), ..Change::default() });
        (0..40).for_each(|_| world.round());
        world.change(&Change { promote: [2, 3].into(), ..Change::default() });
        (0..40).for_each(|_| world.round());
        for (id, host) in &mut world.hosts {
            let members = host.process().unwrap().replica.members();
            assert_eq!((members.voters.len(), members.outgoing.len()), (3, 0), "seed {seed}, node {id}");
        }
        world
    }

    fn change(&mut self, change: &Change) {
        let process = self.hosts.get_mut(&1).unwrap().process().unwrap();
        process.replica.change(change).unwrap();
        process.go_on();
        self.rest();
    }

    /// A quiet moment: all ticks, writes and messages.
    fn round(&mut self) {
        for host in self.hosts.values_mut() {
            if let Some(process) = host.process() {
                process.replica.tick();
                process.go_on();
            }
        }
        self.rest();
    }

    fn rest(&mut self) {
        loop {
            for id in 1..=3 {
                self.collect(id);
                if let Some(process) = self.hosts.get_mut(&id).unwrap().process() {
                    while process.write().unwrap() {}
                }
                self.collect(id);
            }
            let wire = std::mem::take(&mut self.wire);
            if wire.is_empty() {
                return;
            }
            wire.into_iter().for_each(|(from, out, state)| self.deliver(from, &out, state));
        }
    }

    /// Takes what a node says and has been told, and checks it.
    fn collect(&mut self, id: u64) {
        let seed = self.seed;
        let Some(process) = self.hosts.get_mut(&id).unwrap().process() else { return };
        self.wire.extend(process.wire.drain(..).map(|(out, state)| (id, out, state)));
        self.confirmed.extend(process.confirmed.drain(..));
        if process.replica.role() == Role::Leader {
            let leader = *self.leaders.entry(process.replica.term()).or_insert(id);
            assert_eq!(leader, id, "seed {seed}: two leaders in one term");
        }
        let common = self.history.len().min(process.state.len());
        assert_eq!(process.state[..common], self.history[..common], "seed {seed}, node {id}: two histories");
        let new = process.state[common..].to_vec();
        self.history.extend(new);
    }

    fn deliver(&mut self, from: u64, out: &Outgoing, state: Option<Vec<u8>>) {
        if self.cut.contains(&from) || self.cut.contains(&out.to) {
            return;
        }
        let Some(process) = self.hosts.get_mut(&out.to).and_then(Host::process) else { return };
        let announces = state.is_some();
        let _refused_or_not = match state {
            Some(state) => process.replica.message_with_state(&out.message, state),
            None => process.replica.message(&out.message),
        };
        process.go_on();
        self.collect(out.to);
        if announces && let Some(process) = self.hosts.get_mut(&from).and_then(Host::process) {
            process.replica.snapshot_sent(out.to, true);
            process.go_on();
        }
    }

    /// Something bad, at times.
    fn disturb(&mut self) {
        let id = 1 + self.random.below(3);
        let crash = self.random.pick(&[Crash::Process, Crash::Forgetful, Crash::Torn]);
        let host = self.hosts.get_mut(&id).unwrap();
        match self.random.below(70) {
            0 | 1 => host.crash(crash),
            2 => {
                let at = host.disk.ops() + self.random.below(20);
                host.disk.fail_at(at, if at.is_multiple_of(2) { Fault::Broken } else { Fault::Full });
            }
            3 => {
                self.cut.insert(id);
            }
            4 | 5 => self.cut.clear(),
            _ => {}
        }
    }

    /// Some of what could happen next.
    fn step(&mut self) {
        self.disturb();
        for id in 1..=3 {
            let (tick, propose, writes, up) = (
                self.random.below(5) == 0,
                self.random.below(4) == 0,
                self.random.below(6),
                self.random.below(15),
            );
            let number = self.next;
            let seed = self.seed;
            let host = self.hosts.get_mut(&id).unwrap();
            let Some(process) = host.process() else {
                if up == 0
                    && let Err(error) = host.start()
                {
                    panic!("seed {seed}, node {id}: {error:?}");
                }
                continue;
            };
            if tick {
                process.replica.tick();
                process.go_on();
            }
            if propose {
                self.next += 1;
                process.propose(number, usize::try_from(number % 150).unwrap());
            }
            // After an error the process recovers; what it was told before stays true.
            let failed = (0..writes).any(|_| process.write().is_err());
            self.collect(id);
            if failed {
                self.hosts.get_mut(&id).unwrap().crash(Crash::Process);
            }
        }
        for (from, out, state) in std::mem::take(&mut self.wire) {
            match self.random.below(20) {
                0 => {}
                1..=4 => self.wire.push((from, out, state)),
                5 => {
                    self.wire.push((from, out.clone(), state.clone()));
                    self.deliver(from, &out, state);
                }
                _ => self.deliver(from, &out, state),
            }
        }
    }

    /// All faults end.
    fn heal(&mut self) {
        self.cut.clear();
        let seed = self.seed;
        for (id, host) in &mut self.hosts {
            host.crash(Crash::Process);
            if let Err(error) = host.start() {
                panic!("seed {seed}, node {id}: {error:?}");
            }
        }
        (0..150).for_each(|_| self.round());
    }
}

fn run(seed: u64) -> u64 {
    let mut world = World::new(seed);
    for _ in 0..800 {
        world.step();
    }
    world.heal();
    for (id, host) in &world.hosts {
        assert_eq!(host.state(), world.history, "seed {seed}: node {id} disagrees in the end");
        for number in &world.confirmed {
            assert!(
                host.state().contains(number),
                "seed {seed}: node {id} lost {number}, which was confirmed"
            );
        }
    }
    world.confirmed.len() as u64
}

#[test]
fn three_replicas_lose_nothing_confirmed_whatever_networks_and_disks_do() {
    let mut confirmed = 0;
    for seed in 0..SEEDS {
        let done = std::panic::catch_unwind(|| run(seed));
        let Ok(count) = done else { panic!("seed {seed} failed") };
        confirmed += count;
    }
    assert!(confirmed > SEEDS * 20, "only {confirmed} commands were confirmed in {SEEDS} seeds");
}
