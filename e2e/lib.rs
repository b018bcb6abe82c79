//! Mill, end to end: the real binary, containerd and runc, a registry, and programs that people might run.
//!
//! # Why
//!
//! - **A story has a machine to itself**: network, mounts and processes in namespaces of its own
//!   ([`harness::space`]), so it uses default ports and paths, disturbs no other Mill on the machine, and whatever
//!   becomes of it (failure, kill -9 of the runner) the kernel clears away.
//! - **One after the other.** Stories measure time and processor; on two cores a second one would be noise.
//! - **From outside.** Stories speak to Mill by its command line and read its JSON loosely, as a script would. They
//!   link nothing of Mill.

pub mod bench;
pub mod harness;
pub mod scenarios;
