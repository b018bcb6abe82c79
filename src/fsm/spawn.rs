//! Tasks that somebody had run, beside those that a deploy runs.
//!
//! # Why
//! - **Its id is there at once.** Whoever asks draws it, and gets the same task back when the question is delivered
//!   again; whether there is room is another question, and may be answered later.
//! - **A task that waits is no alloc.** An alloc has a node from its first moment on, and much depends on that. So what
//!   waits is kept here; once it has its place, the alloc tells how it is, and this only who asked for it.

use std::sync::Arc;

use mill_model::{AllocId, DeployId, SpecHash, Timestamp, Workload};

use crate::cluster::{Cluster, Runnable};
use crate::command::NewAlloc;

/// What an alloc that no deploy placed has for its deploy: none has this number.
pub const NO_DEPLOY: DeployId = DeployId(0);

/// A task that somebody had run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spawn {
    /// What its alloc is called, or will be.
    pub id: AllocId,
    /// What it is an instance of.
    pub workload: Workload,
    /// Hash of what it runs.
    pub hash: SpecHash,
    /// Who asked for it.
    pub by: String,
    /// When.
    pub asked_at: Timestamp,
    /// When it was killed, if that was before it had a place.
    pub called_off_at: Option<Timestamp>,
}

impl Cluster {
    /// Tasks that wait for a place, by id.
    pub fn waiting_spawns(&self) -> impl Iterator<Item = &Arc<Spawn>> {
        self.spawns.values().filter(|spawn| self.is_waiting(spawn))
    }

    /// Whether a task has no place yet, and shall have one.
    pub fn is_waiting(&self, spawn: &Spawn) -> bool {
        spawn.called_off_at.is_none() && !self.allocs.contains_key(&spawn.id)
    }

    /// Whether a task waits for its place or hasn't ended there.
    pub(crate) fn is_open(&self, spawn: &Spawn) -> bool {
        match self.allocs.get(&spawn.id) {
            Some(alloc) => alloc.is_live(),
            None => spawn.called_off_at.is_none(),
        }
    }

    /// Whether an alloc that no deploy asks for is a task's that waits for it.
    pub(crate) fn may_be_placed(&self, new: &NewAlloc) -> bool {
        match self.spawns.get(&new.id) {
            Some(spawn) => {
                let same = spawn.workload == new.workload && spawn.hash == new.version.hash;
                same && spawn.called_off_at.is_none() && new.deploy == NO_DEPLOY
            }
            // Replicas of a service whose history is empty have no deploy either.
            None => {
                let runnable = self.runnables.get(&new.version.hash);
                new.deploy != NO_DEPLOY || !matches!(runnable, Some(Runnable::Task(_)))
            }
        }
    }

    /// Whether a task is what was asked for.
    pub(crate) fn is_sound(&self, spawn: &Spawn) -> bool {
        match self.allocs.get(&spawn.id) {
            Some(alloc) => {
                let same = alloc.workload == spawn.workload && alloc.version.hash == spawn.hash;
                same && alloc.is_task && spawn.called_off_at.is_none()
            }
            None => spawn.called_off_at.is_some() || self.runnables.contains_key(&spawn.hash),
        }
    }
}
