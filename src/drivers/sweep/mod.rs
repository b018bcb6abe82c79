//! What a Mill that is gone left on this machine: found, shown, removed.
//!
//! # Why
//!
//! - **By sight, not by memory.** Nothing is written down of what was made: what is there is looked up where it lies,
//!   every time. So a sweep that was killed in its middle is begun again and finds the rest, and one that comes twice
//!   finds nothing.
//! - **By name.** Mill's containers, cgroups and shims are called like a run of an alloc ([`ContainerName`]), its images
//!   carry its labels, its files have names that are listed here. Whatever else lies among them is somebody else's, is
//!   told of, and stays.
//! - **Nobody may be at home.** Whoever holds the locks of the home, answers at its sockets or has claimed its cgroup
//!   or its containerd keeps a sweep out; and the sweep holds those locks itself, so that nobody comes up meanwhile.
//!
//! Calls block now and then on files and on `/proc`: whoever sweeps does nothing else.
//!
//! [`ContainerName`]: crate::containers::ContainerName

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde::Serialize;
use thiserror::Error;

use crate::cgroups::CgroupError;
use crate::containerd::RuntimeError;
use crate::containers::ContainerError;
use crate::containers::own::OwnError;
use crate::datapath::DatapathError;
use crate::process::signal_if;

pub use fake::FakeSweep;
pub use real::{MachineSweep, Place};

mod fake;
mod files;
mod owners;
mod real;
mod shims;
mod store;

/// What looks for leftovers of one home and removes them.
pub trait Sweep: Send {
    /// Takes the home for itself for as long as it lives; says who lives on this machine if that can't be.
    fn claim(&mut self) -> impl Future<Output = Result<Vec<Owner>, SweepError>> + Send;

    /// All that is there.
    fn find(&mut self) -> impl Future<Output = Result<Found, SweepError>> + Send;

    /// Removes one. What is gone already is removed.
    fn remove(&mut self, left: &Left) -> impl Future<Output = Result<(), SweepError>> + Send;

    /// Ends what was begun only to look.
    fn close(&mut self) -> impl Future<Output = Result<(), SweepError>> + Send;
}

/// What was found.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Mill's, in the order in which it has to be removed.
    pub left: Vec<Left>,
    /// Not Mill's, though it lies where Mill's things do: it stays.
    pub foreign: Vec<Left>,
}

/// Something that was left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Left {
    /// What it is.
    pub kind: Kind,
    /// Its name, its path, or for a process its id and what it runs.
    pub name: String,
    /// The socket of the containerd that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containerd: Option<PathBuf>,
}

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A container with all that belongs to it: task, record, snapshot, lease, cgroup, runc's state.
    Container,
    /// A process: a shim without its container, or a containerd of Mill's own.
    Process,
    /// A cgroup without a container, or the one that holds all of them.
    Cgroup,
    /// What maps ports in the kernel: programs, entries, addresses, the reservation of the pool.
    Datapath,
    /// A mount.
    Mount,
    /// A lease of containerd.
    Lease,
    /// An image.
    Image,
    /// Mill's namespace in containerd, with the layers and blobs in it.
    Namespace,
    /// A directory and all that is in it.
    Directory,
    /// A file, a socket or a pipe.
    File,
}

impl Kind {
    /// In one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Process => "process",
            Self::Cgroup => "cgroup",
            Self::Datapath => "datapath",
            Self::Mount => "mount",
            Self::Lease => "lease",
            Self::Image => "image",
            Self::Namespace => "namespace",
            Self::Directory => "directory",
            Self::File => "file",
        }
    }
}

impl Left {
    /// Something that no containerd has.
    pub(crate) fn of(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), containerd: None }
    }

    /// Something on disk.
    pub(crate) fn at(kind: Kind, path: &Path) -> Self {
        Self::of(kind, path.display().to_string())
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.word(), self.name)
    }
}

/// Who lives here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Its process; `None`: it can't be seen from here.
    pub pid: Option<u32>,
    /// How it was called, `mill dev`; else what it holds.
    pub what: String,
    /// Where it keeps its data, if it was told so when it was called.
    pub data: Option<PathBuf>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "{} (process {pid}", self.what)?,
            None => write!(f, "{} (a process that can't be seen from here", self.what)?,
        }
        match &self.data {
            Some(data) => write!(f, ", its data in {})", data.display()),
            None => f.write_str(")"),
        }
    }
}

/// Something can't be looked at, or can't be removed.
#[derive(Debug, Error)]
pub enum SweepError {
    /// A containerd doesn't do as it is asked.
    #[error("containerd at {} can't be swept", socket.display())]
    Containerd {
        /// Where it listens.
        socket: PathBuf,
        /// Its word.
        source: RuntimeError,
    },
    /// Mill's own containerd, which has to run to be looked into, doesn't come up.
    #[error("Mill's own containerd can't be looked into")]
    Own {
        /// Why.
        source: OwnError,
    },
    /// A container doesn't go.
    #[error("the container can't be removed")]
    Container {
        /// Why.
        source: ContainerError,
    },
    /// Cgroups can't be read or removed.
    #[error("cgroups can't be swept")]
    Cgroup {
        /// Why.
        source: CgroupError,
    },
    /// Ports stay mapped.
    #[error("mapped ports can't be taken away")]
    Datapath {
        /// Why.
        source: DatapathError,
    },
    /// A file, directory, mount or process refuses.
    #[error("failed to {doing} {}", path.display())]
    System {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Somebody mounted something there: what it holds isn't Mill's to remove.
    #[error("{} is mounted within {}, and not by Mill", mount.display(), path.display())]
    Mounted {
        /// What was to be removed.
        path: PathBuf,
        /// What is mounted in it.
        mount: PathBuf,
    },
    /// It was told to go and didn't.
    #[error("{what} is still there after {} s", after.as_secs())]
    Stays {
        /// What.
        what: String,
        /// How long was waited.
        after: Duration,
    },
}

/// Every daemon and plane that runs on this machine, this process aside.
pub fn living() -> Vec<Owner> {
    let mut owners = owners::running(Path::new("/proc"));
    owners.retain(|owner| owner.pid != Some(std::process::id()));
    owners
}

/// Asks a daemon or plane to end, if that process still is it.
pub fn end(owner: &Owner) {
    let is_it = |pid| move || owners::call(pid, Path::new("/proc")).as_ref() == Some(owner);
    if let Some(pid) = owner.pid {
        signal_if(pid, Signal::TERM, is_it(pid));
    }
}

/// Who holds the lock at `path`; `None`: nobody, or there is none.
///
/// # Errors
/// It can't be opened.
pub fn holder(path: &Path) -> Result<Option<Owner>, SweepError> {
    match owners::claim(path, Path::new("/proc"))? {
        owners::Lock::Held(owner) => Ok(Some(owner)),
        owners::Lock::Claimed(_) | owners::Lock::Absent => Ok(None),
    }
}

/// Who answers at a socket.
pub fn listener(socket: &Path) -> Option<Owner> {
    owners::listener(socket, Path::new("/proc"))
}

fn system(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SweepError {
    move |source| SweepError::System { doing, path: path.to_owned(), source }
}
