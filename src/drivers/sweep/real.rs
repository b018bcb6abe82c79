//! The real [`Sweep`]: containerds, cgroups, mounts, files and processes, in the order in which they let go.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mill_model::Tempo;

use super::owners::{self, Lock};
use super::{Found, Kind, Left, Owner, Sweep, SweepError, files, shims, store, system};
use crate::cgroups::{CgroupError, Cgroups};
use crate::containerd::{Containerd, claimed_at};
use crate::containers::own::{Own, OwnConfig, OwnError};
use crate::containers::{ContainerName, Containers as _, Runtime, RuntimeConfig};
use crate::datapath::KernelDatapath;
use crate::mounts::{resolved, resolved_place};
use crate::process;

/// In the root of a containerd that has ever run: its records.
const RECORDS: &str = "io.containerd.metadata.v1.bolt/meta.db";

/// A home, and how much of it is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The data directory.
    pub data: PathBuf,
    /// The daemon's socket; what doesn't survive a reboot lies beside it.
    pub socket: PathBuf,
    /// The plane's.
    pub plane_socket: PathBuf,
    /// Sockets of the machine's containerds that Mill may have used. Each has to answer.
    pub containerds: Vec<PathBuf>,
    /// The cgroup of all containers: `/mill`.
    pub cgroup_parent: String,
    /// Whether the node itself goes too: who it is, its keys, its log. Its own containerd lies in the same directory.
    pub with_data: bool,
    /// Whether a containerd of Mill's own ends, and goes with all that it keeps.
    pub own_containerd: bool,
}

impl Place {
    /// Where what doesn't survive a reboot lies.
    pub(super) fn run(&self) -> PathBuf {
        self.socket.parent().unwrap_or(Path::new("/")).to_owned()
    }

    /// Where runc's state lies, and the pipes of executed programs.
    pub(super) fn containers(&self) -> PathBuf {
        self.run().join("containers")
    }

    /// Everything of a containerd of Mill's own.
    pub(super) fn own_folders(&self) -> [PathBuf; 2] {
        let own = self.own();
        [own.state, own.root]
    }

    fn own(&self) -> OwnConfig {
        OwnConfig { root: self.data.join("containerd"), state: self.run().join("containerd") }
    }
}

/// What sweeps this machine.
#[derive(Debug)]
pub struct MachineSweep {
    place: Place,
    proc: PathBuf,
    tempo: Arc<Tempo>,
    /// Held, so that nobody comes up meanwhile.
    locks: Vec<process::Lock>,
    /// Those of them that weren't there before.
    made: BTreeSet<PathBuf>,
    /// Mill's own containerd, if there is one.
    own: Option<Own>,
    /// Whether that one doesn't answer, so that it can only go as a whole.
    is_silent: bool,
}

impl MachineSweep {
    /// What sweeps `place`.
    pub fn new(place: Place, tempo: Arc<Tempo>) -> Self {
        let own_containerd = place.own_containerd || place.with_data;
        let (socket, plane_socket) = (resolved_place(&place.socket), resolved_place(&place.plane_socket));
        let place = Place { data: resolved(&place.data), socket, plane_socket, own_containerd, ..place };
        Self {
            place,
            proc: PathBuf::from("/proc"),
            tempo,
            locks: vec![],
            made: BTreeSet::new(),
            own: None,
            is_silent: false,
        }
    }

    /// The containerds to look into: the machine's, and Mill's own, started if need be.
    async fn containerds(&mut self) -> Result<Vec<Containerd>, SweepError> {
        let mut sockets = self.place.containerds.clone();
        let own = self.place.own();
        if self.own.is_none()
            && (own.root.join(RECORDS).exists() || answers(&own.state.join("containerd.sock")))
        {
            match Own::ensure(&own, Arc::clone(&self.tempo)).await {
                Ok(own) => self.own = Some(own),
                // It goes as a whole, and with it what is in it: nobody has to look.
                Err(error) if self.place.own_containerd && !matches!(error, OwnError::Foreign { .. }) => {
                    tracing::warn!(%error, "own containerd not looked into");
                    self.own = Own::find(&own).map_err(|source| SweepError::Own { source })?;
                    self.is_silent = self.own.is_some();
                }
                Err(source) => return Err(SweepError::Own { source }),
            }
        }
        sockets.extend(self.own.as_ref().filter(|_| !self.is_silent).map(|own| own.socket().to_owned()));
        Ok(sockets.iter().map(|socket| Containerd::new(socket, Arc::clone(&self.tempo))).collect())
    }

    /// Takes a lock, and makes it if need be where there is something to keep others out of. Answers who has it.
    fn keep_out(&mut self, path: PathBuf, is_cgroup: bool) -> Result<Option<Owner>, SweepError> {
        let is_new = owners::make(&path, is_cgroup)?;
        match owners::claim(&path, &self.proc)? {
            Lock::Claimed(lock) => {
                self.locks.push(lock);
                self.made.extend(is_new.then_some(path));
            }
            Lock::Held(owner) => return Ok(Some(owner)),
            Lock::Absent => {}
        }
        Ok(None)
    }

    /// Whether it is a lock that this sweep made: it goes when looking ends, unless what it lies in goes too.
    fn is_own_lock(&self, one: &Left, left: &[Left]) -> bool {
        let path = Path::new(&one.name);
        let goes = left.iter().any(|other| path.parent() == Some(Path::new(&other.name)));
        self.made.contains(path) && !goes
    }

    fn cgroups(&self) -> Result<Cgroups, SweepError> {
        Cgroups::detect(&self.place.cgroup_parent).map_err(cgroup_error)
    }

    /// Names of cgroups that Mill gave, and names in its cgroup that it didn't give.
    fn names(&self) -> Result<(BTreeSet<String>, BTreeSet<String>), SweepError> {
        let cgroups = self.cgroups()?.names().map_err(cgroup_error)?;
        let is_ours = |name: &String| name.parse::<ContainerName>().is_ok();
        Ok(cgroups.into_iter().partition(is_ours))
    }

    fn sockets(&self) -> Vec<PathBuf> {
        let own = self.place.own().state.join("containerd.sock");
        self.place.containerds.iter().cloned().chain([own]).collect()
    }

    async fn remove_container(&self, left: &Left) -> Result<(), SweepError> {
        let (Some(socket), Ok(name)) = (&left.containerd, left.name.parse()) else { return Ok(()) };
        let config = RuntimeConfig {
            socket: socket.clone(),
            cgroup_parent: self.place.cgroup_parent.clone(),
            state: self.place.containers(),
        };
        let runtime = Runtime::new(&config, Arc::clone(&self.tempo));
        let runtime = runtime.map_err(|source| SweepError::Container { source })?;
        runtime.remove(&name).await.map_err(|source| SweepError::Container { source })
    }

    async fn remove_cgroup(&self, name: &str) -> Result<(), SweepError> {
        let cgroups = self.cgroups()?;
        if name == cgroups.parent() {
            return cgroups.remove_parent().map_err(cgroup_error);
        }
        let Some(name) = name.strip_prefix(&format!("{}/", cgroups.parent())) else { return Ok(()) };
        let after = self.tempo.runtime_deadline;
        let gone = async {
            let mut attempts = 0;
            while !cgroups.remove(name)? {
                attempts += 1;
                tokio::time::sleep(self.tempo.runtime_delay(attempts)).await;
            }
            Ok(())
        };
        let stays = |_| SweepError::Stays { what: format!("cgroup {name}"), after };
        tokio::time::timeout(after, gone).await.map_err(stays)?.map_err(cgroup_error)
    }

    async fn remove_process(&mut self, name: &str) -> Result<(), SweepError> {
        let Some(own) = self.own.as_ref().filter(|own| process_of(own) == name) else {
            shims::kill(&self.proc, name, &self.sockets());
            return Ok(());
        };
        self.stop(own).await?;
        self.own = None;
        Ok(())
    }

    async fn stop(&self, own: &Own) -> Result<(), SweepError> {
        let after = self.tempo.runtime_deadline;
        own.end(after).await.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => SweepError::Stays { what: process_of(own), after: after * 2 },
            _ => system("stop", own.socket())(error),
        })
    }

    async fn in_containerd(&self, left: &Left) -> Result<(), SweepError> {
        let Some(socket) = &left.containerd else { return Ok(()) };
        let containerd = Containerd::new(socket, Arc::clone(&self.tempo));
        let done = match left.kind {
            Kind::Image => store::remove_image(&containerd, &left.name).await,
            Kind::Lease => containerd.release(&left.name, false).await,
            _ => store::remove_namespace(&containerd).await,
        };
        done.map_err(|source| SweepError::Containerd { socket: socket.clone(), source })
    }
}

impl Sweep for MachineSweep {
    async fn claim(&mut self) -> Result<Vec<Owner>, SweepError> {
        let sockets = [&self.place.socket, &self.place.plane_socket];
        let listeners = sockets.into_iter().filter_map(|socket| owners::listener(socket, &self.proc));
        let mut owners: BTreeSet<Owner> = listeners.collect();
        let cgroup = self.cgroups()?.claimed_at().map_err(cgroup_error)?;
        for path in ["lock", "plane/lock"].map(|name| self.place.data.join(name)) {
            owners.extend(self.keep_out(path, false)?);
        }
        owners.extend(self.keep_out(cgroup, true)?);
        for socket in self.sockets() {
            owners.extend(self.keep_out(claimed_at(&socket), false)?);
        }
        Ok(owners.into_iter().collect())
    }

    async fn find(&mut self) -> Result<Found, SweepError> {
        let mut found = Found::default();
        let (mut after, mut known) = (vec![], BTreeSet::new());
        let (named, strangers) = self.names()?;
        let containerds = self.containerds().await?;
        for containerd in &containerds {
            let socket = containerd.socket();
            let contents = store::look(containerd).await;
            let contents =
                contents.map_err(|source| SweepError::Containerd { socket: socket.to_owned(), source })?;
            let here =
                |kind, name: &str| Left { containerd: Some(socket.to_owned()), ..Left::of(kind, name) };
            found.left.extend(contents.containers.iter().map(|name| here(Kind::Container, name)));
            after.extend(contents.leases.iter().map(|name| here(Kind::Lease, name)));
            after.extend(contents.images.iter().map(|name| here(Kind::Image, name)));
            if contents.namespace && contents.foreign.is_empty() {
                after.push(here(Kind::Namespace, crate::containerd::NAMESPACE));
            }
            let foreign = contents.foreign.into_iter();
            found.foreign.extend(foreign.map(|left| Left { containerd: Some(socket.to_owned()), ..left }));
            known.extend(contents.containers);
        }
        let cgroups = self.cgroups()?;
        let path = |name: &String| format!("{}/{name}", cgroups.parent());
        found.left.extend(shims::find(&self.proc, &self.sockets(), &known));
        found.left.extend(named.difference(&known).map(|name| Left::of(Kind::Cgroup, path(name))));
        found.foreign.extend(strangers.iter().map(|name| Left::of(Kind::Cgroup, path(name))));
        // A container that is removed leaves the parent, if only for the moment in which its own group is looked for.
        let has_parent =
            cgroups.has_parent() && !self.made.contains(&cgroups.claimed_at().map_err(cgroup_error)?);
        if strangers.is_empty() && (has_parent || !known.is_empty()) {
            found.left.push(Left::of(Kind::Cgroup, cgroups.parent()));
        }
        let datapath = KernelDatapath::new(&cgroups, &self.place.containers());
        found.left.extend(datapath.left().map(|name| Left::of(Kind::Datapath, name)));
        found.left.extend(files::find_mounts(&self.place)?);
        found.left.append(&mut after);
        if let Some(own) = self.own.as_ref().filter(|_| self.place.own_containerd) {
            found.left.push(Left::of(Kind::Process, process_of(own)));
        }
        let (left, foreign) = files::find(&self.place, !known.is_empty())?;
        let sockets = self.place.containerds.iter();
        let claims = sockets.map(|socket| claimed_at(socket)).filter(|path| path.exists());
        let left: Vec<Left> =
            left.into_iter().chain(claims.map(|path| Left::at(Kind::File, &path))).collect();
        found.left.extend(left.iter().filter(|one| !self.is_own_lock(one, &left)).cloned());
        found.foreign.extend(foreign);
        Ok(found)
    }

    async fn remove(&mut self, left: &Left) -> Result<(), SweepError> {
        match left.kind {
            Kind::Container => self.remove_container(left).await,
            Kind::Process => self.remove_process(&left.name).await,
            Kind::Cgroup => self.remove_cgroup(&left.name).await,
            Kind::Datapath => {
                let datapath = KernelDatapath::new(&self.cgroups()?, &self.place.containers());
                datapath.clean().map_err(|source| SweepError::Datapath { source })
            }
            Kind::Mount => files::remove_mount(Path::new(&left.name)),
            Kind::Lease | Kind::Image | Kind::Namespace => self.in_containerd(left).await,
            Kind::Directory | Kind::File => files::remove(&self.place, Path::new(&left.name)),
        }
    }

    async fn close(&mut self) -> Result<(), SweepError> {
        // While nobody can come up who would find it running.
        let stopped = match self.own.take() {
            Some(own) if own.was_started() => self.stop(&own).await,
            _ => Ok(()),
        };
        for path in std::mem::take(&mut self.made) {
            owners::unmake(&path);
        }
        self.locks.clear();
        stopped
    }
}

/// Whether somebody listens: an own containerd of another home does so at the same place.
fn answers(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

fn process_of(own: &Own) -> String {
    format!("{} containerd", own.pid())
}

fn cgroup_error(source: CgroupError) -> SweepError {
    SweepError::Cgroup { source }
}
