//! What this node's containers use, looked at every few seconds.
//!
//! - owns: the last look
//! - told by: its own timer and task
//! - fails when: a look panics
//! - restarted by: the daemon's root, for ever; it takes two looks to know again what each uses
//!
//! # Why
//!
//! The kernel is asked which groups there are, not the agent: numbers come while an alloc's actor is between two lives,
//! and of what the leader hasn't heard of yet. Nothing of this is replicated: it is the node's own, and old in seconds.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use mill_api::nodes::Usage;
use mill_drivers::bundle::Drivers;
use mill_drivers::containers::{self, ContainerError, ContainerName, Containers as _};
use mill_model::Millicores;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::kit::{Actor, Crash, Me, Message, Task, TaskPanicked, Timer};

/// The room.
pub struct Metrics<D>(PhantomData<fn() -> D>);

/// What each container uses: processor time since the look before the last, memory at the last.
pub type Used = BTreeMap<ContainerName, Usage>;

/// What the room is told.
#[derive(Debug)]
pub enum Msg {
    /// Time to look.
    Look,
    /// What was seen.
    Looked(Result<Result<Seen, ContainerError>, TaskPanicked>),
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
    at: Instant,
    used: BTreeMap<ContainerName, containers::Usage>,
}

/// What it starts with.
#[derive(Debug, Clone)]
pub struct Args<D> {
    /// The node's hands.
    pub drivers: D,
    /// Where the last look is shown.
    pub used: watch::Sender<Arc<Used>>,
}

/// What it holds.
pub struct State<D> {
    args: Args<D>,
    last: Option<Seen>,
    /// Looks in a row that came to nothing.
    failed: u32,
    looking: Task,
    due: Option<Timer>,
}

impl<D: Drivers> Actor for Metrics<D> {
    type Msg = Msg;
    type Args = Args<D>;
    type State = State<D>;

    async fn start(me: &Me<Self>, args: Args<D>) -> Result<State<D>, Crash> {
        let looking = look(me, &args.drivers);
        Ok(State { args, last: None, failed: 0, looking, due: None })
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut State<D>) -> Result<(), Crash> {
        match msg {
            Msg::Look => state.looking = look(me, &state.args.drivers),
            Msg::Looked(seen) => {
                state.looked(seen?);
                state.due = Some(me.after(me.tempo().usage_every, Msg::Look));
            }
        }
        Ok(())
    }

    fn observe(state: &State<D>) -> Value {
        let used = state.args.used.borrow();
        let total = used.values().fold(Usage::default(), Usage::plus);
        json!({ "containers": used.len(), "cpu": total.cpu, "memory": total.memory, "failed_looks": state.failed })
    }
}

fn look<D: Drivers>(me: &Me<Metrics<D>>, drivers: &D) -> Task {
    let containers = drivers.containers().clone();
    let look = async move {
        let used = containers.usage().await?;
        Ok(Seen { at: Instant::now(), used })
    };
    me.task("look", look, Msg::Looked)
}

impl<D: Drivers> State<D> {
    fn looked(&mut self, seen: Result<Seen, ContainerError>) {
        match seen {
            Ok(seen) => {
                self.failed = 0;
                if let Some(last) = self.last.replace(seen) {
                    self.show(&last);
                }
            }
            // What can't be measured any more isn't shown as if it were.
            Err(error) => {
                match self.failed {
                    0 => warn!(%error, "it can't be measured what containers use"),
                    _ => debug!(%error, "it can't be measured what containers use"),
                }
                self.failed = self.failed.saturating_add(1);
                self.last = None;
                self.args.used.send_replace(Arc::default());
            }
        }
    }

    fn show(&self, before: &Seen) {
        let Some(now) = &self.last else { return };
        let millis = now.at.duration_since(before.at).as_micros() / 1000;
        let of_container = |(name, usage): (&ContainerName, &containers::Usage)| {
            // One that wasn't there at the last look has used all of its time since.
            let earlier = before.used.get(name).map(|usage| usage.cpu_time).unwrap_or_default();
            let spent = usage.cpu_time.saturating_sub(earlier).as_micros();
            let cpu = u32::try_from(spent.checked_div(millis)?).unwrap_or(u32::MAX);
            Some((name.clone(), Usage { cpu: Millicores(cpu), memory: usage.memory }))
        };
        self.args.used.send_replace(Arc::new(now.used.iter().filter_map(of_container).collect()));
    }
}
