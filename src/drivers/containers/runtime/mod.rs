//! The real [`Containers`]: containerd's containers and tasks, runc below.
//!
//! One container has: a record and a writable snapshot of the same name, a task (a shim and a process), its FIFOs'
//! writing ends in the shim, a cgroup `PARENT/NAME`, an entry by which the kernel maps its ports, and in memory what it
//! is to become and its secrets' files. While it is being made a lease holds the snapshot; the record holds it
//! afterwards. runc keeps its own state of it in a directory. The record is made before the task and removed after it,
//! so that whatever a kill -9 leaves is found by name.
//!
//! A removed snapshot's directory goes with containerd's next collection. That mostly follows at once, but was seen to
//! miss one; `Images::remove_unused`, which forces a collection, gets the rest.
//!
//! Whether memory ran out is asked of the cgroup, which lives until the task is deleted. containerd's `TaskOOM`
//! events tell no more, come twice, and are lost while nobody listens: they aren't used.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use containerd_client::services::v1 as api;
use containerd_client::types::v1::{Process, Status};
use mill_model::{AllocId, Failure, Tempo, Timestamp};

use super::{
    Attach, Attached, ContainerError, ContainerName, Containers, ExecOutcome, Exit, Found, Launch, Running,
    Signal, StartError, State,
};
use crate::cgroups::{Account, CgroupError, Cgroups, Usage};
use crate::containerd::{Containerd, RuntimeError, timestamp};
use crate::datapath::{Datapath as _, KernelDatapath, Mapping};
use hosts::Hosts;
use memory::Memory;

mod bundle;
mod end;
mod exec;
mod host;
mod hosts;
mod memory;
mod start;
mod told;

/// The shim that runc is run by.
const SHIM: &str = "io.containerd.runc.v2";

/// Label of a container's record: the number of the signal that asks it to stop.
const STOP_LABEL: &str = "mill.stop-signal";

/// Label of a container's record: how its ports are mapped. An entry that is lost is put back from it.
const MAPPING_LABEL: &str = "mill.mapping";

/// Prefix of the lease that holds a container's snapshot while it is being made.
pub(crate) const LEASE_PREFIX: &str = "mill-start-";

/// Where the containers of one Mill are.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// containerd's socket.
    pub socket: PathBuf,
    /// The cgroup, from each hierarchy's root, that holds those of all containers: `/mill`. Two Mills on one machine
    /// need two: each takes what it doesn't know in its own for a leftover.
    pub cgroup_parent: String,
    /// A directory of this Mill's own for what doesn't survive a reboot (`/run/mill/containers`): runc's state, the
    /// FIFOs of executed programs, and a memory file system. The same after each restart.
    pub state: PathBuf,
}

/// Containers of one containerd. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    containerd: Containerd,
    cgroups: Cgroups,
    account: Mutex<Account>,
    host: super::oci::HostFacts,
    /// FIFOs of executed programs.
    fifos: PathBuf,
    /// Given to runc, whose own default is shared by all containerds of a machine: equal names would clash there.
    runc_root: PathBuf,
    hosts: Hosts,
    memory: Memory,
    bundles: bundle::Bundles,
    datapath: KernelDatapath,
    /// Executed programs so far, with the time of this Mill's start as their names.
    execs: AtomicU64,
    born: Timestamp,
}

impl Runtime {
    /// Finds out what the node has; containerd isn't asked yet.
    ///
    /// # Errors
    /// The node has no cgroups, or its `/proc` or the directory for state can't be used.
    pub fn new(config: &RuntimeConfig, tempo: Arc<Tempo>) -> Result<Self, ContainerError> {
        let cgroups = Cgroups::detect(&config.cgroup_parent)?;
        let host = host::facts(&cgroups)?;
        let fifos = config.state.join("exec");
        exec::empty(&fifos)?;
        let shared = Shared {
            containerd: Containerd::new(&config.socket, tempo),
            datapath: KernelDatapath::new(&cgroups, &config.state),
            cgroups,
            account: Mutex::default(),
            host,
            fifos,
            runc_root: config.state.join("runc"),
            hosts: Hosts::at(config.state.join("hosts")),
            memory: Memory::at(config.state.join("memory")),
            bundles: bundle::Bundles::of(&config.socket),
            execs: AtomicU64::new(0),
            born: std::time::SystemTime::now().into(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes ready what containers are started with, so that the first of them needn't wait: a memory file system, and
    /// the program that each of them begins with. To be called by whoever starts some, at any time, as often as one likes.
    ///
    /// # Errors
    /// It can't be mounted or written.
    pub fn prepare(&self) -> Result<(), ContainerError> {
        let memory = &self.shared.memory;
        memory.prepare().map_err(|source| ContainerError::State {
            path: memory.folder().to_owned(),
            source: Arc::new(source),
        })
    }

    /// The connection, to ask for containerd's version.
    pub fn containerd(&self) -> &Containerd {
        &self.shared.containerd
    }

    /// The node's cgroups.
    pub fn cgroups(&self) -> &Cgroups {
        &self.shared.cgroups
    }

    /// What maps the containers' ports.
    pub fn datapath(&self) -> &KernelDatapath {
        &self.shared.datapath
    }
}

impl Containers for Runtime {
    async fn start_when(
        &self,
        launch: &Launch,
        may: impl Future<Output = Result<(), Failure>> + Send,
    ) -> Result<Running, StartError> {
        self.shared.start(launch, may).await
    }

    async fn list(&self, alloc: &AllocId) -> Result<Vec<Found>, ContainerError> {
        let mut found = vec![];
        for record in self.shared.containerd.records(&format!("{alloc}.")).await? {
            let Ok(name) = record.id.parse::<ContainerName>() else { continue };
            // What a dead Mill left in it. That must keep nobody from knowing that it runs.
            if let Err(error) = self.shared.forget_executed(&name).await {
                tracing::warn!(container = %name, %error, "what an earlier daemon executed isn't forgotten");
            }
            // Each by itself: for a list of all tasks containerd asks every shim of the node.
            let task = self.shared.task(&name).await?;
            let state = self.shared.state(&name, task.as_ref(), record.created_at);
            let is_kept = |(key, _): &(String, _)| key != STOP_LABEL && key != MAPPING_LABEL;
            let labels = record.labels.into_iter().filter(is_kept).collect();
            found.push(Found { name, labels, state });
        }
        Ok(found)
    }

    async fn wait(&self, name: &ContainerName) -> Result<Exit, ContainerError> {
        self.shared.wait(name).await
    }

    async fn signal(&self, name: &ContainerName, signal: Signal) -> Result<(), ContainerError> {
        self.shared.kill(name, signal, false).await
    }

    async fn stop_signal(&self, name: &ContainerName) -> Result<Signal, ContainerError> {
        let record = self.shared.record(name).await?;
        let number = record.labels.get(STOP_LABEL).and_then(|text| text.parse().ok());
        Ok(number.and_then(Signal::from_number).unwrap_or(Signal::TERM))
    }

    async fn exec(
        &self,
        name: &ContainerName,
        argv: &[String],
        deadline: Duration,
    ) -> Result<ExecOutcome, ContainerError> {
        self.shared.exec(name, argv, deadline).await
    }

    async fn attach(&self, name: &ContainerName, wanted: &Attach) -> Result<Attached, ContainerError> {
        self.shared.attach(name, wanted).await
    }

    async fn usage(&self) -> Result<BTreeMap<ContainerName, Usage>, ContainerError> {
        let shared = Arc::clone(&self.shared);
        // The kernel computes what is read, under locks of its own.
        let look = move || {
            // What is remembered is numbers that are read anew if need be: a look that panicked left none of them half.
            let mut account = shared.account.lock().unwrap_or_else(PoisonError::into_inner);
            account.look(&shared.cgroups)
        };
        let look = tokio::task::spawn_blocking(look).await;
        let used = look.unwrap_or(Err(CgroupError::Interrupted))?;
        Ok(used.into_iter().filter_map(|(name, usage)| Some((name.parse().ok()?, usage))).collect())
    }

    async fn remove(&self, name: &ContainerName) -> Result<(), ContainerError> {
        self.shared.remove(name).await
    }

    async fn mapped(&self) -> Result<BTreeMap<ContainerName, Mapping>, ContainerError> {
        let records = self.shared.containerd.records("").await?;
        let mapped = records.into_iter().filter_map(|record| {
            Some((record.id.parse().ok()?, record.labels.get(MAPPING_LABEL)?.parse().ok()?))
        });
        Ok(mapped.collect())
    }

    async fn leftovers(
        &self,
        known: &BTreeSet<ContainerName>,
    ) -> Result<BTreeSet<ContainerName>, ContainerError> {
        let shared = &self.shared;
        let mut texts: BTreeSet<String> = shared.cgroups.names()?;
        texts.extend(shared.containerd.task_names().await?);
        texts.extend(shared.containerd.records("").await?.into_iter().map(|record| record.id));
        texts.extend(shared.containerd.all_snapshots().await?.into_iter().map(|snapshot| snapshot.name));
        texts.extend(shared.runc_states()?);
        texts.extend(shared.hosts.names()?);
        texts.extend(shared.memory.names().map_err(shared.in_state())?);
        texts.extend(shared.bundles.names()?);
        let leases = shared.containerd.held_leases().await?;
        texts.extend(leases.iter().filter_map(|id| id.strip_prefix(LEASE_PREFIX)).map(str::to_owned));
        let mapped = match shared.datapath.mode().is_kernel() {
            true => shared.datapath.entries().await?,
            false => BTreeMap::new(),
        };
        // What has no name of Mill's (unpacked layers, say) isn't a container.
        let names = texts.iter().filter_map(|text| text.parse().ok()).chain(mapped.into_keys());
        Ok(names.filter(|name| !known.contains(name)).collect())
    }
}

impl Shared {
    fn in_state(&self) -> impl Fn(std::io::Error) -> ContainerError {
        |source| ContainerError::State { path: self.memory.folder().to_owned(), source: Arc::new(source) }
    }

    /// A container's task; `None`: it has none.
    async fn task(&self, name: &ContainerName) -> Result<Option<Process>, RuntimeError> {
        let request = api::GetRequest { container_id: name.to_string(), exec_id: String::new() };
        let found = self.containerd.call("tell of a task", self.containerd.tasks().get(request)).await;
        Ok(RuntimeError::unless_not_found(found)?.and_then(|found| found.process))
    }

    async fn record(&self, name: &ContainerName) -> Result<api::Container, ContainerError> {
        let asked = "tell of a container";
        let request = api::GetContainerRequest { id: name.to_string() };
        let answer = self.containerd.call(asked, self.containerd.containers().get(request)).await;
        let answer = answer.map_err(|error| not_found(name, error))?;
        Ok(answer.container.ok_or(RuntimeError::Malformed { asked })?)
    }

    fn state(&self, name: &ContainerName, task: Option<&Process>, started_at: Timestamp) -> State {
        let Some(task) = task else { return State::Created };
        match task.status() {
            Status::Running | Status::Paused | Status::Pausing => {
                State::Running { pid: task.pid, started_at }
            }
            Status::Stopped => {
                State::Ended(self.exit(name, task.exit_status, timestamp(task.exited_at.as_ref())))
            }
            Status::Created | Status::Unknown => State::Created,
        }
    }

    /// An end, with what the cgroup says of it. One whose cgroup is gone wasn't for memory as far as can be told.
    fn exit(&self, name: &ContainerName, status: u32, at: Timestamp) -> Exit {
        let oom = self.cgroups.oom(&name.to_string()).unwrap_or_default();
        Exit::of_status(status, oom, at)
    }
}

/// "There is none" becomes this container's.
fn not_found(name: &ContainerName, error: RuntimeError) -> ContainerError {
    match error.is_not_found() {
        true => ContainerError::NotFound { name: name.clone() },
        false => error.into(),
    }
}

/// A path as containerd wants it; FIFOs' paths are Mill's own and always text.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Labels for containerd's maps.
fn string_map(labels: &BTreeMap<String, String>) -> HashMap<String, String> {
    labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}
