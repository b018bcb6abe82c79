//! What an alloc says of its container's output, to whoever has the plane read it.

use std::path::PathBuf;

use mill_control::node::Outputs;
use mill_drivers::containers::ContainerName;
use mill_model::AllocId;

use crate::kit::Reply;

/// News of output streams. Each may come twice, or be lost.
#[derive(Debug)]
pub enum Streams {
    /// A container is about to start: have its pipes made, held and read.
    Open {
        /// Which.
        name: ContainerName,
        /// Told where they are, or why there are none, in a sentence.
        reply: Reply<Result<Pipes, String>>,
    },
    /// A container is gone: what is left in its pipes is all that will come.
    Ended {
        /// Which.
        name: ContainerName,
    },
    /// An alloc is forgotten: nobody will ask for its logs any more.
    Forget {
        /// Which.
        alloc: AllocId,
    },
    /// All that a node has, told now and then: whatever has pipes or logs beyond it belongs to nothing. What was
    /// told before and got lost is made up for by this.
    All(Outputs),
}

/// Where a container writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipes {
    /// A FIFO with a reader.
    pub stdout: PathBuf,
    /// Another one.
    pub stderr: PathBuf,
}
