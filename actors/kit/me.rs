//! The hand that a running actor has on itself.

use std::sync::Arc;
use std::time::Duration;

use mill_model::Tempo;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use super::actor::Actor;
use super::address::{Address, Mailbox, Slot};
use super::errand::{self, Task, TaskPanicked, Timer};
use super::introspect::Introspect;
use super::life::Life;
use super::node::{Order, Path};
use super::supervise::{self, Restart};

/// A running actor's hand on itself, for one life.
pub struct Me<A: Actor> {
    mailbox: Mailbox<A::Msg>,
    slot: Arc<Slot<A::Msg>>,
}

/// Why there is no such child.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChildError {
    /// The name is taken. The child that has it goes on.
    #[error("actor `{path}` exists already")]
    Duplicate {
        /// The child that would have been.
        path: Path,
    },
    /// The parent is about to end.
    #[error("actor `{path}` can't be started: its parent is stopping")]
    Stopping {
        /// The child that would have been.
        path: Path,
    },
}

impl<A: Actor> Me<A> {
    pub(super) fn new(mailbox: Mailbox<A::Msg>, slot: Arc<Slot<A::Msg>>) -> Self {
        Self { mailbox, slot }
    }

    pub(super) fn life(&self) -> &Arc<Life> {
        &self.mailbox.life
    }

    /// Where others send to this actor, in this life and the next ones.
    pub fn address(&self) -> Address<A::Msg> {
        Address::of(Arc::clone(&self.slot))
    }

    /// Where this actor is in its tree.
    pub fn path(&self) -> &Path {
        &self.life().node.path
    }

    /// The durations of this tree.
    pub fn tempo(&self) -> &Arc<Tempo> {
        &self.life().world.tempo
    }

    /// A view of this actor and all under it.
    pub fn introspect(&self) -> Introspect {
        Introspect::new(Arc::clone(&self.life().node), Arc::clone(self.tempo()))
    }

    /// Tells itself `msg` after `delay`, unless the timer is dropped or this life ends before.
    pub fn after(&self, delay: Duration, msg: A::Msg) -> Timer {
        errand::after(&self.mailbox, delay, msg)
    }

    /// Runs `future` beside the mailbox and tells itself what `done` makes of the result, unless the task is
    /// dropped or this life ends before: then it is aborted at its next await.
    pub fn task<F>(
        &self,
        name: &'static str,
        future: F,
        done: impl FnOnce(Result<F::Output, TaskPanicked>) -> A::Msg + Send + 'static,
    ) -> Task
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        errand::task(&self.mailbox, name, future, done)
    }

    /// Tells itself `msg` once, when what is watched changes after this call. Whoever looks at it after this call
    /// misses nothing. Never, if nobody is left to change it.
    pub fn on_change<T: Send + Sync + 'static>(&self, watched: &watch::Receiver<T>, msg: A::Msg) -> Task {
        let mut watched = watched.clone();
        watched.mark_unchanged();
        let changed = async move {
            if watched.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        self.task("watch", changed, |_| msg)
    }

    /// Starts an actor under this one. It can be told things at once; they wait until it is up.
    ///
    /// If a child of this name was dropped and hasn't ended yet, the new one starts when it has, and is
    /// unreachable until then.
    ///
    /// # Errors
    /// The name is taken, or this actor is stopping.
    pub fn child<B: Actor>(
        &self,
        name: impl Into<String>,
        args: B::Args,
        restart: Restart,
    ) -> Result<Address<B::Msg>, ChildError> {
        supervise::start_child::<B>(self.life(), name.into(), args, restart)
    }

    /// Whether there is a child of this name that hasn't been dropped.
    pub fn has_child(&self, name: &str) -> bool {
        self.life().node.family().living.contains_key(name)
    }

    /// Ends a child in order and for good; its name is free at once. Nothing happens if there is none.
    pub fn drop_child(&self, name: &str) {
        let mut family = self.life().node.family();
        let Some(child) = family.living.remove(name) else { return };
        family.forget(name);
        family.leaving.push(Arc::clone(&child));
        drop(family);
        child.order(Order::Stop { deadline: Instant::now() + self.tempo().shutdown_deadline });
    }

    /// Ends this actor in order, children first. Messages that wait are dropped, new ones refused.
    pub fn stop(&self) {
        self.life().close();
        self.life().leave.cancel();
    }
}
