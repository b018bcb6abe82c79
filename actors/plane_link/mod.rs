//! The daemon's hand on the plane: finds it or starts it, and tells it what to capture.
//!
//! - owns: the pipes of containers' output until they are drained, the tables' revisions, the connection
//! - told by: the agent and its allocs (a container starts, is gone, is forgotten; all there is), its own tasks
//! - fails when: the pipes that an earlier daemon left can't be found or held
//! - restarted by: the daemon's root
//!
//! # Why
//!
//! The plane must run when the daemon doesn't, so it is no child in any sense: a process of its own session, found
//! again by its socket. Whole tables with growing revisions make every message repeatable: after a reconnect the
//! plane says which revision it has, and gets the next one. What waits in a pipe while no plane runs is kept by this
//! room's holding it, and after the daemon's own crash by the plane's; if both die, what is in the pipe of a container
//! that ends meanwhile is lost (256 KB at most), which is why they are two.

mod link;
mod streams;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::path::PathBuf;

use mill_drivers::logs::Logs;
use mill_drivers::process::{Ended, Other, ProcessError};
use mill_rpc::v1;
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::alloc;
use crate::kit::{self, Crash, Me, Task, TaskPanicked, Timer};
use link::{Connected, Followed, LinkError, Plane};
use streams::Streams;

/// The room.
pub struct PlaneLink<L, O>(PhantomData<fn() -> (L, O)>);

/// What it is told.
#[derive(Debug)]
pub enum Msg {
    /// News of containers' output.
    Streams(alloc::Streams),
    /// The attempt to reach the plane has ended.
    Connected(Result<Result<Connected, LinkError>, TaskPanicked>),
    /// The plane says how it is, or nothing any more.
    Followed(Result<Result<Followed, LinkError>, TaskPanicked>),
    /// The plane has answered to tables.
    Sent(Result<Result<u64, LinkError>, TaskPanicked>),
    /// A plane that this room started has ended.
    PlaneEnded(Result<Result<Ended, ProcessError>, TaskPanicked>),
    /// Time to try again.
    Again,
}

impl kit::Message for Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Streams(_) => "streams",
            Self::Connected(_) => "connected",
            Self::Followed(_) => "followed",
            Self::Sent(_) => "sent",
            Self::PlaneEnded(_) => "plane-ended",
            Self::Again => "again",
        }
    }
}

/// What it starts with.
#[derive(Clone)]
pub struct Args<L, O> {
    /// Where pipes are made.
    pub logs: L,
    /// The plane's program.
    pub plane: O,
    /// Where a plane is found.
    pub socket: PathBuf,
}

/// What it holds.
pub struct State<L: Logs, O> {
    args: Args<L, O>,
    streams: Streams<L>,
    /// The last revision that was given to tables; the plane may know a higher one from an earlier daemon.
    revision: u64,
    acknowledged: u64,
    /// Whether the streams have changed since that revision.
    changed: bool,
    plane: Option<Plane>,
    /// Failed attempts in a row, to reach a plane or to give it its tables: one that answers and can't take them
    /// (its disk is full) is no reason to hurry.
    attempts: u32,
    busy: Option<Task>,
    sending: Option<Task>,
    running: Option<Task>,
    again: Option<Timer>,
}

type Hand<L, O> = Me<PlaneLink<L, O>>;

impl<L: Logs, O: Other> State<L, O> {
    fn connect(&mut self, me: &Hand<L, O>) {
        self.plane = None;
        self.sending = None;
        let reach = link::connect(self.args.socket.clone(), me.tempo().ask_deadline);
        self.busy = Some(me.task("connect", reach, Msg::Connected));
    }

    async fn connected(
        &mut self,
        me: &Hand<L, O>,
        result: Result<Connected, LinkError>,
    ) -> Result<(), Crash> {
        let Connected { plane, followed } = match result {
            Ok(connected) => connected,
            Err(error) => {
                info!(%error, "no plane is reached");
                self.start_plane(me);
                self.try_again(me);
                return Ok(());
            }
        };
        info!(pid = followed.status.pid, revision = followed.status.installed_revision, "plane found");
        self.plane = Some(plane);
        self.revision = self.revision.max(followed.status.installed_revision);
        // Whatever it has: it gets ours.
        self.changed = true;
        self.followed(me, Ok(followed)).await
    }

    /// Starts a plane unless one that this room started still runs. If another runs after all, ours leaves by itself.
    fn start_plane(&mut self, me: &Hand<L, O>) {
        if self.running.is_none() {
            let plane = self.args.plane.clone();
            self.running = Some(me.task("plane", async move { plane.run().await }, Msg::PlaneEnded));
        }
    }

    fn try_again(&mut self, me: &Hand<L, O>) {
        self.plane = None;
        self.sending = None;
        self.busy = None;
        self.attempts = self.attempts.saturating_add(1);
        self.again = Some(me.after(me.tempo().actor_delay(self.attempts), Msg::Again));
    }

    async fn followed(&mut self, me: &Hand<L, O>, result: Result<Followed, LinkError>) -> Result<(), Crash> {
        match result {
            Ok(Followed { status, more }) => {
                self.busy = Some(me.task("follow", link::follow(more), Msg::Followed));
                let drained = self.streams.drained(&status);
                self.changed |= !drained.is_empty();
                for name in drained {
                    self.streams.release(&name).await;
                }
                self.send(me);
            }
            Err(error) => {
                warn!(%error, "the plane is gone");
                self.try_again(me);
            }
        }
        Ok(())
    }

    /// Sends the tables if they have changed, one at a time.
    fn send(&mut self, me: &Hand<L, O>) {
        let Some(plane) = self.plane.as_ref().filter(|_| self.changed && self.sending.is_none()) else {
            return;
        };
        self.revision += 1;
        self.changed = false;
        let tables = v1::Tables::from(&self.streams.tables(self.revision));
        let send = plane.clone().set(tables, me.tempo().ask_deadline * 2);
        self.sending = Some(me.task("send", send, Msg::Sent));
    }

    async fn sent(&mut self, me: &Hand<L, O>, result: Result<u64, LinkError>) {
        self.sending = None;
        match result {
            Ok(revision) => {
                self.acknowledged = revision;
                self.attempts = 0;
                self.streams.installed(revision).await;
                self.send(me);
            }
            Err(error) => {
                warn!(%error, "the plane took no tables");
                self.changed = true;
                self.try_again(me);
            }
        }
    }

    fn plane_ended(
        &mut self,
        result: Result<Result<Ended, ProcessError>, TaskPanicked>,
    ) -> Result<(), Crash> {
        self.running = None;
        match result? {
            Ok(Ended::Elsewhere) => {}
            Ok(ended) => warn!(?ended, "the plane that was started here has ended"),
            Err(error) => {
                warn!(error = %Crash::from(error), "no plane can be started");
            }
        }
        Ok(())
    }

    async fn news(&mut self, me: &Hand<L, O>, news: alloc::Streams) {
        match news {
            alloc::Streams::Open { name, reply } => {
                // The container starts without waiting for a plane: its pipes are held here.
                reply.send(self.streams.open(&name).await.map_err(|error| Crash::from(error).to_string()));
            }
            alloc::Streams::Ended { name } => self.streams.ended(&name),
            alloc::Streams::Forget { alloc } => self.streams.forget(alloc, self.revision + 1).await,
            alloc::Streams::All(outputs) => {
                if let Err(error) = self.args.plane.keep_small().await {
                    warn!(%error, "what the plane says can't be kept small");
                }
                if !self.streams.compare(&outputs, self.revision + 1).await {
                    return;
                }
            }
        }
        self.changed = true;
        self.send(me);
    }
}

impl<L: Logs, O: Other> kit::Actor for PlaneLink<L, O> {
    type Msg = Msg;
    type Args = Args<L, O>;
    type State = State<L, O>;

    async fn start(me: &Hand<L, O>, args: Args<L, O>) -> Result<State<L, O>, Crash> {
        let streams = Streams::found(args.logs.clone()).await?;
        let mut state = State {
            args,
            streams,
            revision: 0,
            acknowledged: 0,
            changed: true,
            plane: None,
            attempts: 0,
            busy: None,
            sending: None,
            running: None,
            again: None,
        };
        state.connect(me);
        Ok(state)
    }

    async fn handle(me: &Hand<L, O>, msg: Msg, state: &mut State<L, O>) -> Result<(), Crash> {
        match msg {
            Msg::Streams(news) => state.news(me, news).await,
            Msg::Connected(result) => state.connected(me, result?).await?,
            Msg::Followed(result) => state.followed(me, result?).await?,
            Msg::Sent(result) => state.sent(me, result?).await,
            Msg::PlaneEnded(result) => state.plane_ended(result)?,
            Msg::Again => state.connect(me),
        }
        Ok(())
    }

    fn observe(state: &State<L, O>) -> Value {
        json!({
            "plane": state.plane.as_ref().map(Plane::pid),
            "started_here": state.running.is_some(),
            "revision": state.revision,
            "acknowledged": state.acknowledged,
            "streams": state.streams.count(),
            "attempts": state.attempts,
        })
    }
}
