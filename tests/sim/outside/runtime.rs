//! The container runtime. It knows nothing of daemons: what was asked of it stays done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mill_alloc::{Assignment, Exit, Kind as Purpose};
use mill_model::{AllocId, Digest, Incarnation, Timestamp};

use super::program::{Kind, Program};

/// A container's name.
pub(crate) type Name = (AllocId, Incarnation);

/// How far a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Created,
    Running,
    Ended { exit: Exit, at: Timestamp },
}

/// One container.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) ports: Vec<u16>,
    pub(crate) kind: Kind,
    pub(crate) state: State,
    pub(crate) started_at: Timestamp,
    pub(crate) started_by_wall: Timestamp,
    pub(crate) program: Program,
    /// Whether Mill knows that it runs.
    pub(crate) known: bool,
    /// Failed checks that Mill was told of since the last good one.
    pub(crate) failed_in_row: u32,
    pub(crate) clashed: bool,
    /// Whether its alloc's record was damaged: what runs of it is replaced.
    pub(crate) unrecorded: bool,
    /// Whether Mill had a reason to end it, and has begun to.
    pub(crate) condemned: bool,
}

/// All of them, and what else lies about.
#[derive(Debug, Default)]
pub(crate) struct Runtime {
    pub(crate) containers: BTreeMap<Name, Container>,
    /// Every name that was ever given.
    pub(crate) names: BTreeSet<Name>,
    /// Tasks that have run, as far as Mill knows.
    pub(crate) ran: BTreeSet<AllocId>,
    pub(crate) images: BTreeSet<Digest>,
    /// Allocs with directories of their own.
    pub(crate) scratch: BTreeSet<AllocId>,
    /// Out of reach until then.
    pub(crate) away_until: Timestamp,
    /// What is in which image.
    pub(crate) kinds: BTreeMap<Digest, Kind>,
}

impl Container {
    pub(crate) fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// Whether its program gave Mill a reason to end it.
    /// A task's time goes on while no daemon is there, by the only clock that does so too; which may jump.
    pub(crate) fn deserves_its_end(&self, now: Timestamp, wall: Timestamp) -> bool {
        if self.unrecorded || self.condemned {
            return true;
        }
        match &self.assignment.kind {
            Purpose::Service { health } => {
                let retries = health.as_ref().map(|health| health.retries.max(1));
                self.clashed || retries.is_some_and(|retries| self.failed_in_row >= retries)
            }
            Purpose::Task { timeout } => {
                self.started_at.after(*timeout) <= now || self.started_by_wall.after(*timeout) <= wall
            }
        }
    }
}

impl Runtime {
    pub(crate) fn kind(&self, assignment: &Assignment) -> Kind {
        let digest = assignment.container.image.digest.as_ref();
        digest.and_then(|digest| self.kinds.get(digest)).copied().unwrap_or(Kind::Good)
    }

    pub(crate) fn is_away(&self, now: Timestamp) -> bool {
        now < self.away_until
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = (&Name, &Container)> {
        self.containers.iter().filter(|(_, container)| container.is_running())
    }

    /// What a container's start must not do.
    pub(crate) fn objection(&self, name: &Name, container: &Container) -> Option<String> {
        if self.ran.contains(&name.0) {
            return Some(format!("task {} runs a second time, as .{}", name.0, name.1));
        }
        for (other, there) in self.running().filter(|(other, _)| *other != name) {
            if other.0 == name.0 {
                return Some(format!("{}.{} starts while {}.{} runs", name.0, name.1, other.0, other.1));
            }
            if let Some(port) = container.ports.iter().find(|port| there.ports.contains(port)) {
                return Some(format!("{} and {} both have port {port}", name.0, other.0));
            }
        }
        None
    }

    /// Nobody remembers this alloc any more.
    pub(crate) fn forget(&mut self, alloc: &AllocId) {
        self.names.retain(|(of, _)| of != alloc);
        self.ran.remove(alloc);
    }

    /// The machine lost its power: containers are listed, none runs.
    pub(crate) fn reboot(&mut self) {
        for container in self.containers.values_mut().filter(|container| container.is_running()) {
            container.state = State::Created;
        }
    }
}
