//! The deciders put together: what a leader and a node do about what they know (architecture §1).
//!
//! Glue between two deciders lives here and not in actors, so that the simulation runs it too. No clock, no
//! socket, no disk.

pub mod dispatch;
pub mod fetch;
pub mod leader;
pub mod node;
pub mod pace;
pub mod replica;
