//! One life of an actor, from a start to its end: what has to be gone before the next.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mill_model::Tempo;
use ractor::ActorCell;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Span;

use super::actor::Crash;
use super::address::Aside;
use super::node::Node;

/// What a whole tree shares.
pub(super) struct World {
    pub(super) tempo: Arc<Tempo>,
    /// The span in which the tree was started: it carries the node, and is the parent of each actor's.
    pub(super) span: Span,
}

/// How a life ended.
pub(super) enum End {
    /// In order, by itself or told.
    Stopped,
    /// By an error or panic, or because a child gave up.
    Crashed(Crash),
    /// Restarted by a person.
    ByHand,
}

/// Puts the kit's own words into the mailbox; says whether they went in.
type Prompter = Box<dyn Fn(Aside) -> bool + Send + Sync>;

/// One life.
pub(super) struct Life {
    pub(super) node: Arc<Node>,
    pub(super) world: Arc<World>,
    /// Messages sent and not yet handled.
    pub(super) depth: AtomicUsize,
    /// Fired when `start` has succeeded.
    pub(super) up: CancellationToken,
    /// Fired when the life is over: ends children, tasks and timers.
    pub(super) over: CancellationToken,
    /// Fired when the actor wants to end.
    pub(super) leave: CancellationToken,
    /// Tasks and timers.
    pub(super) tasks: TaskTracker,
    /// Whether a question about the state lies in the mailbox: a stuck actor gets one, not one per look.
    pub(super) observing: Arc<AtomicBool>,
    closed: AtomicBool,
    end: Mutex<Option<End>>,
    cell: OnceLock<ActorCell>,
    prompter: OnceLock<Prompter>,
}

impl Life {
    pub(super) fn new(node: Arc<Node>, world: Arc<World>) -> Self {
        Self {
            node,
            world,
            depth: AtomicUsize::new(0),
            up: CancellationToken::new(),
            over: CancellationToken::new(),
            leave: CancellationToken::new(),
            tasks: TaskTracker::new(),
            observing: Arc::new(AtomicBool::new(false)),
            closed: AtomicBool::new(false),
            end: Mutex::new(None),
            cell: OnceLock::new(),
            prompter: OnceLock::new(),
        }
    }

    /// Ties this to its actor. Called where the actor is made and again by the actor itself, whichever is first.
    pub(super) fn embody(&self, cell: ActorCell, prompter: Prompter) {
        let _ = self.cell.set(cell);
        let _ = self.prompter.set(prompter);
    }

    /// Takes no more messages, and handles none that wait.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Notes how it ended; the first word counts.
    pub(super) fn note(&self, end: End) {
        let mut noted = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        noted.get_or_insert(end);
    }

    pub(super) fn take_end(&self) -> Option<End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Crashes it from outside: at its next await, without its cooperation.
    pub(super) fn fail(&self, crash: Crash) {
        self.node.stats.crashed(&crash);
        self.note(End::Crashed(crash));
        self.kill();
    }

    pub(super) fn kill(&self) {
        if let Some(cell) = self.cell.get() {
            cell.kill();
        }
    }

    /// Asks the actor to end once the message in hand is done.
    pub(super) fn end_in_order(&self) {
        if let Some(cell) = self.cell.get() {
            cell.stop(None);
        }
    }

    /// Asks for the state; `None` if an earlier question is still open or the actor is gone.
    pub(super) fn observe(&self) -> Option<oneshot::Receiver<Value>> {
        let prompter = self.prompter.get()?;
        if self.observing.swap(true, Ordering::AcqRel) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        prompter(Aside::Observe(sender)).then_some(receiver)
    }

    /// Has the room panic when it comes to it; says whether it will.
    pub(super) fn panic(&self) -> bool {
        self.prompter.get().is_some_and(|prompter| prompter(Aside::Panic))
    }
}
