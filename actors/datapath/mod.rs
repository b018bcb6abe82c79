//! Keeps ports mapped in the kernel.
//!
//! - owns: nothing that would be lost with it: programs and entries are the kernel's
//! - told by: its own timer and task
//! - fails when: a look panics
//! - restarted by: the daemon's root, for ever; it looks at once
//!
//! # Why
//!
//! What maps a container's ports is put there by whoever starts it, and outlives the daemon. Somebody may remove it all
//! the same: a program that cleans up, a person with `rm`. So what should be is compared with what is, at the start, after
//! another version, and now and then, by the same look.

#[cfg(test)]
mod tests;

use std::marker::PhantomData;

use mill_drivers::bundle::Drivers;
use mill_drivers::containers::{ContainerName, Containers as _};
use mill_drivers::datapath::{Datapath as _, DatapathError, Entry, Mended};
use serde_json::{Value, json};
use tracing::{debug, info, warn};

use crate::kit::{Actor, Crash, Me, Message, Task, TaskPanicked, Timer};

/// The room.
pub struct Datapath<D>(PhantomData<fn() -> D>);

/// What it is told.
#[derive(Debug)]
pub enum Msg {
    /// Time to look.
    Look,
    /// What was seen, and put right.
    Looked(Result<Result<Seen, DatapathError>, TaskPanicked>),
}

impl Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Looked(_) => "looked",
        }
    }
}

/// One look.
#[derive(Debug)]
pub struct Seen {
    entries: usize,
    mended: Vec<Mended>,
    /// Containers whose ports are mapped again.
    put: Vec<ContainerName>,
    /// Entries of cgroups that are gone.
    removed: Vec<ContainerName>,
}

/// What it starts with.
#[derive(Debug, Clone)]
pub struct Args<D> {
    /// The node's hands.
    pub drivers: D,
}

/// What it holds.
pub struct State<D> {
    drivers: D,
    entries: usize,
    /// Things put right so far.
    mended: usize,
    trouble: Option<String>,
    looking: Task,
    due: Option<Timer>,
}

impl<D: Drivers> Actor for Datapath<D> {
    type Msg = Msg;
    type Args = Args<D>;
    type State = State<D>;

    async fn start(me: &Me<Self>, args: Args<D>) -> Result<State<D>, Crash> {
        let looking = look(me, &args.drivers);
        Ok(State { drivers: args.drivers, entries: 0, mended: 0, trouble: None, looking, due: None })
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut State<D>) -> Result<(), Crash> {
        match msg {
            Msg::Look => state.looking = look(me, &state.drivers),
            Msg::Looked(seen) => {
                state.looked(seen?);
                state.due = Some(me.after(me.tempo().datapath_every, Msg::Look));
            }
        }
        Ok(())
    }

    fn observe(state: &State<D>) -> Value {
        json!({ "entries": state.entries, "mended": state.mended, "trouble": state.trouble })
    }
}

fn look<D: Drivers>(me: &Me<Datapath<D>>, drivers: &D) -> Task {
    let drivers = drivers.clone();
    me.task("look", async move { mend(&drivers).await }, Msg::Looked)
}

/// Compares and puts right. What runs is asked for before what is mapped: a container that comes meanwhile has its entry
/// from whoever starts it.
async fn mend<D: Drivers>(drivers: &D) -> Result<Seen, DatapathError> {
    let datapath = drivers.datapath();
    let mended = datapath.keep().await?;
    let mut seen = Seen { entries: 0, mended, put: vec![], removed: vec![] };
    let wanted = drivers.containers().mapped().await;
    let found = datapath.entries().await?;
    seen.entries = found.len();
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(error) => {
            debug!(%error, "containers can't be listed; their entries are compared later");
            return Ok(seen);
        }
    };
    for (name, mapping) in &wanted {
        let is_right = |entry: &Entry| entry.is_current && entry.mapping == *mapping;
        if found.get(name).is_some_and(is_right) {
            continue;
        }
        match datapath.put(name, mapping).await {
            Ok(()) => seen.put.push(name.clone()),
            // It has ended.
            Err(DatapathError::NoCgroup { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    for (name, _) in found.iter().filter(|(name, entry)| !entry.is_current && !wanted.contains_key(name)) {
        datapath.remove(name).await?;
        seen.removed.push(name.clone());
    }
    Ok(seen)
}

impl<D> State<D> {
    fn looked(&mut self, seen: Result<Seen, DatapathError>) {
        match seen {
            Ok(seen) => {
                for mended in &seen.mended {
                    info!(%mended, "put right for mapped ports");
                }
                for container in &seen.put {
                    warn!(%container, "its ports weren't mapped any more; they are again");
                }
                for container in &seen.removed {
                    info!(%container, "removed mapped ports of a container that is gone");
                }
                self.entries = seen.entries.saturating_add(seen.put.len()).saturating_sub(seen.removed.len());
                self.mended = self.mended.saturating_add(seen.mended.len()).saturating_add(seen.put.len());
                self.trouble = None;
            }
            Err(error) => {
                let error = mill_drivers::containerd::chain(&error);
                warn!(error, "mapped ports can't be looked after; what is mapped stays so");
                self.trouble = Some(error);
            }
        }
    }
}
