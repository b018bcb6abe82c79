//! Where to send: addresses, questions and their refusals.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ractor::ActorRef;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::oneshot;

use super::actor::Message;
use super::life::Life;
use super::node::Path;

/// What lies in a mailbox.
pub(super) enum Envelope<M> {
    /// A message.
    Work {
        /// It.
        msg: M,
        /// Set when the timer or task that sent it was dropped: then it isn't handled any more.
        cancelled: Option<Arc<AtomicBool>>,
    },
    /// Something of the kit's own.
    Aside(Aside),
}

/// What the kit itself puts into a mailbox, beside the room's messages.
pub(super) enum Aside {
    /// It asks what to show of the state.
    Observe(oneshot::Sender<Value>),
    /// It has the room panic.
    Panic,
}

/// The mailbox of one life.
pub(super) struct Mailbox<M> {
    pub(super) actor: ActorRef<Envelope<M>>,
    pub(super) life: Arc<Life>,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self { actor: self.actor.clone(), life: Arc::clone(&self.life) }
    }
}

impl<M: Message> Mailbox<M> {
    /// Puts a message in, if fewer than `max` wait.
    pub(super) fn put(
        &self,
        msg: M,
        cancelled: Option<Arc<AtomicBool>>,
        max: usize,
    ) -> Result<(), RefusedHere> {
        if self.life.is_closed() {
            return Err(RefusedHere::Gone);
        }
        let waiting = self.life.depth.fetch_add(1, Ordering::Relaxed);
        let refused = match waiting >= max {
            true => Some(RefusedHere::Full { waiting }),
            false => {
                let sent = self.actor.send_message(Envelope::Work { msg, cancelled });
                sent.is_err().then_some(RefusedHere::Gone)
            }
        };
        match refused {
            None => Ok(()),
            Some(refused) => {
                self.life.depth.fetch_sub(1, Ordering::Relaxed);
                Err(refused)
            }
        }
    }
}

/// Why a mailbox took nothing.
pub(super) enum RefusedHere {
    Gone,
    Full { waiting: usize },
}

/// The place that outlives the lives: where the mailbox of the current one is found.
pub(super) struct Slot<M> {
    pub(super) path: Path,
    max: usize,
    current: RwLock<Option<Mailbox<M>>>,
}

impl<M: Message> Slot<M> {
    pub(super) fn new(path: Path, max: usize) -> Self {
        Self { path, max, current: RwLock::new(None) }
    }

    pub(super) fn set(&self, mailbox: Option<Mailbox<M>>) {
        let old = {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, mailbox)
        };
        drop(old);
    }

    fn put(&self, msg: M, max: usize) -> Result<(), RefusedHere> {
        // Cloned out: a refused message is dropped here, and its drop may use this very address.
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        current.map_or(Err(RefusedHere::Gone), |mailbox| mailbox.put(msg, None, max))
    }
}

/// Where to send to an actor, over all its lives.
pub struct Address<M> {
    slot: Arc<Slot<M>>,
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot) }
    }
}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.slot.path)
    }
}

impl<M: Message> Address<M> {
    pub(super) fn of(slot: Arc<Slot<M>>) -> Self {
        Self { slot }
    }

    /// Whose address this is.
    pub fn path(&self) -> &Path {
        &self.slot.path
    }

    /// Sends, however many wait: for replies and notices, whose number is bounded by what was asked.
    ///
    /// Sent is not handled: the actor may crash on an earlier message, and what waits is dropped with that life.
    ///
    /// # Errors
    /// The actor is between two lives, or gone.
    pub fn tell(&self, msg: M) -> Result<(), Unreachable> {
        self.slot.put(msg, usize::MAX).map_err(|_| self.unreachable())
    }

    /// Sends, unless as many wait as the room admits: for work that comes in from outside.
    ///
    /// # Errors
    /// The actor is between two lives, or gone; its mailbox is full.
    pub fn offer(&self, msg: M) -> Result<(), Refused> {
        self.slot.put(msg, self.slot.max).map_err(|refused| match refused {
            RefusedHere::Gone => Refused::Unreachable(self.unreachable()),
            RefusedHere::Full { waiting } => Refused::Full { path: self.slot.path.clone(), waiting },
        })
    }

    /// Asks, and waits for the answer until `deadline` has passed. Bounded as [`Self::offer`] is.
    ///
    /// # Errors
    /// The question couldn't be put, or no answer came. In the latter two cases it may have been acted upon.
    pub async fn ask<R: Send + 'static>(
        &self,
        deadline: Duration,
        make: impl FnOnce(Reply<R>) -> M,
    ) -> Result<R, AskError> {
        let (sender, answer) = oneshot::channel();
        self.offer(make(Reply { sender })).map_err(|refused| match refused {
            Refused::Unreachable(unreachable) => AskError::Unreachable(unreachable),
            Refused::Full { path, waiting } => AskError::Full { path, waiting },
        })?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(AskError::Dropped { path: self.slot.path.clone() }),
            Err(_) => Err(AskError::Deadline { path: self.slot.path.clone(), deadline }),
        }
    }

    fn unreachable(&self) -> Unreachable {
        Unreachable { path: self.slot.path.clone() }
    }
}

/// Where the answer to a question goes. Dropped without one, it tells the asker so.
pub struct Reply<R> {
    sender: oneshot::Sender<R>,
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

impl<R> Reply<R> {
    /// A place for an answer that doesn't come from an actor's mailbox, and the end where it arrives.
    pub fn channel() -> (Self, oneshot::Receiver<R>) {
        let (sender, receiver) = oneshot::channel();
        (Self { sender }, receiver)
    }

    /// Answers. Nothing happens if nobody waits any more.
    pub fn send(self, answer: R) {
        let _ = self.sender.send(answer);
    }

    /// Whether nobody waits any more, so that costly answers needn't be made.
    pub fn is_abandoned(&self) -> bool {
        self.sender.is_closed()
    }
}

/// The actor is between two lives, or gone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("actor `{path}` is restarting or gone")]
pub struct Unreachable {
    /// Who.
    pub path: Path,
}

/// Why an offer was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// As many messages wait as the room admits.
    #[error("actor `{path}` is busy: {waiting} messages wait")]
    Full {
        /// Who.
        path: Path,
        /// How many wait.
        waiting: usize,
    },
    /// The actor is between two lives, or gone.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AskError {
    /// The actor is between two lives, or gone: it doesn't know of the question.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// As many messages wait as the room admits: it doesn't know of the question.
    #[error("actor `{path}` is busy: {waiting} messages wait")]
    Full {
        /// Who.
        path: Path,
        /// How many wait.
        waiting: usize,
    },
    /// No answer in time; it may still act upon the question.
    #[error("actor `{path}` did not answer within {deadline:?}")]
    Deadline {
        /// Who.
        path: Path,
        /// How long was waited.
        deadline: Duration,
    },
    /// The actor crashed, stopped or chose not to answer; it may have acted upon the question.
    #[error("actor `{path}` gave no answer")]
    Dropped {
        /// Who.
        path: Path,
    },
}
