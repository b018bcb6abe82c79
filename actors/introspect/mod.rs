//! Shows this process's actors to others, and reads theirs: what `mill actors` and the console are fed by.
//!
//! No actor: reading must work when actors don't. [`Service`] goes into any tonic router beside other services;
//! whoever builds that router decides who may reach it (the Unix sockets: root; the mesh: nodes).

mod client;
mod convert;
mod service;
#[cfg(test)]
mod tests;

pub use client::{Client, ReadError};
pub use convert::UnreadableActor;
pub use service::Service;
