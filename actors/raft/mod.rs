//! The replicated log and the state that follows from it.

mod msg;

pub use msg::{Msg, ProposeError, Published, Role};

/// What the disk has carried out: the number of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written(pub u64);
