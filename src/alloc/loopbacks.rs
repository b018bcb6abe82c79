//! The node's private loopbacks.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use mill_model::AllocId;
use mill_model::limits::LOOPBACKS_MAX;
use mill_model::ports::Loopback;

/// Which private loopback is whose: one alloc's from its assignment to its last breath, as its mapped ports are.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Loopbacks {
    held: BTreeMap<Loopback, AllocId>,
    /// The last one given: one just freed rests as long as possible.
    last: u16,
}

impl Loopbacks {
    /// Gives `alloc` one; `None`: there are none left, many times what a node runs.
    pub fn give(&mut self, alloc: &AllocId) -> Option<Loopback> {
        let numbers = (self.last.saturating_add(1)..=LOOPBACKS_MAX).chain(1..=self.last);
        let mut numbers = numbers.filter_map(NonZeroU16::new).map(Loopback);
        let free = numbers.find(|number| !self.held.contains_key(number))?;
        self.last = free.0.get();
        self.held.insert(free, alloc.clone());
        Some(free)
    }

    /// Takes over what `alloc` held before this daemon started. Of two that say so the first has it.
    pub fn adopt(&mut self, alloc: &AllocId, loopback: Loopback) {
        self.held.entry(loopback).or_insert_with(|| alloc.clone());
    }

    /// Takes back that of `alloc`.
    pub fn release(&mut self, alloc: &AllocId) {
        self.held.retain(|_, holder| holder != alloc);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alloc(number: u16) -> AllocId {
        format!("web-{number}").parse().unwrap()
    }

    #[test]
    fn each_alloc_has_its_own_and_one_just_freed_rests() {
        let mut loopbacks = Loopbacks::default();
        let numbers: Vec<u16> = (1..=3).map(|n| loopbacks.give(&alloc(n)).unwrap().0.get()).collect();
        assert_eq!(numbers, [1, 2, 3]);
        loopbacks.release(&alloc(1));
        assert_eq!(loopbacks.give(&alloc(4)).unwrap().0.get(), 4);
    }

    #[test]
    fn what_was_held_before_a_restart_is_given_to_nobody_else() {
        let mut loopbacks = Loopbacks::default();
        let one = Loopback(NonZeroU16::MIN);
        loopbacks.adopt(&alloc(1), one);
        loopbacks.adopt(&alloc(2), one);
        loopbacks.release(&alloc(2));
        assert_eq!(loopbacks.give(&alloc(3)).unwrap().0.get(), 2);
    }

    #[test]
    fn when_all_are_held_none_is_given_and_the_search_begins_anew() {
        let mut loopbacks = Loopbacks::default();
        for number in 1..=LOOPBACKS_MAX {
            assert!(loopbacks.give(&alloc(number)).is_some());
        }
        assert_eq!(loopbacks.give(&alloc(0)), None);
        loopbacks.release(&alloc(7));
        assert_eq!(loopbacks.give(&alloc(0)).unwrap().0.get(), 7);
    }
}
