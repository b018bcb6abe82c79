//! The model's types as messages and back. Reading checks everything, since what was written by a newer or
//! broken binary must not get in.

mod access;
mod alloc;
mod command;
mod deploy;
mod event;
pub(crate) mod hash;
mod once;
mod read;
mod secret;
mod spawn;
mod spec;
mod state;

/// A type that is stored and replicated.
trait Wire {
    /// As what.
    type Message;

    /// The message that holds all of it.
    fn wire(&self) -> Self::Message;
}

pub(crate) use state::{from_snapshot, to_snapshot};
