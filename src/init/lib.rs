//! `mill-init`, the first process of every container: the program, and what its maker has to know of it.
//!
//! The runtime's files end on disk: the OCI spec, containerd's records, its executed programs. So they name this
//! program and nothing else, and what is really to be run, with its environment, waits in a file on a memory file
//! system without swap ([`Run`]). It is read, the program becomes what the image wants to be run as, and executes it.
//!
//! Two files of this folder are two crates: `lib.rs` is linked into Mill, `main.rs` is the program that [`PROGRAM`]
//! holds; they share [`mod@format`].

pub mod format;

mod maker;

pub use format::{Failed, Kind, Run};
pub use maker::{START, Unwritable};

/// The program: a static executable for this machine.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/mill-init"));

/// What tells this program from that of another build.
pub const ID: &str = env!("MILL_INIT_ID");

#[cfg(test)]
mod tests;
