//! A containerd of Mill's own, where the machine has none.
//!
//! - owns: nothing; the process is in a session of its own and outlives the daemon
//! - told by: its process's end
//! - fails when: containerd can't be started, or has ended
//! - restarted by: the node's root, however often; it finds the process that runs, or starts one

use std::path::PathBuf;
use std::sync::Arc;

use mill_drivers::containers::own::{self, Own, OwnConfig};
use mill_drivers::process::{ProcessError, keep_small};
use serde_json::json;
use tracing::warn;

use crate::kit::{Actor, Crash, Me, Message, Task, TaskPanicked, Timer};

/// The room.
pub struct Containerd;

/// What it is told.
#[derive(Debug)]
pub enum Msg {
    /// The process has ended, or can't be watched.
    Ended,
    /// It has been at work for a while.
    Later,
    /// What it said was kept within bounds.
    Kept(Result<Result<(), ProcessError>, TaskPanicked>),
}

impl Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Later => "later",
            Self::Kept(_) => "kept",
        }
    }
}

/// What it holds.
pub struct State {
    own: Arc<Own>,
    log: PathBuf,
    later: Timer,
    keeping: Option<Task>,
    _watching: Task,
}

impl Actor for Containerd {
    type Msg = Msg;
    type Args = OwnConfig;
    type State = State;

    async fn start(me: &Me<Self>, config: OwnConfig) -> Result<State, Crash> {
        let own = Arc::new(Own::ensure(&config, Arc::clone(me.tempo())).await?);
        let watched = Arc::clone(&own);
        let watching = me.task("watch", async move { watched.ended().await }, |_| Msg::Ended);
        let later = me.after(me.tempo().collect_every, Msg::Later);
        Ok(State { own, log: own::log(&config), later, keeping: None, _watching: watching })
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut State) -> Result<(), Crash> {
        match msg {
            Msg::Ended => return Err(Crash::because("containerd has ended")),
            Msg::Later => {
                let log = state.log.clone();
                state.keeping = Some(me.task("keep-small", async move { keep_small(&log).await }, Msg::Kept));
            }
            Msg::Kept(result) => {
                state.keeping = None;
                state.later = me.after(me.tempo().collect_every, Msg::Later);
                if let Err(error) = result? {
                    warn!(%error, "what containerd says can't be kept small");
                }
            }
        }
        Ok(())
    }

    fn observe(state: &State) -> serde_json::Value {
        json!({ "pid": state.own.pid(), "socket": state.own.socket() })
    }
}
