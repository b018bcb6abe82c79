//! The node's pool of mapped ports.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use mill_model::AllocId;
use mill_model::limits::MAPPED_PORTS;
use mill_model::ports::{MappedPort, Port};
use thiserror::Error;

/// Which mapped port is whose. A port is one alloc's from its assignment to its last breath; TCP and UDP
/// aren't told apart, so that a number means one thing to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    range: RangeInclusive<u16>,
    held: BTreeMap<u16, AllocId>,
    /// Where the next search starts: behind the last port given, so that one just freed rests as long as
    /// possible (lingering connections, clients that still believe in it).
    next: u16,
}

/// Why no ports are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "no mapped port is free: {held} of {size} are held by allocs, the rest by other programs of this machine"
)]
pub struct Exhausted {
    /// Ports that allocs hold.
    pub held: usize,
    /// Ports in the pool.
    pub size: usize,
}

/// Why ports can't be taken over from before a restart.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("mapped port {port} is held by {holder}")]
pub struct Clashes {
    /// The port.
    pub port: u16,
    /// Whose it is.
    pub holder: AllocId,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new(MAPPED_PORTS)
    }
}

impl Pool {
    /// A pool over `range`, nothing held.
    pub fn new(range: RangeInclusive<u16>) -> Self {
        let next = *range.start();
        Self { range, held: BTreeMap::new(), next }
    }

    /// The same pool, its search starting at `start`: a node that starts again should not hand out at once
    /// what it handed out last.
    #[must_use]
    pub fn starting_at(mut self, start: u16) -> Self {
        if self.range.contains(&start) {
            self.next = start;
        }
        self
    }

    /// Gives `alloc` a port for each of `declared`, skipping those of which `taken` says that another program
    /// of this machine holds them.
    ///
    /// # Errors
    /// Too few are free; then none is given.
    pub fn allocate(
        &mut self,
        alloc: &AllocId,
        declared: &[Port],
        taken: impl Fn(u16) -> bool,
    ) -> Result<Vec<MappedPort>, Exhausted> {
        let free = |port: &u16| !self.held.contains_key(port) && !taken(*port);
        let numbers: Vec<NonZeroU16> = (self.next..=*self.range.end())
            .chain(*self.range.start()..self.next)
            .filter(free)
            .filter_map(NonZeroU16::new)
            .take(declared.len())
            .collect();
        if numbers.len() < declared.len() {
            return Err(Exhausted { held: self.held.len(), size: self.range.len() });
        }
        if let Some(last) = numbers.last() {
            let behind = last.get().checked_add(1).filter(|port| self.range.contains(port));
            self.next = behind.unwrap_or(*self.range.start());
        }
        self.held.extend(numbers.iter().map(|port| (port.get(), alloc.clone())));
        let pairs = declared.iter().cloned().zip(numbers);
        Ok(pairs.map(|(declared, mapped)| MappedPort::new(declared, mapped)).collect())
    }

    /// Takes over what `alloc` held before this daemon started. A port outside of the range is held too: the
    /// range may have been another one then.
    ///
    /// # Errors
    /// Another alloc holds one of them; then none is taken.
    pub fn adopt(&mut self, alloc: &AllocId, ports: &[MappedPort]) -> Result<(), Clashes> {
        for port in ports {
            if let Some(holder) = self.held.get(&port.mapped.get()).filter(|holder| *holder != alloc) {
                return Err(Clashes { port: port.mapped.get(), holder: holder.clone() });
            }
        }
        self.held.extend(ports.iter().map(|port| (port.mapped.get(), alloc.clone())));
        Ok(())
    }

    /// Takes back all ports of `alloc`.
    pub fn release(&mut self, alloc: &AllocId) {
        self.held.retain(|_, holder| holder != alloc);
    }

    /// How many ports are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use mill_model::ports::Protocol;
    use proptest::prelude::*;

    use super::*;

    fn alloc(number: usize) -> AllocId {
        format!("web-{number}").parse().unwrap()
    }

    fn declared(count: usize) -> Vec<Port> {
        let port = |n: usize| Port {
            name: None,
            number: NonZeroU16::new(u16::try_from(n + 1).unwrap()).unwrap(),
            protocol: Protocol::Tcp,
        };
        (0..count).map(port).collect()
    }

    fn mapped(ports: &[MappedPort]) -> Vec<u16> {
        ports.iter().map(|port| port.mapped.get()).collect()
    }

    #[test]
    fn a_port_just_freed_is_given_again_only_after_all_others() {
        let mut pool = Pool::new(20_000..=20_003);
        assert_eq!(mapped(&pool.allocate(&alloc(1), &declared(2), |_| false).unwrap()), [20_000, 20_001]);
        pool.release(&alloc(1));
        assert_eq!(mapped(&pool.allocate(&alloc(2), &declared(1), |_| false).unwrap()), [20_002]);
        assert_eq!(mapped(&pool.allocate(&alloc(3), &declared(2), |_| false).unwrap()), [20_003, 20_000]);
        assert_eq!(mapped(&pool.allocate(&alloc(4), &declared(1), |_| false).unwrap()), [20_001]);
        assert_eq!(pool.allocate(&alloc(5), &declared(1), |_| false), Err(Exhausted { held: 4, size: 4 }));
    }

    #[test]
    fn a_port_that_another_program_holds_is_skipped() {
        let mut pool = Pool::new(20_000..=20_003);
        let odd = |port: u16| port % 2 == 1;
        assert_eq!(mapped(&pool.allocate(&alloc(1), &declared(2), odd).unwrap()), [20_000, 20_002]);
        assert!(pool.allocate(&alloc(2), &declared(1), odd).is_err());
        assert_eq!(pool.held(), 2);
    }

    #[test]
    fn what_was_held_before_a_restart_is_held_after_it() {
        let mut pool = Pool::default();
        let ports = pool.allocate(&alloc(1), &declared(3), |_| false).unwrap();
        let mut restarted = Pool::default();
        restarted.adopt(&alloc(1), &ports).unwrap();
        restarted.adopt(&alloc(1), &ports).unwrap();
        let clash = restarted.adopt(&alloc(2), &ports[2..]).unwrap_err();
        assert_eq!((clash.port, clash.holder), (20_002, alloc(1)));
        assert_eq!(mapped(&restarted.allocate(&alloc(3), &declared(1), |_| false).unwrap()), [20_003]);
    }

    #[test]
    fn a_search_may_start_anywhere_in_the_range_and_nowhere_else() {
        let first = |mut pool: Pool| mapped(&pool.allocate(&alloc(1), &declared(1), |_| false).unwrap())[0];
        assert_eq!(first(Pool::default().starting_at(25_000)), 25_000);
        assert_eq!(first(Pool::default().starting_at(80)), 20_000);
        assert_eq!(first(Pool::new(65_534..=65_535).starting_at(65_535)), 65_535);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_port_is_ever_two_allocs(steps in prop::collection::vec((0..12_usize, 0..4_usize, any::<bool>()), 1..200)) {
            let mut pool = Pool::new(65_516..=65_535);
            let mut held: BTreeMap<AllocId, Vec<u16>> = BTreeMap::new();
            for (who, count, give) in steps {
                let who = alloc(who);
                match give && !held.contains_key(&who) {
                    true => if let Ok(ports) = pool.allocate(&who, &declared(count), |_| false) {
                        prop_assert_eq!(ports.len(), count);
                        held.insert(who, mapped(&ports));
                    },
                    false => {
                        pool.release(&who);
                        held.remove(&who);
                    }
                }
                let mut all: Vec<u16> = held.values().flatten().copied().collect();
                let total = all.len();
                all.sort_unstable();
                all.dedup();
                prop_assert_eq!(all.len(), total);
                prop_assert_eq!(pool.held(), total);
            }
        }
    }
}
