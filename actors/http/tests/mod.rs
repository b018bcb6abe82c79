//! The whole room: over a real Unix socket and TLS, with the client that people use, against a cluster moved by
//! commands.

mod room;
pub(in crate::http) mod world;

mod access;
mod ahead;
mod bad;
mod exec;
mod once;
mod pulls;
mod reading;
mod registries;
mod reset;
mod roles;
mod secrets;
mod streaming;
mod table;
mod tasks;
mod town;
mod writing;
