//! The replicated cluster: one state, changed by commands, the same on every node.
//!
//! [`Cluster::apply`] takes the bytes of one log entry and changes the state or rejects the command; nothing
//! else changes it. There is no clock (time comes stamped in the entry), no randomness (ids come in the
//! command), no hash map (order must be equal everywhere), no I/O.
//!
//! # Why
//! - State is held in persistent maps (`imbl`): publishing a copy after each batch shares everything.
//! - A command that can't be carried out is [`Rejected`] by every node alike and leaves no trace; a command
//!   that would break an invariant too, so that one bad entry can't crash all nodes for ever.
//! - An entry above this binary's [`level`] halts applying ([`Halt`]): a replicated machine must not skip.

pub mod access;
pub mod alloc;
pub mod cluster;
pub mod command;
pub mod deploy;
pub mod event;
pub mod level;
pub mod node;
pub mod once;
pub mod project;
pub mod rejected;
pub mod secret;
pub mod sight;
pub mod snapshot;
pub mod spawn;

mod apply;
mod check;
mod index;
mod wire;

pub use access::{AuditRecord, Author, RegistryLogin, RetiringCa, Token};
pub use alloc::{Alloc, StopReason, Version};
pub use check::Broken;
pub use cluster::{Cluster, Runnable};
pub use command::{Applied, Command, Done, Entry, NewToken};
pub use deploy::{Change, Deploy, DeployKind, Outcome, Step, StepReason, StepState, Target};
pub use event::{Event, EventKind};
pub use node::Node;
pub use once::{DoneOnce, Once};
pub use project::{Past, Project, Service, Task};
pub use rejected::{Halt, Rejected};
pub use secret::{Secret, SecretUser, SecretVersion};
pub use spawn::{NO_DEPLOY, Spawn};
pub use wire::hash::{service_hash, task_hash};

#[cfg(test)]
mod tests;
