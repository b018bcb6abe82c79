//! The HTTP API of a node: reads from its own state, writes through the log, streams.
//!
//! - owns: the local socket, the TLS port, their connections
//! - told by: its own tasks; whoever makes the node a member, through `Args::member`
//! - fails when: it can't listen where it should, or a listener ends by itself
//! - restarted by: its supervisor; clients lose their connections and come back
//!
//! # Why
//!
//! - **Handlers are no messages.** They read the published state and ask the log; nothing of a request goes through
//!   this actor's mailbox, so a slow one holds up nobody.
//! - **Two doors.** Whoever may open the local socket is root on the machine and needs no token; it works before there
//!   is a cluster, and has connections of its own, so that no flood from outside locks a person out.
//! - **The member's certificate comes later.** A daemon starts idle and listens on TLS once it belongs to a cluster:
//!   `Args::member` is watched. A new certificate is taken into use for new connections; a new address takes a restart.

mod actors;
pub mod backend;
mod body;
mod certs;
mod connection;
mod gate;
mod guard;
mod images;
mod inspect;
mod listen;
mod local;
mod once;
mod present;
mod reads;
mod refusal;
mod registries;
mod routes;
mod secrets;
mod server;
mod streams;
mod submit;
mod tasks;
#[cfg(test)]
mod tests;
mod tokens;
mod top;
mod writes;

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use mill_model::limits::EXEC_SESSIONS_MAX;
use mill_model::{NodeName, Timestamp};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use backend::{Backend, Moment};
pub use listen::ListenError;

use crate::kit::{Actor, Address, Crash, Me, Message, Task, TaskPanicked};
use crate::raft;
use listen::Door;
use server::{Inner, Server};

/// The API over a node that `B` stands for.
pub struct Http<B>(PhantomData<fn() -> B>);

/// What the API is told.
#[derive(Debug)]
pub enum Msg {
    /// The node became a member, or has another certificate.
    MemberChanged,
    /// A listener has ended by itself, which none should.
    ListenerEnded(Result<(), TaskPanicked>),
}

impl Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::MemberChanged => "member_changed",
            Self::ListenerEnded(_) => "listener_ended",
        }
    }
}

/// This process and its machine.
#[derive(Debug, Clone)]
pub struct About {
    /// What the node would be called if it became a member now.
    pub node: NodeName,
    /// Version of the binary.
    pub version: String,
    /// When the process began.
    pub since: Timestamp,
    /// Where it keeps its data.
    pub data_dir: PathBuf,
}

/// What the node is in its cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Member {
    /// What it is called.
    pub name: NodeName,
    /// Where TLS is listened on.
    pub listen: SocketAddr,
    /// Its certificate and those up to the cluster's CA, PEM.
    pub certificate_chain: String,
    /// Its certificate's private key, PEM.
    pub private_key: String,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("name", &self.name)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// What the API starts with.
#[derive(Clone)]
pub struct Args<B> {
    /// This process and its machine.
    pub about: About,
    /// Path of the local socket.
    pub socket: PathBuf,
    /// What the node is in its cluster; `None` while it belongs to none.
    pub member: watch::Receiver<Option<Arc<Member>>>,
    /// Where TLS is listened on now: told here.
    pub bound: watch::Sender<Option<SocketAddr>>,
    /// What the log publishes.
    pub published: raft::Published,
    /// Where writes go; `None`: this node has no log yet.
    pub raft: watch::Receiver<Option<Address<raft::Msg>>>,
    /// The node beyond the state.
    pub backend: B,
}

/// What the API holds during one life.
pub struct State<B> {
    server: Server<B>,
    socket: PathBuf,
    open: TaskTracker,
    tls: Option<Tls>,
    tasks: Vec<Task>,
}

struct Tls {
    address: SocketAddr,
    config: Arc<ArcSwap<ServerConfig>>,
}

impl<B: Backend> Actor for Http<B> {
    type Msg = Msg;
    type Args = Args<B>;
    type State = State<B>;

    async fn start(me: &Me<Self>, args: Args<B>) -> Result<State<B>, Crash> {
        args.bound.send_replace(None);
        let listener = listen::local(&args.socket).await?;
        let member = args.member.clone();
        let server = Server::new(Inner {
            about: args.about,
            member: args.member,
            bound: args.bound,
            published: args.published,
            raft: args.raft,
            backend: args.backend,
            tempo: Arc::clone(me.tempo()),
            path: me.path().clone(),
            leaving: CancellationToken::new(),
            guard: guard::Guard::default(),
            connections: AtomicUsize::new(0),
            sessions: Arc::new(Semaphore::new(EXEC_SESSIONS_MAX)),
            looked: top::Looked::default(),
        });
        let open = TaskTracker::new();
        let mut state = State { server, socket: args.socket, open, tls: None, tasks: vec![] };
        let door = state.door();
        state.tasks.push(me.task("local", door.serve_local(listener), Msg::ListenerEnded));
        state.watch_member(me, member);
        state.listen_remote(me).await?;
        Ok(state)
    }

    async fn handle(me: &Me<Self>, msg: Msg, state: &mut State<B>) -> Result<(), Crash> {
        match msg {
            Msg::MemberChanged => state.listen_remote(me).await,
            Msg::ListenerEnded(ended) => Err(state.ended(ended)),
        }
    }

    async fn stop(me: &Me<Self>, state: &mut State<B>) {
        state.leave(me).await;
    }

    fn observe(state: &State<B>) -> Value {
        json!({
            "socket": state.socket,
            "tls": state.tls.as_ref().map(|tls| tls.address),
            "connections": state.server.connections.load(Ordering::Relaxed),
            "bootstrapped": state.server.cluster().is_bootstrapped(),
        })
    }
}

impl<B: Backend> State<B> {
    fn door(&self) -> Door<B> {
        let server = self.server.clone();
        Door { router: routes::router(server.clone()), server, open: self.open.clone() }
    }

    /// Tells itself of each change of the membership.
    fn watch_member(&mut self, me: &Me<Http<B>>, mut member: watch::Receiver<Option<Arc<Member>>>) {
        let address = me.address();
        member.mark_unchanged();
        let watching = async move {
            // Refused only when this life is over, and its watching with it.
            while member.changed().await.is_ok() && address.tell(Msg::MemberChanged).is_ok() {}
            // Whoever makes members is gone: there will be no other membership.
            std::future::pending::<()>().await;
        };
        self.tasks.push(me.task("member", watching, Msg::ListenerEnded));
    }

    /// Listens on TLS once the node is a member, with the certificate that it has now.
    async fn listen_remote(&mut self, me: &Me<Http<B>>) -> Result<(), Crash> {
        let Some(member) = self.server.member.borrow().clone() else { return Ok(()) };
        let config = Arc::new(listen::tls(&member)?);
        if let Some(tls) = &self.tls {
            if tls.address != member.listen && member.listen.port() != 0 {
                return Err(Crash::because(format!("the API's address changed to {}", member.listen)));
            }
            tls.config.store(config);
            return Ok(());
        }
        let listener = listen::remote(member.listen).await?;
        let address = listener.local_addr()?;
        let config = Arc::new(ArcSwap::new(config));
        let serving = self.door().serve_remote(listener, Arc::clone(&config));
        self.tasks.push(me.task("tls", serving, Msg::ListenerEnded));
        self.tls = Some(Tls { address, config });
        self.server.bound.send_replace(Some(address));
        tracing::info!(%address, "api listens");
        Ok(())
    }

    fn ended(&self, ended: Result<(), TaskPanicked>) -> Crash {
        match ended {
            Ok(()) => Crash::because("a listener ended by itself"),
            Err(panicked) => panicked.into(),
        }
    }

    /// Takes no more connections, ends streams, and lets open requests finish for half of the time that there is.
    async fn leave(&self, me: &Me<Http<B>>) {
        self.server.leaving.cancel();
        self.server.bound.send_replace(None);
        self.open.close();
        let patience = me.tempo().shutdown_deadline / 2;
        if tokio::time::timeout(patience, self.open.wait()).await.is_err() {
            tracing::warn!(?patience, "open requests are cut");
        }
        if let Err(error) = std::fs::remove_file(&self.socket) {
            tracing::warn!(%error, "socket not removed");
        }
    }
}
