//! Where replicas go and in what order an update replaces them.
//!
//! Both questions are put as small problems of plain data, so that neither knows the replicated state:
//! `src/control` poses them and turns the answers into commands.

pub mod place;
pub mod rollout;

pub use place::{Misfit, NodeView, Request, Unplaceable, place};
pub use rollout::{Action, Failing, Health, Replica, Rollout, Verdict};
