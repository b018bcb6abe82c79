//! What lives outside of the daemon and goes on without it: containers and their programs, records on the disk,
//! the user.

pub(crate) mod keeper;
pub(crate) mod program;
pub(crate) mod records;
pub(crate) mod runtime;
mod spawner;
pub(crate) mod user;

pub(crate) use program::Kind;
pub(crate) use records::{Kept, Space};
pub(crate) use runtime::{Container, Name, Runtime, State};
