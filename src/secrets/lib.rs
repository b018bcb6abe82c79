//! Secrets, decided: which a config names, which version of which each service gets, and what it becomes in a
//! container. Sealing and opening are a driver's: they bring randomness of their own.
//!
//! # How a value gets to a program
//! 1. `mill secret set` seals it and gives the secret a new version ([`mill_model::SecretId`]); nothing else changes.
//! 2. A deploy resolves each name that its config uses against what its project may see ([`Shelf`]), and pins the
//!    newest version ([`pin_all`]). The pins are part of the service's text from then on, and of its hash.
//! 3. `--roll` changes one secret's pins and nothing else ([`roll`]).
//! 4. A node opens the pinned versions just before it starts the container, and fills them in ([`mill_model::Opened`]).
//!
//! # Why
//! - **A project's own secret goes before a shared one** of the same name: who sets one for a project means it.
//! - **Values are checked where they are used:** a variable can't hold a NUL, a file can.

mod pins;
mod references;
mod shelf;
mod value;

pub use pins::{Unknown, pin_all, roll, users};
pub use references::{names, names_of_service, names_of_task};
pub use shelf::Shelf;
pub use value::{ValueError, check};

#[cfg(test)]
mod properties;
