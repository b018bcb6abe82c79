//! One alloc's life as its node reports it (product.md §3).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::advice::Advice;
use crate::names::{AllocId, Incarnation};
use crate::ports::MappedPort;
use crate::secret::Pin;
use crate::time::Timestamp;

/// Where an alloc is in its life.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Decided, not yet begun on a node.
    #[default]
    Pending,
    /// Its image is on the way.
    Pulling,
    /// Its container is being made.
    Starting,
    /// Its container runs; no check has succeeded yet.
    Running,
    /// Its check succeeds: it may have traffic.
    Healthy,
    /// Its check fails: it must have none.
    Unhealthy,
    /// Told to stop, not yet ended.
    Stopping,
    /// Ended; the next incarnation starts after a pause.
    Waiting,
    /// Ended as wanted, for good. A task that exited with 0 too.
    Stopped,
    /// Ended otherwise, for good on this node.
    Failed,
    /// Its node is down: nothing is known.
    Lost,
}

impl Phase {
    /// Whether the alloc will never run again on its node.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed)
    }

    /// Whether a container of it may exist.
    pub const fn may_run(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Running | Self::Healthy | Self::Unhealthy | Self::Stopping | Self::Lost
        )
    }
}

crate::every!(
    Phase: Pending, Pulling, Starting, Running, Healthy, Unhealthy, Stopping, Waiting, Stopped, Failed, Lost
);

impl Phase {
    /// What it means, and what to do about it.
    pub const fn advice(self) -> Advice {
        match self {
            Self::Pending => Advice::mend(
                "it is placed, and its node hasn't begun with it",
                "for longer than some seconds: `mill nodes` shows whether its node is there",
            ),
            Self::Pulling => Advice::mend(
                "its image is on the way to its node",
                "`mill why NAME` shows how far it is, and what keeps it",
            ),
            Self::Starting => Advice::fine("its container is being made"),
            Self::Running => Advice::mend(
                "its program runs, and no check has succeeded yet: it gets no traffic",
                "for long: `mill why NAME` shows what the check sees",
            ),
            Self::Healthy => Advice::fine("its check succeeds: it gets traffic"),
            Self::Unhealthy => Advice::mend(
                "its check fails: it gets no traffic, and is started again when it fails too often",
                "`mill why NAME` shows what the check sees",
            ),
            Self::Stopping => Advice::fine("it was told to stop, and has its grace until SIGKILL"),
            Self::Waiting => Advice::mend(
                "its run has ended, and it is started again after a pause that grows to a minute",
                "`mill why NAME` shows how it ended and what it wrote last",
            ),
            Self::Stopped => Advice::fine("it has ended as wanted, for good; a task has ended with 0"),
            Self::Failed => Advice::mend(
                "it has ended otherwise, for good",
                "`mill why NAME` shows the reason, `mill logs NAME --all` what it wrote",
            ),
            Self::Lost => Advice::mend(
                "its node is down: whether it runs isn't known",
                "bring the node back: it tells what runs on it",
            ),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Pulling => "pulling",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Stopping => "stopping",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Lost => "lost",
        })
    }
}

/// Why an incarnation ended or never began. The kind decides what Mill does; the detail is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Failure {
    /// The program exited by itself.
    Exited {
        /// Its exit code. 0 is a failure for a service, success for a task.
        code: u8,
    },
    /// A signal that Mill didn't send ended it.
    Signalled {
        /// Its number.
        signal: u8,
    },
    /// The kernel killed it at its memory ceiling.
    OutOfMemory,
    /// The kernel killed it below its memory ceiling: the node had none left.
    NodeOutOfMemory,
    /// Its checks failed too often.
    Unhealthy {
        /// What the last check saw.
        last: String,
    },
    /// A task ran longer than its timeout.
    TimedOut,
    /// The registry has no such image, or it isn't for this machine.
    NoSuchImage {
        /// What was asked and what came back.
        detail: String,
    },
    /// The registry didn't give the image; it may later.
    PullFailed {
        /// What was asked and what came back.
        detail: String,
    },
    /// The image has no such program, or it can't be executed.
    NoSuchCommand {
        /// The program.
        command: String,
    },
    /// The image has no such user or group.
    NoSuchUser {
        /// As the config or image names it.
        user: String,
    },
    /// Another process holds a port that this one binds itself, ignoring `PORT`.
    PortTaken {
        /// The port.
        port: u16,
        /// Who holds it: an alloc, or a process by name and pid.
        holder: String,
    },
    /// A secret that it runs with can't be had on its node, or can't be what it is used for.
    SecretUnavailable {
        /// Which.
        secret: Box<Pin>,
        /// Why, without a word of its value.
        detail: String,
    },
    /// The runtime couldn't make or start the container.
    Runtime {
        /// What it said.
        detail: String,
    },
    /// The container vanished behind Mill's back: no exit status is to be had.
    Vanished,
}

/// A [`Failure`] without its detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// [`Failure::Exited`]
    Exited,
    /// [`Failure::Signalled`]
    Signalled,
    /// [`Failure::OutOfMemory`]
    OutOfMemory,
    /// [`Failure::NodeOutOfMemory`]
    NodeOutOfMemory,
    /// [`Failure::Unhealthy`]
    Unhealthy,
    /// [`Failure::TimedOut`]
    TimedOut,
    /// [`Failure::NoSuchImage`]
    NoSuchImage,
    /// [`Failure::PullFailed`]
    PullFailed,
    /// [`Failure::NoSuchCommand`]
    NoSuchCommand,
    /// [`Failure::NoSuchUser`]
    NoSuchUser,
    /// [`Failure::PortTaken`]
    PortTaken,
    /// [`Failure::SecretUnavailable`]
    SecretUnavailable,
    /// [`Failure::Runtime`]
    Runtime,
    /// [`Failure::Vanished`]
    Vanished,
}

crate::every!(
    FailureKind: Exited, Signalled, OutOfMemory, NodeOutOfMemory, Unhealthy, TimedOut, NoSuchImage, PullFailed, NoSuchCommand,
    NoSuchUser, PortTaken, SecretUnavailable, Runtime, Vanished
);

impl FailureKind {
    /// Its word in `kind` of a failure in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Signalled => "signalled",
            Self::OutOfMemory => "out_of_memory",
            Self::NodeOutOfMemory => "node_out_of_memory",
            Self::Unhealthy => "unhealthy",
            Self::TimedOut => "timed_out",
            Self::NoSuchImage => "no_such_image",
            Self::PullFailed => "pull_failed",
            Self::NoSuchCommand => "no_such_command",
            Self::NoSuchUser => "no_such_user",
            Self::PortTaken => "port_taken",
            Self::SecretUnavailable => "secret_unavailable",
            Self::Runtime => "runtime",
            Self::Vanished => "vanished",
        }
    }

    /// What it means, and what to do about it.
    pub const fn advice(self) -> Advice {
        const LOGS: &str = "`mill logs NAME --all` shows what it wrote";
        match self {
            Self::Exited => Advice::mend("the program ended by itself, with that exit code", LOGS),
            Self::Signalled => Advice::mend("a signal that Mill didn't send ended the program", LOGS),
            Self::OutOfMemory => Advice::mend(
                "the kernel killed it when it reached its `memory`",
                "give it more `memory`, or make it use less",
            ),
            Self::NodeOutOfMemory => Advice::mend(
                "the kernel killed it below its `memory`: its node had none left",
                "what runs on its node, in containers and beside them, uses more than it has: `mill nodes` shows how \
                 much containers use, `free` on it the rest",
            ),
            Self::Unhealthy => Advice::mend(
                "its checks failed too often",
                "is `health` right (path, port, start-period), and does the program listen on $PORT? `mill logs NAME \
                 --all` shows what it wrote",
            ),
            Self::TimedOut => Advice::mend(
                "a task ran longer than its timeout",
                "give it a longer `timeout`; `mill logs NAME --all` shows what it wrote",
            ),
            Self::NoSuchImage => Advice::mend(
                "the registry has no such image, or none for this kind of machine",
                "check the image's name and tag, and that it was pushed",
            ),
            Self::PullFailed => Advice::mend(
                "the registry didn't give the image; it is asked again",
                "can the node reach the registry, and may it read the image? `mill registry login HOST` gives it \
                 credentials",
            ),
            Self::NoSuchCommand => Advice::mend(
                "the image has no such program, or it can't be executed",
                "check `command` and `entrypoint` against the image",
            ),
            Self::NoSuchUser => Advice::mend(
                "the image has no such user or group",
                "check `user` against the image, or give a number",
            ),
            Self::PortTaken => Advice::mend(
                "another process holds a port that the program binds itself",
                "let the program listen on $PORT, or stop what holds the port",
            ),
            Self::SecretUnavailable => Advice::mend(
                "a secret that it runs with can't be had on its node, or can't be what it is used for",
                "the daemon's log on its node says more; `mill secret set NAME --roll` gives it another value",
            ),
            Self::Runtime => Advice::mend(
                "containerd or runc couldn't make or start the container",
                "`mill doctor` on its node looks at the container runtime",
            ),
            Self::Vanished => Advice::mend(
                "the container was removed behind Mill's back",
                "`mill doctor` on its node looks at the container runtime",
            ),
        }
    }
}

impl Failure {
    /// Which kind it is.
    pub const fn kind(&self) -> FailureKind {
        match self {
            Self::Exited { .. } => FailureKind::Exited,
            Self::Signalled { .. } => FailureKind::Signalled,
            Self::OutOfMemory => FailureKind::OutOfMemory,
            Self::NodeOutOfMemory => FailureKind::NodeOutOfMemory,
            Self::Unhealthy { .. } => FailureKind::Unhealthy,
            Self::TimedOut => FailureKind::TimedOut,
            Self::NoSuchImage { .. } => FailureKind::NoSuchImage,
            Self::PullFailed { .. } => FailureKind::PullFailed,
            Self::NoSuchCommand { .. } => FailureKind::NoSuchCommand,
            Self::NoSuchUser { .. } => FailureKind::NoSuchUser,
            Self::PortTaken { .. } => FailureKind::PortTaken,
            Self::SecretUnavailable { .. } => FailureKind::SecretUnavailable,
            Self::Runtime { .. } => FailureKind::Runtime,
            Self::Vanished => FailureKind::Vanished,
        }
    }

    /// Whether trying again can't help until someone changes something.
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::NoSuchImage { .. } | Self::NoSuchCommand { .. } | Self::NoSuchUser { .. })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "exited with code {code}"),
            Self::Signalled { signal } => write!(f, "killed by signal {signal}"),
            Self::OutOfMemory => f.write_str("out of memory: it reached its ceiling"),
            Self::NodeOutOfMemory => f.write_str(
                "out of memory: the node had none left, though this container was below its ceiling",
            ),
            Self::Unhealthy { last } => write!(f, "unhealthy: {last}"),
            Self::TimedOut => f.write_str("ran longer than its timeout"),
            Self::NoSuchImage { detail } => write!(f, "no such image: {detail}"),
            Self::PullFailed { detail } => write!(f, "the image can't be pulled: {detail}"),
            Self::NoSuchCommand { command } => write!(f, "no such program in the image: `{command}`"),
            Self::NoSuchUser { user } => write!(f, "no such user in the image: `{user}`"),
            Self::PortTaken { port, holder } => {
                write!(
                    f,
                    "port {port} is taken by {holder}; a program that obeys $PORT can run several times on one node"
                )
            }
            Self::SecretUnavailable { secret, detail } => {
                write!(f, "the secret `{secret}` can't be used: {detail}")
            }
            Self::Runtime { detail } => write!(f, "the container can't be started: {detail}"),
            Self::Vanished => f.write_str("the container vanished"),
        }
    }
}

/// The end of one incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// Which.
    pub incarnation: Incarnation,
    /// Why; `None`: Mill stopped it, or a task exited with 0.
    pub failure: Option<Failure>,
    /// When, by the node's clock.
    pub at: Timestamp,
    /// What its program ended with, as a shell says it (128 + n for signal n), also when it was told to stop; `None`: it
    /// never ran, or its end wasn't seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
}

/// All that the owner of an alloc says about it. A later status replaces an earlier one whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AllocStatus {
    /// Which alloc.
    pub id: AllocId,
    /// Its current or last run; 0 before the first.
    pub incarnation: Incarnation,
    /// Counted up by the owner with each change, so that a late report is told from a new one.
    pub revision: u64,
    /// Where it is in its life.
    pub phase: Phase,
    /// Since when, by the node's clock.
    pub since: Timestamp,
    /// Failures in a row without ten minutes of health between them.
    pub failures: u32,
    /// Whether the node has given it up: the leader should place its successor elsewhere.
    pub given_back: bool,
    /// Its mapped ports, in the order of the config. Empty before the first start.
    pub ports: Vec<MappedPort>,
    /// How its last incarnation ended.
    pub last_end: Option<Ended>,
    /// What the check saw that made it unhealthy, while it is; what keeps it from becoming healthy, when that takes
    /// longer than usual; what keeps its node from beginning with it. Later checks don't change it: each word of a
    /// node's is a log entry.
    #[serde(default)]
    pub ailment: Option<Failure>,
}
