//! A containerd of Mill's own, where the machine has none.
//!
//! - owns: nothing; the process is in a session of its own and outlives the daemon
//! - told by: its process's end
//! - fails when: containerd can't be started, or has ended
//! - restarted by: the node's root, however often; it finds the process that runs, or starts one

use std::sync::Arc;

use mill_drivers::containers::own::{Own, OwnConfig};
use serde_json::json;

use crate::kit::{Actor, Crash, Me, Message, Task};

/// The room.
pub struct Containerd;

/// What it is told.
#[derive(Debug)]
pub enum Msg {
    /// The process has ended, or can't be watched.
    Ended,
}

impl Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
        }
    }
}

/// What it holds.
pub struct State {
    own: Arc<Own>,
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
        Ok(State { own, _watching: watching })
    }

    async fn handle(_me: &Me<Self>, msg: Msg, _state: &mut State) -> Result<(), Crash> {
        match msg {
            Msg::Ended => Err(Crash::because("containerd has ended")),
        }
    }

    fn observe(state: &State) -> serde_json::Value {
        json!({ "pid": state.own.pid(), "socket": state.own.socket() })
    }
}
