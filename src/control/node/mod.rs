//! The node's side of dispatch: orders in, allocs begun, stopped and forgotten, their statuses out.
//!
//! Holds which allocs this node has and which mapped port is whose. Each alloc's own life is
//! [`mill_alloc::Life`], run by whoever carries out [`Effect::Begin`].

mod fetches;
mod outputs;
mod reports;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mill_alloc::loopbacks::Loopbacks;
use mill_alloc::ports::{Clashes, Pool};
use mill_alloc::{Assignment, Ending, Heard, Record};
use mill_model::ports::{Loopback, MappedPort};
use mill_model::{AllocId, AllocStatus, Digest, ImageRef, Incarnation, Phase, Term, Timestamp};

use crate::dispatch::{Ack, Held, Inventory, Order, Outcome, Refusal};
use fetches::Errands;
pub use outputs::Outputs;
use reports::Reports;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Let it live: a new alloc, or one from before this daemon.
    Begin(Begin),
    /// Give its life [`mill_alloc::Input::Stop`].
    Stop {
        /// Which.
        alloc: AllocId,
    },
    /// Give its life [`mill_alloc::Input::Heard`].
    Heard {
        /// Which.
        alloc: AllocId,
        /// What the leader heard of it.
        heard: Heard,
    },
    /// End its actor; remove its record, its logs and its directory.
    Forget {
        /// Which.
        alloc: AllocId,
    },
    /// Get an image; what comes of it is [`Node::fetched`].
    Fetch {
        /// For which errand.
        errand: u64,
        /// Which image.
        image: ImageRef,
    },
    /// After the pause that follows so many failures in a row, [`Node::fetch_again`].
    FetchLater {
        /// Which errand.
        errand: u64,
        /// How often it has failed.
        failures: u32,
    },
    /// Nobody waits for this errand any more.
    LetGo {
        /// Which.
        errand: u64,
    },
    /// Find containers that belong to nothing: now it is known what belongs to something.
    Collect,
}

/// What an alloc's life is begun with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// What it is to run.
    pub assignment: Arc<Assignment>,
    /// Its mapped ports.
    pub ports: Vec<MappedPort>,
    /// Its private loopback; `None`: the kernel can't map its ports.
    pub loopback: Option<Loopback>,
    /// What the leader heard of it, should its record be lost.
    pub heard: Heard,
}

#[derive(Debug)]
struct Entry {
    assignment: Arc<Assignment>,
    status: AllocStatus,
    stopping: bool,
    /// What a leader heard of it, if that was more; its actor may have been away when it was told.
    heard: Heard,
}

/// A node's allocs and ports.
#[derive(Debug, Default)]
pub struct Node {
    term: Term,
    caught_up: bool,
    allocs: BTreeMap<AllocId, Entry>,
    pool: Pool,
    loopbacks: Loopbacks,
    /// Whether allocs that are taken on from now on have a private loopback.
    gives_loopbacks: bool,
    reports: Reports,
    errands: Errands,
}

/// What the next report must be above: one of the same revision may say something else.
const fn above(heard: Heard) -> Heard {
    match heard.revision {
        0 => heard,
        revision => Heard { revision: revision.saturating_add(1), ..heard },
    }
}

impl Node {
    /// A node with an empty pool of ports and no allocs, its search for ports starting at `first_port`.
    pub fn new(first_port: u16) -> Self {
        Self { pool: Pool::default().starting_at(first_port), ..Self::default() }
    }

    /// The same where the kernel maps ports: allocs have private loopbacks. Those that it has already live on as they are.
    #[must_use]
    pub fn with_loopbacks(self, gives_loopbacks: bool) -> Self {
        Self { gives_loopbacks, ..self }
    }

    /// Takes over what the node had before this daemon started.
    ///
    /// # Errors
    /// Mapped ports of two records clash: the disk holds what no daemon wrote. The alloc lives on all the
    /// same, since it may be running; its ports are the other one's.
    pub fn restore(&mut self, record: &Record) -> (Effect, Result<(), Clashes>) {
        let status = record.status.clone();
        let id = status.id.clone();
        let ports = match status.phase.is_terminal() {
            true => Ok(()),
            false => self.pool.adopt(&id, &status.ports),
        };
        if let Some(loopback) = record.loopback.filter(|_| !status.phase.is_terminal()) {
            self.loopbacks.adopt(&id, loopback);
        }
        let begin = Begin {
            assignment: Arc::clone(&record.assignment),
            ports: status.ports.clone(),
            loopback: record.loopback,
            heard: Heard { incarnation: status.incarnation, revision: status.revision },
        };
        let stopping = record.ending == Some(Ending::Ordered) || record.last_phase == Some(Phase::Stopped);
        // What of it was acknowledged isn't known any more.
        self.reports.changed(&id);
        self.allocs.insert(
            id,
            Entry { assignment: Arc::clone(&record.assignment), status, stopping, heard: Heard::default() },
        );
        (Effect::Begin(begin), ports)
    }

    /// A leader opens its session.
    ///
    /// # Errors
    /// [`Refusal::StaleTerm`]
    pub fn open(&mut self, term: Term) -> Result<Inventory, Refusal> {
        self.check(term)?;
        self.caught_up = false;
        self.reports.lost();
        self.errands.tell_anew();
        let held = |entry: &Entry| Held {
            workload: entry.assignment.workload.clone(),
            hash: entry.assignment.hash,
            deploy: entry.assignment.deploy,
            status: entry.status.clone(),
            stopping: entry.stopping,
        };
        Ok(Inventory { allocs: self.allocs.values().map(held).collect(), fetches: self.errands.fetches() })
    }

    /// The leader has said all that its state demands of this node.
    ///
    /// # Errors
    /// [`Refusal::StaleTerm`]
    pub fn caught_up(&mut self, term: Term) -> Result<Effect, Refusal> {
        self.check(term)?;
        self.caught_up = true;
        Ok(Effect::Collect)
    }

    /// Takes an order. `taken` are ports that programs of this machine hold.
    pub fn order(&mut self, order: Order, taken: &BTreeSet<u16>, now: Timestamp) -> (Ack, Vec<Effect>) {
        let alloc = order.alloc().cloned();
        let (outcome, effects) = match self.check(order.term()) {
            Err(refusal) => (Outcome::Refused(refusal), vec![]),
            Ok(()) => match order {
                Order::Run { assignment, heard, .. } => self.run(assignment, heard, taken, now),
                Order::Stop { alloc, .. } => self.stop(alloc),
                Order::Forget { alloc, .. } => self.forget(alloc),
                Order::Fetch { images, .. } => (Outcome::Accepted, self.errands.want(&images)),
            },
        };
        (Ack { alloc, outcome }, effects)
    }

    fn check(&mut self, given: Term) -> Result<(), Refusal> {
        if given < self.term {
            return Err(Refusal::StaleTerm { given, seen: self.term });
        }
        self.term = given;
        Ok(())
    }

    fn run(
        &mut self,
        assignment: Arc<Assignment>,
        heard: Heard,
        taken: &BTreeSet<u16>,
        now: Timestamp,
    ) -> (Outcome, Vec<Effect>) {
        let id = assignment.alloc.clone();
        if let Some(entry) = self.allocs.get_mut(&id) {
            let runs = entry.assignment.hash;
            if runs != assignment.hash {
                return (Outcome::Refused(Refusal::OtherSpec { runs }), vec![]);
            }
            // The leader asks because it doesn't know.
            self.reports.changed(&id);
            let status = &mut entry.status;
            let knows = status.revision > heard.revision && status.incarnation >= heard.incarnation;
            if heard.revision == 0 || knows {
                return (Outcome::Already, vec![]);
            }
            // The record is older than what was reported.
            let heard = above(heard);
            entry.heard = heard;
            if status.phase.is_terminal() {
                // Its actor is gone.
                status.revision = status.revision.max(heard.revision);
                status.incarnation = status.incarnation.max(heard.incarnation);
                return (Outcome::Already, vec![]);
            }
            return (Outcome::Already, vec![Effect::Heard { alloc: id, heard }]);
        }
        let ports = match self.pool.allocate(&id, &assignment.container.ports, |port| taken.contains(&port)) {
            Ok(ports) => ports,
            Err(exhausted) => return (Outcome::Refused(Refusal::NoPorts(exhausted)), vec![]),
        };
        let status = AllocStatus {
            id: id.clone(),
            incarnation: heard.incarnation,
            revision: heard.revision,
            phase: Phase::Pending,
            since: now,
            failures: assignment.failures,
            given_back: false,
            ports: ports.clone(),
            last_end: None,
            ailment: None,
        };
        let entry =
            Entry { assignment: Arc::clone(&assignment), status, stopping: false, heard: above(heard) };
        let loopback = if self.gives_loopbacks { self.loopbacks.give(&id) } else { None };
        self.allocs.insert(id, entry);
        (Outcome::Accepted, vec![Effect::Begin(Begin { assignment, ports, loopback, heard })])
    }

    fn stop(&mut self, alloc: AllocId) -> (Outcome, Vec<Effect>) {
        let Some(entry) = self.allocs.get_mut(&alloc) else { return (Outcome::Unknown, vec![]) };
        if entry.status.phase.is_terminal() {
            self.reports.changed(&alloc);
            return (Outcome::Already, vec![]);
        }
        let again = std::mem::replace(&mut entry.stopping, true);
        // Passed on each time: its actor may have been away at the first.
        (if again { Outcome::Already } else { Outcome::Accepted }, vec![Effect::Stop { alloc }])
    }

    fn forget(&mut self, alloc: AllocId) -> (Outcome, Vec<Effect>) {
        match self.allocs.get(&alloc) {
            None => (Outcome::Unknown, vec![]),
            Some(entry) if !entry.status.phase.is_terminal() => (Outcome::Refused(Refusal::NotEnded), vec![]),
            Some(_) => {
                self.allocs.remove(&alloc);
                self.pool.release(&alloc);
                self.loopbacks.release(&alloc);
                self.reports.forget(&alloc);
                (Outcome::Accepted, vec![Effect::Forget { alloc }])
            }
        }
    }

    /// The actor of an alloc has started, for the first time or after a crash: what it missed. `record` is what its
    /// record says, if it has one: this node may not know of it, since it couldn't be read when the daemon started.
    pub fn woke(&mut self, alloc: &AllocId, record: Option<AllocStatus>) -> Vec<Effect> {
        if let Some(status) = record {
            self.reported(status);
        }
        let Some(entry) = self.allocs.get(alloc) else { return vec![] };
        let status = &entry.status;
        let heard = Heard {
            incarnation: status.incarnation.max(entry.heard.incarnation),
            revision: status.revision.max(entry.heard.revision),
        };
        let mut effects = vec![Effect::Heard { alloc: alloc.clone(), heard }];
        if entry.stopping {
            effects.push(Effect::Stop { alloc: alloc.clone() });
        }
        effects
    }

    /// Which of these containers belong to nothing that this node has: none may be removed before the node
    /// has caught up with a leader, for it may simply not have been told yet. Those of an alloc that it has
    /// are its life's to judge, save what is left of runs before the current one.
    pub fn leftovers(&self, found: &[(AllocId, Incarnation)]) -> Vec<(AllocId, Incarnation)> {
        let belongs_to_nothing = |(alloc, incarnation): &&(AllocId, Incarnation)| {
            self.allocs.get(alloc).is_none_or(|entry| *incarnation < entry.status.incarnation)
        };
        match self.caught_up {
            true => found.iter().filter(belongs_to_nothing).cloned().collect(),
            false => vec![],
        }
    }

    /// Which of these have no alloc here; none before the node has caught up.
    pub fn unknown(&self, mut allocs: Vec<AllocId>) -> Vec<AllocId> {
        allocs.retain(|alloc| self.caught_up && !self.allocs.contains_key(alloc));
        allocs
    }

    /// Images that allocs here run or will run, and those that the leader wants here for allocs to come. Incomplete
    /// until the node has caught up: `None`.
    pub fn images(&self) -> Option<BTreeSet<Digest>> {
        let live = self.allocs.values().filter(|entry| !entry.status.phase.is_terminal());
        let digests = live.filter_map(|entry| entry.assignment.container.image.digest.clone());
        self.caught_up.then(|| digests.chain(self.errands.digests()).collect())
    }

    /// Latest statuses, by id.
    pub fn statuses(&self) -> impl Iterator<Item = &AllocStatus> {
        self.allocs.values().map(|entry| &entry.status)
    }

    /// The latest term that this node has seen.
    pub const fn term(&self) -> Term {
        self.term
    }

    /// How many mapped ports are held.
    pub fn ports_held(&self) -> usize {
        self.pool.held()
    }
}
