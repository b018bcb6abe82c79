//! Containers: made from an image and a launch, watched to their end, removed without trace.
//!
//! The real ones, [`Runtime`], are containerd's tasks. They don't depend on Mill: it may die at any moment and
//! find them again by [`Containers::list`], and wait for them again. What a dead Mill left half made is found by
//! [`Containers::leftovers`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use mill_model::{AllocId, Failure, ImageRef, Resources, Timestamp};
use zeroize::Zeroize as _;

use crate::cgroups::Oom;
pub use crate::cgroups::Usage;
use crate::datapath::Mapping;
pub use attached::{Ask, Attach, Attached, Hand, Input, Output, Size};
pub use error::{ContainerError, Missing, StartError};
pub use fake::{FakeContainers, Script};
pub use name::{ContainerName, ContainerNameError};
pub use rootfs::Identity;
pub(crate) use runtime::LEASE_PREFIX as START_LEASE_PREFIX;
pub use runtime::{Runtime, RuntimeConfig};
pub use signal::{Signal, UnknownSignal};

mod attached;
mod error;
mod fake;
mod name;
pub mod oci;
pub mod own;
mod rootfs;
mod runtime;
pub(crate) mod shim;
mod signal;

/// A node's containers.
pub trait Containers: Clone + Send + Sync + 'static {
    /// Makes and starts a container. A leftover of the same name is removed first; on an error nothing is left.
    fn start(&self, launch: &Launch) -> impl Future<Output = Result<Running, StartError>> + Send {
        self.start_when(launch, std::future::ready(Ok(())))
    }

    /// The same with a last word: once all is made, and before anything of it runs, `may` says whether it shall.
    fn start_when(
        &self,
        launch: &Launch,
        may: impl Future<Output = Result<(), Failure>> + Send,
    ) -> impl Future<Output = Result<Running, StartError>> + Send;

    /// The containers of one alloc, ended ones that weren't removed included.
    fn list(&self, alloc: &AllocId) -> impl Future<Output = Result<Vec<Found>, ContainerError>> + Send;

    /// Waits for a container's end, for as long as it takes, also over restarts of the runtime. One that has ended
    /// and wasn't removed answers at once. `NotFound`: it vanished, no exit status is to be had.
    fn wait(&self, name: &ContainerName) -> impl Future<Output = Result<Exit, ContainerError>> + Send;

    /// Sends a signal to a container's first process. One that has ended already is [`ContainerError::NotFound`].
    fn signal(
        &self,
        name: &ContainerName,
        signal: Signal,
    ) -> impl Future<Output = Result<(), ContainerError>> + Send;

    /// What asks this container to stop: the launch's signal, else its image's, else SIGTERM.
    fn stop_signal(
        &self,
        name: &ContainerName,
    ) -> impl Future<Output = Result<Signal, ContainerError>> + Send;

    /// Runs a program inside a container, as its user and with its environment, and waits for its end; kills it at
    /// the deadline. For health checks: the output is what a message needs, not a stream.
    fn exec(
        &self,
        name: &ContainerName,
        argv: &[String],
        deadline: Duration,
    ) -> impl Future<Output = Result<ExecOutcome, ContainerError>> + Send;

    /// Runs a program inside a container, as its user and with its environment, its streams in the caller's hands. It
    /// ends when the [`Attached`] is dropped, and when this process does. Answers when it was executed.
    fn attach(
        &self,
        name: &ContainerName,
        wanted: &Attach,
    ) -> impl Future<Output = Result<Attached, ContainerError>> + Send;

    /// What each container uses now, ended ones that weren't removed included: one look for all, cheap enough for every
    /// few seconds.
    fn usage(&self) -> impl Future<Output = Result<BTreeMap<ContainerName, Usage>, ContainerError>> + Send;

    /// Removes a container and all that belongs to it: kills it if need be. None there is as good.
    fn remove(&self, name: &ContainerName) -> impl Future<Output = Result<(), ContainerError>> + Send;

    /// How the ports of containers were mapped when they were started, ended ones that weren't removed included. Those
    /// that were started without a mapping aren't among them.
    fn mapped(&self)
    -> impl Future<Output = Result<BTreeMap<ContainerName, Mapping>, ContainerError>> + Send;

    /// What there is of Mill's containers other than `known`: records, tasks, snapshots, leases, cgroups, mapped ports.
    /// [`Containers::remove`] takes away all of it.
    fn leftovers(
        &self,
        known: &BTreeSet<ContainerName>,
    ) -> impl Future<Output = Result<BTreeSet<ContainerName>, ContainerError>> + Send;
}

/// What to start.
#[derive(Clone, PartialEq, Eq)]
pub struct Launch {
    /// Its name: an alloc's id and its incarnation.
    pub name: ContainerName,
    /// A pinned image that was pulled.
    pub image: ImageRef,
    /// Replaces the image's entrypoint, and forgets its command.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Over the image's environment. Neither this nor the arguments ever reach a disk: values may be secrets.
    pub env: Vec<(String, String)>,
    /// Whether its environment or its arguments hold secrets: it then leaves no core.
    pub confidential: bool,
    /// Files that it alone sees, in memory. With any of them it leaves no core.
    pub files: Vec<PrivateFile>,
    /// Its ceilings.
    pub resources: Resources,
    /// `user`, `user:group`, by name or number; `None`: the image's.
    pub user: Option<String>,
    /// Where it starts, made if missing; `None`: the image's.
    pub workdir: Option<String>,
    /// Whether its root file system can't be written.
    pub read_only_root: bool,
    /// Capabilities beyond the defaults, with or without `CAP_`; `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities taken away; `ALL`.
    pub cap_drop: Vec<String>,
    /// Paths of the node's devices that it may use.
    pub devices: Vec<String>,
    /// Directories and files of the node that it sees.
    pub mounts: Vec<Mount>,
    /// What asks it to stop: `SIGQUIT`; `None`: the image's, else SIGTERM.
    pub stop_signal: Option<String>,
    /// Kept with the container and given back by [`Containers::list`].
    pub labels: BTreeMap<String, String>,
    /// A FIFO that exists and has a reader, or an empty path for none.
    pub stdout: PathBuf,
    /// As `stdout`; may be the same.
    pub stderr: PathBuf,
    /// Its host name.
    pub hostname: String,
    /// What its host name stands for. In its `/etc/hosts`, after what the node's says.
    pub address: IpAddr,
    /// What it sees as `/etc/resolv.conf`; `None`: the node's.
    pub resolv_conf: Option<PathBuf>,
    /// How the kernel maps its ports; `None`: not at all.
    pub mapping: Option<Mapping>,
}

/// Values of the environment and the arguments aren't shown: they may be secrets.
impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch").field("name", &self.name).field("image", &self.image).finish_non_exhaustive()
    }
}

impl Launch {
    /// Leaves nothing in memory of what may be secrets.
    pub fn wipe(&mut self) {
        self.env.zeroize();
        self.command.zeroize();
        self.entrypoint.zeroize();
        self.files.iter_mut().for_each(|file| file.bytes.zeroize());
    }
}

/// A file that only one container sees. It can't be written there, is on no disk, and goes with the container.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateFile {
    /// Where the container sees it, absolute. Directories are made if they are missing.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// `user`, `user:group`, by name or number, as the image knows them; `None`: the program's.
    pub owner: Option<String>,
    /// Permission bits.
    pub mode: u32,
}

/// What is in it isn't shown.
impl fmt::Debug for PrivateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, bytes: _, owner, mode } = self;
        f.debug_struct("PrivateFile")
            .field("path", path)
            .field("owner", owner)
            .field("mode", mode)
            .finish_non_exhaustive()
    }
}

/// A directory or file of the node within a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is on the node.
    pub source: PathBuf,
    /// Where the container sees it, absolute.
    pub path: String,
    /// Whether it can't be written there.
    pub read_only: bool,
}

/// A container that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Its first process, as the node counts.
    pub pid: u32,
}

/// A container that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: ContainerName,
    /// As in its launch.
    pub labels: BTreeMap<String, String>,
    /// Where it is in its life.
    pub state: State,
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Made, not started: its maker died, or it has lost its task.
    Created,
    /// Running.
    Running {
        /// Its first process.
        pid: u32,
        /// When it was made, by the node's clock.
        started_at: Timestamp,
    },
    /// Ended and not removed.
    Ended(Exit),
}

/// How a container ended.
///
/// containerd says 128 + n for a process that signal n ended, and so do shells for their children: a program that
/// exits with 137 by itself can't be told from one that was killed. Such codes are taken for signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 + n for signal n.
    pub code: u8,
    /// The signal that ended it.
    pub signal: Option<u8>,
    /// It was killed, and the kernel has killed in it for lack of memory: whose.
    pub oom: Option<Oom>,
    /// When, by the node's clock.
    pub at: Timestamp,
}

impl Exit {
    /// The end that a runtime's exit status tells of.
    pub fn of_status(status: u32, oom: Option<Oom>, at: Timestamp) -> Self {
        let code = u8::try_from(status).unwrap_or(u8::MAX);
        // 64 signals; 128 itself is nobody's.
        let signal = code.checked_sub(128).filter(|signal| (1..=64).contains(signal));
        let oom = oom.filter(|_| signal == Some(Signal::KILL.number()));
        Self { code, signal, oom, at }
    }
}

impl From<&Exit> for Failure {
    fn from(exit: &Exit) -> Self {
        match (exit.oom, exit.signal) {
            (Some(Oom::Ceiling), _) => Self::OutOfMemory,
            (Some(Oom::Node), _) => Self::NodeOutOfMemory,
            (None, Some(signal)) => Self::Signalled { signal },
            (None, None) => Self::Exited { code: exit.code },
        }
    }
}

/// How an executed program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutcome {
    /// Its exit code; 128 + n for signal n.
    pub code: u8,
    /// The end of what it wrote to stdout and stderr, at most `limits::EXEC_OUTPUT_BYTES_MAX` bytes.
    pub output: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_above_128_are_signals_and_only_a_kill_can_be_for_memory() {
        let (ceiling, node) = (Some(Oom::Ceiling), Some(Oom::Node));
        let table = [
            (0, None, None, None),
            (1, ceiling, None, None),
            (128, None, None, None),
            (137, None, Some(9), None),
            (137, ceiling, Some(9), ceiling),
            (137, node, Some(9), node),
            (143, ceiling, Some(15), None),
            (255, None, None, None),
        ];
        for (status, kills, signal, oom) in table {
            let exit = Exit::of_status(status, kills, Timestamp(0));
            assert_eq!((exit.signal, exit.oom), (signal, oom), "{status}");
        }
    }
}
