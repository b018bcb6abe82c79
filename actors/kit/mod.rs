//! What every actor of Mill is built on: supervision, timers, questions with a deadline, and the view that
//! `mill actors`, the console, the metrics and the tests have of a tree.
//!
//! # Words
//!
//! An *actor* is a room's behaviour ([`Actor`]). It has *lives*: each begins with `start` and ends with a crash, a
//! stop, or by hand. Its *keeper* is a task that watches one actor over all its lives and starts the next one. Its
//! [`Address`] is good for all of them.
//!
//! # Why
//!
//! ractor runs the lives: mailbox, loop, stop and kill. Three things it does otherwise than Mill needs, so the kit
//! does them:
//!
//! - **Supervision is not a message.** ractor tells a parent of its child's end through the parent's mailbox: a
//!   parent that is busy restarts nobody. A keeper needs nobody's time. Actors are not linked in ractor's sense
//!   either: a link sends the ended actor's state to its parent, where it stays open (sockets, locks) until the
//!   parent gets to it. Here a life's state, tasks, timers and children are gone before the next life begins.
//! - **Mailboxes are unbounded.** Depth is counted at the address, so that [`Address::offer`] and
//!   [`Address::ask`] refuse a full one. [`Address::tell`] is for what must not be lost.
//! - **Handles go stale.** An [`Address`] doesn't: not over restarts of its actor, nor over those of its parent.
//!
//! # When a life ends
//!
//! A crash (an error, or a panic, of `start` or `handle`) kills the actor's children and tasks, drops its state and
//! the messages that wait, and starts it again after `Tempo::actor_delay`, which grows with crashes in a row. More
//! than `limits::ACTOR_CRASHES_MAX` of them, each within `Tempo::actor_forgiven_after` of the one before, crash the
//! parent: perhaps what it handed down is wrong. At the root the tree has [`Ended`].

mod actor;
mod address;
mod errand;
mod introspect;
mod life;
mod me;
mod node;
#[cfg(test)]
pub(crate) mod probe;
mod shell;
mod stats;
mod supervise;
#[cfg(test)]
mod tests;
mod tree;

pub use actor::{Actor, Crash, Message};
pub use address::{Address, AskError, Refused, Reply, Unreachable};
pub use errand::{Task, TaskPanicked, Timer};
pub use introspect::{ActorInfo, Introspect, RestartError};
pub use me::{ChildError, Me};
pub use node::Path;
pub use stats::{Busy, LastError, Status};
pub use supervise::Restart;
pub use tree::{Ended, StartError, StopError, Tree};
