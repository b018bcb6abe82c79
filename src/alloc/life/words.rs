//! What goes into a life and what comes out.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use mill_model::spec::Probe;
use mill_model::{AllocStatus, Failure, Incarnation, Timestamp};

use crate::record::Record;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Its actor starts: these are all containers that the runtime has of it. Always the first input.
    Resume {
        /// In any order.
        found: Vec<Found>,
    },
    /// The leader wants it gone. Wins over everything.
    Stop,
    /// The image is here.
    Pulled {
        /// Who asked for it.
        incarnation: Incarnation,
    },
    /// The image can't be had.
    PullFailed {
        /// Who asked for it.
        incarnation: Incarnation,
        /// Why.
        failure: Failure,
    },
    /// A task's container is made, and waits for [`Effect::Launch`]. If that isn't among the effects it isn't to be
    /// started: answer [`Input::StartFailed`].
    Made {
        /// Which.
        incarnation: Incarnation,
    },
    /// The container runs.
    Started {
        /// Which.
        incarnation: Incarnation,
    },
    /// The container doesn't run and never will.
    StartFailed {
        /// Which.
        incarnation: Incarnation,
        /// Why.
        failure: Failure,
    },
    /// The container has ended.
    Ended {
        /// Which.
        incarnation: Incarnation,
        /// How.
        exit: Exit,
        /// Someone else who held one of its declared ports at that moment.
        clash: Option<Clash>,
        /// When.
        at: Timestamp,
    },
    /// A check has an answer.
    Checked {
        /// Of which.
        incarnation: Incarnation,
        /// The answer.
        result: Result<(), CheckFailure>,
    },
    /// It was seen where a container listens.
    Located {
        /// Which.
        incarnation: Incarnation,
        /// For each of its ports: where it is reached, if not at the mapped one of its node. Empty: it can't be said.
        seen: Vec<Option<SocketAddr>>,
    },
    /// Nothing is left of a container.
    Removed {
        /// Which.
        incarnation: Incarnation,
    },
    /// A container couldn't be removed.
    RemoveFailed {
        /// Which.
        incarnation: Incarnation,
    },
    /// Nothing is left of what the alloc had for itself.
    Cleared,
    /// Something of it couldn't be removed.
    ClearFailed,
    /// Its end could neither be kept nor marked, and the report of it was held back.
    NotKept,
    /// The runtime doesn't say what there is of it.
    Unseen {
        /// Why.
        failure: Failure,
    },
    /// A timer has run out.
    Fired(Timer),
    /// What the leader heard of it, which may be more than the record knows if the disk was full.
    Heard(Heard),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Keep this record, in place of the earlier one.
    Persist(Box<Record>),
    /// Get the image; answer `Pulled` or `PullFailed`.
    Pull {
        /// For which.
        incarnation: Incarnation,
    },
    /// Make and start the container; answer `Started` or `StartFailed`. A task's is made, answered `Made`, and started on
    /// [`Effect::Launch`].
    Start {
        /// Which.
        incarnation: Incarnation,
    },
    /// Start the task's container that was made.
    Launch {
        /// Which.
        incarnation: Incarnation,
    },
    /// Wait for the container's end; answer `Ended`.
    Watch {
        /// Which.
        incarnation: Incarnation,
    },
    /// Send its stop signal.
    Signal {
        /// Which.
        incarnation: Incarnation,
    },
    /// Send SIGKILL to its first process: the rest, in its pid namespace, goes with that.
    Kill {
        /// Which.
        incarnation: Incarnation,
    },
    /// Remove all of it, killing it if need be; answer `Removed` (also if there was nothing) or `RemoveFailed`.
    Remove {
        /// Which.
        incarnation: Incarnation,
    },
    /// Its last container is gone: remove what the alloc had for itself over all of them, its ephemeral volumes;
    /// answer `Cleared` (also if there was nothing) or `ClearFailed`.
    Clear,
    /// Ask for its health; answer `Checked`.
    Check {
        /// Of which.
        incarnation: Incarnation,
        /// What is asked.
        check: Check,
    },
    /// Look where it listens; answer `Located`.
    Locate {
        /// Which.
        incarnation: Incarnation,
    },
    /// Give `Fired(timer)` after a while. Replaces an earlier timer of this kind.
    SetTimer {
        /// Which.
        timer: Timer,
        /// From now.
        after: Duration,
    },
    /// Tell the node.
    Report(AllocStatus),
}

/// A container that the runtime has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub incarnation: Incarnation,
    /// Its state.
    pub state: FoundState,
}

/// State of a container that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundState {
    /// Made, never started.
    Created,
    /// Running.
    Running,
    /// Ended.
    Ended {
        /// How.
        exit: Exit,
        /// When.
        at: Timestamp,
    },
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited by itself.
    Code(u8),
    /// A signal ended it.
    Signal(u8),
    /// The kernel killed it at its memory ceiling.
    OutOfMemory,
    /// The kernel killed it because the node has no memory left.
    NodeOutOfMemory,
    /// It is gone, and nobody knows how.
    Vanished,
}

impl Exit {
    /// As a shell says it: 128 + n for signal n; `None`: nobody knows.
    pub(crate) const fn code(self) -> Option<u8> {
        /// SIGKILL.
        const KILLED: u8 = 9;
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(signal) => Some(signal.saturating_add(128)),
            Self::OutOfMemory | Self::NodeOutOfMemory => Some(128 + KILLED),
            Self::Vanished => None,
        }
    }
}

/// A health check to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is asked.
    pub what: Asked,
    /// After this without an answer it has failed.
    pub timeout: Duration,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// What the config says.
    Probe(Probe),
    /// Whether this declared port accepts.
    Port(NonZeroU16),
    /// Whether the runtime says that it runs.
    Runs,
}

/// A check that didn't succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFailure {
    /// What was seen, for people.
    pub seen: String,
    /// Someone else who holds the declared port, while this alloc listens nowhere.
    pub clash: Option<Clash>,
}

/// A declared port in someone else's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The port.
    pub port: u16,
    /// Who holds it: an alloc, or a process by name and pid.
    pub holder: String,
}

/// A timer. One that isn't the latest of its kind does nothing when it fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// What for.
    pub kind: TimerKind,
    /// Counted up over all timers of a life.
    pub generation: u64,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKind {
    /// The next incarnation may begin.
    Backoff,
    /// The next check is due.
    Check,
    /// Failures of checks count from now on.
    StartPeriod,
    /// Has run long enough to count as healthy.
    Age,
    /// Has been healthy long enough for its failures to be forgotten.
    Forgive,
    /// Open requests of an unhealthy one have had their time.
    Drain,
    /// The program has had its time to end by itself.
    Grace,
    /// It should have died of SIGKILL by now.
    Kill,
    /// A task has had its time.
    Deadline,
    /// Try again to remove what is left.
    Remove,
}

/// What the leader last heard of an alloc, so that a node that lost its record doesn't count from the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The incarnation in the last report.
    pub incarnation: Incarnation,
    /// The revision of the last report.
    pub revision: u64,
}
