//! The order in which replicas of one version give way to those of another.
//!
//! A rollout has no memory: it looks at the replicas there are and says what to do next. So it goes on after
//! any crash, and a rollback is the same thing with the versions changed over.
//!
//! What holds at every step (product.md P3, P5):
//! - start-first: an old replica is stopped only for a new one that is healthy, so the number that serve
//!   never drops below the smaller of the two counts;
//! - stop-first: at most `parallel` of the wanted replicas are missing at a time, and a number is given again only
//!   when whoever had it has ended, whatever its version: two of them would write to one place;
//! - a new version that doesn't become healthy takes no old replica with it (start-first).

use std::collections::BTreeSet;

use mill_model::spec::UpdateOrder;
use mill_model::{AllocId, Failure, limits};

/// How a replica is, as far as a rollout minds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// On its way.
    Starting,
    /// It serves.
    Healthy,
    /// It has failed since it was placed.
    Failing(Failing),
    /// It has been told to stop and hasn't ended.
    Stopping,
}

/// How a replica fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// How often in a row.
    pub failures: u32,
    /// How it failed last.
    pub last: Failure,
}

impl Failing {
    /// Whether a deploy should give up on it. A replica that had all of its start period and was still
    /// unhealthy has had its chance; one that exits may have met a dependency that wasn't ready.
    pub fn is_final(&self) -> bool {
        let enough = match self.last {
            Failure::Unhealthy { .. } => 1,
            _ => limits::FAILURES_BEFORE_ROLLBACK,
        };
        self.last.is_permanent() || self.failures >= enough
    }
}

/// A replica that hasn't ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its alloc.
    pub id: AllocId,
    /// Its number.
    pub index: u32,
    /// How it is.
    pub health: Health,
}

impl Replica {
    fn is_stopping(&self) -> bool {
        self.health == Health::Stopping
    }

    fn is_healthy(&self) -> bool {
        self.health == Health::Healthy
    }

    fn fails_for_good(&self) -> bool {
        matches!(&self.health, Health::Failing(failing) if failing.is_final())
    }
}

/// One service on its way from one version to another, or to another count.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// Replicas of the version that shall run.
    pub new: Vec<Replica>,
    /// How many of it shall run.
    pub want: u32,
    /// Replicas of every other version.
    pub old: Vec<Replica>,
    /// How many of those shall run until new ones stand in for them.
    pub keep: u32,
    /// New replicas that may be on their way at a time, while old ones serve.
    pub parallel: u32,
    /// Which goes first.
    pub order: UpdateOrder,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Place a new replica.
    Start {
        /// Its number.
        index: u32,
    },
    /// Stop a replica, old or surplus.
    Stop {
        /// Which.
        id: AllocId,
    },
}

/// How a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// These are to be done; or, if there are none, waited for.
    Going(Vec<Action>),
    /// The new version runs in full and nothing of the old is left.
    Done,
    /// The new version fails.
    Failed {
        /// Its first replica that does.
        id: AllocId,
        /// How.
        failure: Failure,
    },
}

impl Rollout {
    /// What to do next.
    pub fn next(&self) -> Verdict {
        for replica in &self.new {
            if let Health::Failing(failing) = &replica.health
                && failing.is_final()
            {
                return Verdict::Failed { id: replica.id.clone(), failure: failing.last.clone() };
            }
        }
        self.next_regardless()
    }

    /// What to do next, whether or not the new version fails: for rolling back and for keeping up a count,
    /// where there is nothing to turn back to.
    pub fn next_regardless(&self) -> Verdict {
        if self.is_done() {
            return Verdict::Done;
        }
        let mut actions = self.surplus();
        let (start, stop) = match self.order {
            UpdateOrder::StartFirst => (self.start_first_starts(), self.start_first_stops()),
            UpdateOrder::StopFirst => (self.stop_first_starts(), self.stop_first_stops()),
        };
        actions.extend(self.free_indexes().take(start).map(|index| Action::Start { index }));
        actions
            .extend(self.old_worst_first().take(stop).map(|replica| Action::Stop { id: replica.id.clone() }));
        Verdict::Going(actions)
    }

    fn is_done(&self) -> bool {
        let healthy = self.new.iter().filter(|replica| replica.is_healthy()).count();
        self.old.is_empty() && healthy == size(self.want) && self.new.len() == healthy
    }

    fn staying(replicas: &[Replica]) -> impl Iterator<Item = &Replica> {
        replicas.iter().filter(|replica| !replica.is_stopping())
    }

    /// New replicas that stay.
    fn new_count(&self) -> usize {
        Self::staying(&self.new).count()
    }

    fn new_healthy(&self) -> usize {
        self.new.iter().filter(|replica| replica.is_healthy()).count()
    }

    fn new_on_their_way(&self) -> usize {
        self.new_count() - self.new_healthy()
    }

    /// Whether replicas of the version that shall run are still to be placed.
    pub fn misses_some(&self) -> bool {
        self.missing() > 0
    }

    fn missing(&self) -> usize {
        size(self.want).saturating_sub(self.new_count())
    }

    /// New replicas beyond the wanted count: those that don't serve first, then the highest numbers.
    fn surplus(&self) -> Vec<Action> {
        let mut staying: Vec<&Replica> = Self::staying(&self.new).collect();
        staying.sort_by_key(|replica| (!replica.is_healthy(), replica.index, replica.id.clone()));
        let surplus = staying.split_off(size(self.want).min(staying.len()));
        surplus.into_iter().map(|replica| Action::Stop { id: replica.id.clone() }).collect()
    }

    /// The lowest numbers that no new replica has; stop-first, that nobody has.
    fn free_indexes(&self) -> impl Iterator<Item = u32> {
        let taken: BTreeSet<u32> = match self.order {
            UpdateOrder::StartFirst => Self::staying(&self.new).map(|replica| replica.index).collect(),
            UpdateOrder::StopFirst => self.new.iter().chain(&self.old).map(|replica| replica.index).collect(),
        };
        (0..self.want).filter(move |index| !taken.contains(index))
    }

    /// Old replicas that stay, those that don't serve first: those that never will, then those that fail.
    fn old_worst_first(&self) -> impl Iterator<Item = &Replica> {
        let mut staying: Vec<&Replica> = Self::staying(&self.old).collect();
        staying.sort_by_key(|replica| {
            let fails = matches!(replica.health, Health::Failing(_));
            (replica.is_healthy(), !replica.fails_for_good(), !fails, replica.index, replica.id.clone())
        });
        staying.into_iter()
    }

    fn start_first_starts(&self) -> usize {
        let cautious = size(self.parallel).saturating_sub(self.new_on_their_way());
        let nothing_to_lose = Self::staying(&self.old).next().is_none();
        if nothing_to_lose { self.missing() } else { cautious.min(self.missing()) }
    }

    fn start_first_stops(&self) -> usize {
        let healthy = self.new_healthy();
        let target = if healthy >= size(self.want) { 0 } else { size(self.keep).saturating_sub(healthy) };
        Self::staying(&self.old).count().saturating_sub(target)
    }

    fn stop_first_starts(&self) -> usize {
        let slots = size(self.want.max(self.keep));
        // A stopping replica may still write: its place is free when it has ended.
        let taken = self.new.len() + self.old.len();
        let cautious = match self.old.is_empty() {
            true => usize::MAX,
            false => size(self.parallel).saturating_sub(self.new_on_their_way()),
        };
        slots.saturating_sub(taken).min(cautious).min(self.missing())
    }

    fn stop_first_stops(&self) -> usize {
        let staying = Self::staying(&self.old).count();
        if self.new_healthy() >= size(self.want) {
            return staying;
        }
        let serving = staying + self.new_healthy();
        // Of those that are wanted: if fewer are than before, the others' numbers may be all that new ones wait for.
        let missing = size(self.want).saturating_sub(serving);
        let stops = size(self.parallel).saturating_sub(missing).min(staying);
        // One that never serves is missed by nobody, and its room may be what all others wait for.
        let idle = self.new_count() == 0 && Self::staying(&self.old).any(Replica::fails_for_good);
        stops.max(usize::from(idle))
    }
}

fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
