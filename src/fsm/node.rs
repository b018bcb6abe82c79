//! Machines, as the state knows them. Whether one is alive is a fact, not state (architecture §3).

use mill_model::node::NodeFacts;
use mill_model::{Resources, Timestamp};

/// A registered machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it said of itself.
    pub facts: NodeFacts,
    /// When it was first registered.
    pub registered_at: Timestamp,
    /// Sum of what its live allocs reserve. Follows from the allocs; kept so that placing costs no sum.
    pub reserved: Resources,
}

impl Node {
    /// What can still be placed there. Nothing if it came back smaller than what runs on it.
    pub fn free(&self) -> Resources {
        self.facts.capacity.minus(self.reserved)
    }
}
