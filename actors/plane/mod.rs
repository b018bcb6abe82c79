//! What running containers lean on, as a process of its own: the root of its tree, and its conversation with the
//! daemon.
//!
//! - owns: the tables, the logs, and the socket at which the daemon finds them
//! - told by: its own server, when that ends
//! - fails when: the socket can't be had
//! - restarted by: itself, up to the budget; then the process ends and is started anew (by the daemon's link, or by
//!   systemd)
//!
//! It knows no decisions. It keeps what it was last told on disk, so that it captures on after its own crash while
//! the daemon is down. A second plane on the same directory is refused by a lock.

#[cfg(test)]
mod process_tests;
mod rpc;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;

use mill_drivers::logs::Logs;
use mill_drivers::process::{Kept, Lock, ProcessError, listen};
use mill_model::Tempo;
use mill_rpc::v1::plane_server::PlaneServer;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::introspect;
use crate::kit::{self, Crash, Me, Restart, StartError, Task, TaskPanicked, Tree};
use crate::logs::{self, Progress, Readers};
use crate::tables;

pub use wire::UnreadableTables;
pub(crate) use wire::{LogStream, Tables, stream_name};

/// Threads that may wait for the disk at once: the plane stays small, and one slow disk is one slow disk.
const DISK_THREADS: usize = 4;

/// Where a plane lives.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its own directory, `<data>/plane`.
    pub data: PathBuf,
    /// Its socket, `/run/mill/plane.sock`.
    pub socket: PathBuf,
}

/// Why a plane didn't come up.
#[derive(Debug, Error)]
pub enum PlaneError {
    /// Another one runs on this directory, or it can't be used.
    #[error("the plane can't have its directory")]
    Directory {
        /// Why.
        source: ProcessError,
    },
    /// A room didn't start.
    #[error("the plane didn't start")]
    Start {
        /// Which, and why.
        source: StartError,
    },
}

/// Starts a plane: the one composition of it, for the program and for tests.
///
/// # Errors
/// Another plane has the directory; the socket or the disk refuses.
pub async fn start<L: Logs>(config: Config, logs: L, tempo: Arc<Tempo>) -> Result<Tree<Msg>, PlaneError> {
    let lock = Lock::take(&config.data.join("lock")).map_err(|source| PlaneError::Directory { source })?;
    let args = Args { config, logs, _lock: Arc::new(lock) };
    Tree::start::<Plane<L>>("plane", args, tempo).await.map_err(|source| PlaneError::Start { source })
}

/// The runtime that a plane's process wants: one thread, and few that wait for the disk.
///
/// # Errors
/// The kernel's.
pub fn runtime(tempo: &Tempo) -> io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(DISK_THREADS).thread_keep_alive(tempo.disk_thread_kept).build()
}

/// The room at the root.
pub struct Plane<L>(PhantomData<fn() -> L>);

/// What it is told.
#[derive(Debug)]
pub enum Msg {
    /// The server has ended, which it never should.
    Served(Result<Result<(), tonic::transport::Error>, TaskPanicked>),
}

impl kit::Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Served(_) => "served",
        }
    }
}

/// What it starts with.
#[derive(Clone)]
pub struct Args<L> {
    config: Config,
    logs: L,
    /// Held for as long as the tree has a life to begin.
    _lock: Arc<Lock>,
}

/// What it holds.
pub struct State {
    config: Config,
    progress: watch::Receiver<Progress>,
    _serving: Task,
}

impl<L: Logs> kit::Actor for Plane<L> {
    type Msg = Msg;
    type Args = Args<L>;
    type State = State;

    async fn start(me: &Me<Self>, args: Args<L>) -> Result<State, Crash> {
        let (published, tables_seen) = watch::channel(Arc::default());
        let (progress, progress_seen) = watch::channel(Progress::default());
        let kept = Kept::at(args.config.data.join("tables"));
        let tables =
            me.child::<tables::Keeper>("tables", tables::Args { kept, published }, Restart::OnCrash)?;
        let readers = logs::Args { logs: args.logs, tables: tables_seen, progress };
        me.child::<Readers<L>>("logs", readers, Restart::OnCrash)?;
        let listener = listen(&args.config.socket)?;
        let rpc = rpc::Rpc { tables, progress: progress_seen.clone(), tempo: Arc::clone(me.tempo()) };
        let tree = me.introspect();
        let server = Server::builder()
            .add_service(PlaneServer::new(rpc))
            .add_service(introspect::Service::server(move || Some(tree.clone())))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let _serving = me.task("serve", server, Msg::Served);
        Ok(State { config: args.config, progress: progress_seen, _serving })
    }

    async fn handle(_me: &Me<Self>, msg: Msg, _state: &mut State) -> Result<(), Crash> {
        match msg {
            Msg::Served(ended) => {
                ended??;
                Err(Crash::because("the server ended"))
            }
        }
    }

    fn observe(state: &State) -> Value {
        json!({
            "socket": state.config.socket,
            "data": state.config.data,
            "installed_revision": state.progress.borrow().revision,
        })
    }
}
