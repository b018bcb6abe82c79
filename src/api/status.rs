//! `GET /v1/status`: the cluster on one page.

use mill_model::{Advice, NodeName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::deploys::Deploy;
use crate::nodes::Node;
use crate::services::Service;

/// The cluster on one page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The node that answers.
    pub node: NodeName,
    /// Version of its binary.
    pub version: String,
    /// Who leads; `None`: nobody does, writes are refused.
    #[serde(default)]
    pub leader: Option<NodeName>,
    /// Its nodes, by name.
    pub nodes: Vec<Node>,
    /// Its services and tasks, by project and name.
    pub services: Vec<Service>,
    /// Deploys that haven't ended.
    pub deploys: Vec<Deploy>,
    /// What a person should know: a disk almost full, a clock that jumped.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What `warnings` are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The log can't be read or written.
    LogTrouble,
    /// Nobody leads.
    NoLeader,
    /// The node applies the log no more.
    Halted,
    /// The node's kernel maps no ports.
    Unmapped,
    /// The node's clock was set.
    ClockSet,
}

mill_model::every!(Alarm: LogTrouble, NoLeader, Halted, Unmapped, ClockSet);

impl Alarm {
    /// How its warning begins.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LogTrouble => "the log is in trouble",
            Self::NoLeader => "nobody leads the cluster",
            Self::Halted => "this node applies the log no more",
            Self::Unmapped => "this node's kernel maps no ports",
            Self::ClockSet => "this node's clock was set",
        }
    }

    /// What it means, and what to do about it.
    pub const fn advice(self) -> Advice {
        match self {
            Self::LogTrouble => Advice::mend(
                "the disk under the data directory is full, read-only, or fails: what runs goes on, writes are refused",
                "make room, mount it writable, or see `dmesg`; the node goes on by itself when it can write again",
            ),
            Self::NoLeader => Advice::mend(
                "what runs goes on, writes are refused",
                "for longer than some seconds: `mill doctor`, and `journalctl -u mill` on the node",
            ),
            Self::Halted => Advice::mend(
                "it met an entry that it can't apply, of a newer version or damaged: it takes no part until that is mended",
                "install the version of Mill that the other nodes run; on a single node, the one that ran before",
            ),
            Self::Unmapped => Advice::mend(
                "programs must listen on $PORT, and service addresses aren't served",
                "`mill doctor` says what the kernel lacks",
            ),
            Self::ClockSet => Advice::mend(
                "deadlines and failure detection don't mind; expiry and retention go by the new time, never backwards",
                "is a time service running (`timedatectl`)? The warning goes away after a day",
            ),
        }
    }
}
