//! What the daemon last told the plane, also over the plane's own restart.
//!
//! - owns: the tables, in memory and on disk; publishes them to the plane's other rooms
//! - told by: the plane's rpc
//! - fails when: the disk doesn't give what it keeps. What it can't keep it follows all the same. Damaged tables are no failure: the daemon sends them again
//! - restarted by: the plane's root

use std::sync::Arc;

use mill_drivers::process::{Kept, ProcessError};
use mill_rpc::v1;
use prost::Message as _;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::kit::{self, Crash, Me, Reply};
use crate::plane::{Tables, UnreadableTables};

/// The room.
pub struct Keeper;

/// What it is told.
#[derive(Debug)]
pub enum Msg {
    /// The daemon has new tables; told their revision when they are on disk and published.
    Set {
        /// As sent.
        tables: v1::Tables,
        /// Where the revision goes.
        reply: Reply<Result<u64, SetError>>,
    },
}

impl kit::Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Set { .. } => "set",
        }
    }
}

/// Why tables weren't taken.
#[derive(Debug, Error)]
pub enum SetError {
    /// Older than what is there: they were overtaken on their way. Those stay.
    #[error("tables of revision {offered} are older than those installed, {installed}")]
    Stale {
        /// What came.
        offered: u64,
        /// What is there.
        installed: u64,
    },
    /// Of another version. The old ones stay.
    #[error("the tables can't be understood")]
    Unreadable {
        /// What is wrong with them.
        source: UnreadableTables,
    },
    /// Followed, and not written: acknowledged tables must be there after a restart.
    #[error("the tables are followed, but can't be kept")]
    Disk {
        /// The disk's reason.
        source: ProcessError,
    },
}

/// What it starts with.
#[derive(Clone)]
pub struct Args {
    /// Where tables are kept.
    pub kept: Kept,
    /// Where they are published.
    pub(crate) published: watch::Sender<Arc<Tables>>,
}

/// What it holds.
pub struct State {
    args: Args,
}

impl State {
    async fn set(&self, wire: &v1::Tables) -> Result<u64, SetError> {
        let tables = Tables::try_from(wire).map_err(|source| SetError::Unreadable { source })?;
        let (offered, installed) = (tables.revision, self.args.published.borrow().revision);
        if offered < installed {
            return Err(SetError::Stale { offered, installed });
        }
        // Containers that have started meanwhile mustn't wait for room on a disk.
        self.args.published.send_replace(Arc::new(tables));
        let kept = self.args.kept.write(wire.encode_to_vec()).await;
        kept.map_err(|source| SetError::Disk { source })?;
        Ok(offered)
    }
}

impl kit::Actor for Keeper {
    type Msg = Msg;
    type Args = Args;
    type State = State;

    async fn start(_me: &Me<Self>, args: Args) -> Result<State, Crash> {
        match load(&args.kept).await? {
            Some(tables) => {
                info!(revision = tables.revision, streams = tables.streams.len(), "tables found");
                args.published.send_replace(Arc::new(tables));
            }
            None => info!("no tables yet"),
        }
        Ok(State { args })
    }

    async fn handle(_me: &Me<Self>, msg: Msg, state: &mut State) -> Result<(), Crash> {
        match msg {
            Msg::Set { tables, reply } => reply.send(state.set(&tables).await),
        }
        Ok(())
    }

    fn observe(state: &State) -> Value {
        json!({ "revision": state.args.published.borrow().revision })
    }
}

async fn load(kept: &Kept) -> Result<Option<Tables>, ProcessError> {
    let bytes = match kept.read().await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(error @ ProcessError::Damaged { .. }) => {
            warn!(%error, "tables are lost, the daemon will send them again");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let decoded = v1::Tables::decode(bytes.as_slice()).ok();
    let tables = decoded.as_ref().and_then(|wire| Tables::try_from(wire).ok());
    if tables.is_none() {
        warn!("tables of another version are passed over, the daemon will send its own");
    }
    Ok(tables)
}
