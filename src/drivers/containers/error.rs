//! Why a container can't be started or acted upon.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mill_model::{Failure, ImageRef};
use thiserror::Error;

use super::ContainerName;
use super::oci::SpecError;
use crate::cgroups::CgroupError;
use crate::containerd::{RuntimeError, chain};
use crate::datapath::DatapathError;
use crate::images::PullError;

/// Why a container can't be started.
#[derive(Debug, Clone, Error)]
pub enum StartError {
    /// It wasn't pulled, or was collected meanwhile.
    #[error("`{image}` isn't on this node")]
    NoImage {
        /// As asked for.
        image: ImageRef,
    },
    /// The image has no such program, or it can't be executed.
    #[error("`{command}` can't be run: {reason}")]
    NoSuchCommand {
        /// The program, as the config or the image names it.
        command: String,
        /// Why.
        reason: Missing,
    },
    /// The image has no such user or group.
    #[error("the image has no user `{user}`")]
    NoSuchUser {
        /// As the config or image names it.
        user: String,
    },
    /// The node has no such device.
    #[error("the node has no device `{path}`")]
    NoSuchDevice {
        /// As the config names it.
        path: String,
    },
    /// What is asked for doesn't exist in Linux.
    #[error("the container can't be described to the runtime")]
    Spec(#[from] SpecError),
    /// The image's record or config is unusable.
    #[error("the image can't be used")]
    Image(#[source] Box<PullError>),
    /// The image's files can't be looked into.
    #[error("the image's files can't be looked into ({doing})")]
    Rootfs {
        /// What failed.
        doing: &'static str,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// Its names can't be written down.
    #[error("what it is to see as /etc/hosts can't be written to {path}")]
    Hosts {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// What it is to run, or a file of its own, can't be laid down in memory.
    #[error("what it is to run can't be laid down at {path}")]
    Memory {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// Its first process didn't come to its program.
    #[error("its first process failed: {said}")]
    Unprepared {
        /// Its own words.
        said: String,
    },
    /// A leftover of the same name can't be removed.
    #[error("what is left of `{name}` can't be removed")]
    Leftover {
        /// The name.
        name: ContainerName,
        /// Why.
        source: Box<ContainerError>,
    },
    /// Whoever asked for it doesn't want it any more.
    #[error("it was called off: {0}")]
    CalledOff(Failure),
    /// The kernel doesn't map its ports.
    #[error("its ports can't be mapped")]
    Datapath(#[from] DatapathError),
    /// containerd or runc failed.
    #[error("the runtime can't start the container")]
    Runtime(#[from] RuntimeError),
}

/// Why a program can't be run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Missing {
    /// No file of that name at that path, or in the image's `PATH`.
    #[error("the image has no such file")]
    NotFound,
    /// A file that nobody may execute, or a directory.
    #[error("it isn't executable")]
    NotExecutable,
    /// The program that should run it is missing: a script's shell, or a binary's loader.
    #[error("it needs `{interpreter}`, which the image lacks")]
    Interpreter {
        /// Its path.
        interpreter: String,
    },
}

impl StartError {
    /// Whether trying again can't help until someone changes the config or the image.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::NoSuchCommand { .. } | Self::NoSuchUser { .. } | Self::Spec(_) => true,
            Self::Image(error) => error.is_permanent(),
            Self::NoImage { .. }
            | Self::NoSuchDevice { .. }
            | Self::Rootfs { .. }
            | Self::Hosts { .. }
            | Self::Memory { .. }
            | Self::Unprepared { .. }
            | Self::Leftover { .. }
            | Self::CalledOff(_)
            | Self::Datapath(_)
            | Self::Runtime(_) => false,
        }
    }
}

impl From<&StartError> for Failure {
    fn from(error: &StartError) -> Self {
        match error {
            StartError::NoSuchCommand { command, reason } => Self::NoSuchCommand {
                command: match reason {
                    Missing::NotFound => command.clone(),
                    _ => format!("{command} ({reason})"),
                },
            },
            StartError::NoSuchUser { user } => Self::NoSuchUser { user: user.clone() },
            StartError::CalledOff(failure) => failure.clone(),
            StartError::Spec(SpecError::NoCommand) => Self::NoSuchCommand { command: String::new() },
            StartError::NoImage { .. } => Self::PullFailed { detail: chain(error) },
            StartError::Image(error) => Self::from(error.as_ref()),
            _ => Self::Runtime { detail: chain(error) },
        }
    }
}

/// Why a container can't be acted upon.
#[derive(Debug, Clone, Error)]
pub enum ContainerError {
    /// There is none of that name, or it has ended.
    #[error("there is no container `{name}`")]
    NotFound {
        /// The name.
        name: ContainerName,
    },
    /// The program to execute in it isn't there, or can't be executed.
    #[error("`{command}` can't be run in the container: {reason}")]
    NoSuchCommand {
        /// The program.
        command: String,
        /// Why.
        reason: Missing,
    },
    /// What is to execute a program didn't come to it.
    #[error("`{command}` can't be run in the container: {said}")]
    Unprepared {
        /// The program.
        command: String,
        /// Its own words.
        said: String,
    },
    /// The executed program was killed at its deadline.
    #[error("`{command}` ran longer than {} s and was killed", after.as_secs_f64())]
    ExecDeadline {
        /// The program.
        command: String,
        /// The deadline.
        after: Duration,
    },
    /// A FIFO for an executed program's output can't be made.
    #[error("no output of a program in the container can be had by way of {path}")]
    Fifo {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// runc's state, or Mill's own of a container, can't be read or removed.
    #[error("the state of containers at {path} can't be used")]
    State {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// The cgroup can't be read or removed.
    #[error("the container's cgroup can't be used")]
    Cgroup(#[from] CgroupError),
    /// It can't be said whose ports are mapped, or they can't be taken away.
    #[error("the container's mapped ports can't be used")]
    Datapath(#[from] DatapathError),
    /// It was killed and doesn't end.
    #[error("`{name}` was killed and hasn't ended within {} s", after.as_secs_f64())]
    WontDie {
        /// The name.
        name: ContainerName,
        /// How long was waited.
        after: Duration,
    },
    /// containerd or runc failed.
    #[error("the runtime failed")]
    Runtime(#[from] RuntimeError),
}

impl ContainerError {
    /// Whether there is no such container.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
