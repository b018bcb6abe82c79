//! The kernel's own account of containers: what they use, whether one was killed for memory, what is left of them.
//!
//! Works on cgroup v1, hybrid and v2. runc makes the groups (`PARENT/NAME` in each hierarchy, by file system and not
//! by systemd); this reads them, and removes those whose container is gone. v1 and hybrid are tried on the
//! machine's own kernel; v2 in a virtual machine, by the long proof alone, and on directories that look like it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mill_model::Bytes;
use rustix::process::Signal;
use thiserror::Error;

use crate::mounts::{self, Mount};
use crate::process::{self, Lock};

mod account;
mod hierarchies;

pub use account::Account;

/// What a container uses now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since its start.
    pub cpu_time: Duration,
    /// Memory, less file cache that hasn't been touched lately (as `docker stats` counts).
    pub memory: Bytes,
}

/// Below its ceiling by less than this a container has met it: what the kernel wants at once when it kills for want of it,
/// eight pages of 4 KiB, and as much again.
const OOM_MARGIN_BYTES: u64 = 64 << 10;

/// Whose memory it was for want of which the kernel killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oom {
    /// The container reached its own ceiling.
    Ceiling,
    /// The container was below it, and the node had none left.
    Node,
}

/// Which hierarchies the node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// One per controller.
    V1,
    /// One per controller, and a unified one beside them without them.
    Hybrid,
    /// One for all.
    V2,
}

/// A cgroup can't be used.
#[derive(Debug, Clone, Error)]
pub enum CgroupError {
    /// No hierarchy is mounted.
    #[error("this node has no cgroups mounted")]
    NoneMounted,
    /// A file can't be read.
    #[error("can't read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// A file doesn't hold what the kernel promises.
    #[error("{path} doesn't hold what it should")]
    Malformed {
        /// Which.
        path: PathBuf,
    },
    /// The process ends before the answer is there.
    #[error("interrupted")]
    Interrupted,
    /// The group of all containers can't be made or taken.
    #[error("can't take {path}")]
    Claim {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// A group can't be removed.
    #[error("can't remove {path}")]
    Remove {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
}

impl CgroupError {
    /// Whether there is no such group.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Read { source, .. } | Self::Remove { source, .. } => {
                // A file of a group that went while it was open reads as of a device that is none.
                let went = rustix::io::Errno::NODEV.raw_os_error();
                source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(went)
            }
            Self::NoneMounted | Self::Malformed { .. } | Self::Claim { .. } | Self::Interrupted => false,
        }
    }
}

/// The cgroups of this node's containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    /// Where each v1 controller is mounted.
    controllers: BTreeMap<String, PathBuf>,
    unified: Option<PathBuf>,
    /// `/mill`
    parent: String,
}

impl Cgroups {
    /// Finds out what the node has. `parent` holds the groups of this Mill's containers: `/mill`.
    ///
    /// # Errors
    /// The node has no cgroups, or `/proc` can't be read.
    pub fn detect(parent: &str) -> Result<Self, CgroupError> {
        let mounts = mounts::all()
            .map_err(|source| CgroupError::Read { path: mounts::TABLE.into(), source: Arc::new(source) })?;
        Self::among(mounts, parent)
    }

    fn among(mounts: Vec<Mount>, parent: &str) -> Result<Self, CgroupError> {
        let (controllers, unified) = hierarchies::of(mounts);
        match controllers.is_empty() && unified.is_none() {
            true => Err(CgroupError::NoneMounted),
            false => Ok(Self { controllers, unified, parent: format!("/{}", parent.trim_matches('/')) }),
        }
    }

    /// The group that holds those of all containers, from a hierarchy's root: `/mill`.
    pub fn parent(&self) -> &str {
        &self.parent
    }

    /// Where the parent is, or would be, in the unified hierarchy; `None`: there is none.
    pub fn unified_parent(&self) -> Option<PathBuf> {
        self.unified.as_deref().map(|root| below(root, &self.parent))
    }

    /// Which hierarchies the node has.
    pub fn hierarchy(&self) -> Hierarchy {
        match (self.controllers.contains_key("memory"), &self.unified) {
            (true, Some(_)) => Hierarchy::Hybrid,
            (true, None) => Hierarchy::V1,
            (false, _) => Hierarchy::V2,
        }
    }

    /// Whether swap can be limited along with memory.
    pub fn limits_swap(&self) -> bool {
        match self.controllers.get("memory") {
            Some(memory) => memory.join("memory.memsw.limit_in_bytes").exists(),
            // The root has no such file; kernels with swap give it to all others unless told not to.
            None => {
                let told_not_to =
                    read(Path::new("/proc/cmdline")).is_ok_and(|line| line.contains("swapaccount=0"));
                Path::new("/proc/swaps").exists() && !told_not_to
            }
        }
    }

    /// Whether the kernel has killed in the container for want of memory, and whose: what it counts as kills it did at any
    /// bound, the container's own or one further up, and for the whole machine. (v1 counts kills since Linux 4.13, and
    /// doesn't count whose bound was met: a container that has been at its ceiling for its file cache, and is killed for
    /// the node's sake later, is taken for one that met its own.)
    ///
    /// # Errors
    /// There is no such group, or it can't be read.
    pub fn oom(&self, name: &str) -> Result<Option<Oom>, CgroupError> {
        let (kills, at_ceiling) = match self.hierarchy() {
            Hierarchy::V2 => {
                // A bound further up isn't counted as met down here.
                let events = self.file("memory", name, "memory.events")?;
                (key(&events, "oom_kill")?, key(&events, "oom")?)
            }
            Hierarchy::V1 | Hierarchy::Hybrid => {
                let kills = key(&self.file("memory", name, "memory.oom_control")?, "oom_kill")?;
                // Its counts of failed charges stay 0 where swap has the same bound: how high it got doesn't lie.
                let most = number(&self.file("memory", name, "memory.max_usage_in_bytes")?)?;
                let ceiling = number(&self.file("memory", name, "memory.limit_in_bytes")?)?;
                (kills, u64::from(most.saturating_add(OOM_MARGIN_BYTES) >= ceiling))
            }
        };
        let whose = if at_ceiling > 0 { Oom::Ceiling } else { Oom::Node };
        Ok((kills > 0).then_some(whose))
    }

    /// Names of all groups under the parent, in any hierarchy.
    ///
    /// # Errors
    /// A parent can't be read.
    pub fn names(&self) -> Result<BTreeSet<String>, CgroupError> {
        let mut names = BTreeSet::new();
        for root in self.roots() {
            names.extend(children(&below(root, &self.parent))?);
        }
        Ok(names)
    }

    /// Kills what is in the container's groups and removes them. `false`: something in them hasn't ended yet, ask
    /// again. None there is as good.
    ///
    /// # Errors
    /// The system refuses.
    pub fn remove(&self, name: &str) -> Result<bool, CgroupError> {
        let mut gone = true;
        for root in self.roots() {
            gone &= remove_tree(&below(root, &self.parent).join(name))?;
        }
        Ok(gone)
    }

    /// What [`Cgroups::claim`] locks.
    ///
    /// # Errors
    /// There are no cgroups.
    pub fn claimed_at(&self) -> Result<PathBuf, CgroupError> {
        // The first of them: every process of this machine comes to the same.
        let root = self.roots().into_iter().next().ok_or(CgroupError::NoneMounted)?;
        Ok(below(root, &self.parent))
    }

    /// Takes the parent for this process, which makes it if need be, for as long as the answer lives. `None`: another
    /// process has it. Two that took each other's containers for leftovers would kill them.
    ///
    /// # Errors
    /// It can't be made or locked.
    pub fn claim(&self) -> Result<Option<Lock>, CgroupError> {
        let path = self.claimed_at()?;
        let failed = |source: io::Error| CgroupError::Claim { path: path.clone(), source: Arc::new(source) };
        std::fs::create_dir_all(&path).map_err(failed)?;
        let group = std::fs::File::open(&path).map_err(failed)?;
        Ok(Lock::on(group).map_err(failed)?.ok())
    }

    /// Whether the parent is there, in any hierarchy.
    pub fn has_parent(&self) -> bool {
        self.roots().into_iter().any(|root| below(root, &self.parent).exists())
    }

    /// Removes the parent, in which there are no groups any more, from every hierarchy. None there is as good.
    ///
    /// # Errors
    /// There are groups in it, or the system refuses.
    pub fn remove_parent(&self) -> Result<(), CgroupError> {
        for root in self.roots() {
            let path = below(root, &self.parent);
            match rustix::fs::rmdir(&path) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(CgroupError::Remove { path, source: Arc::new(errno.into()) }),
            }
        }
        Ok(())
    }

    /// Each hierarchy once, though v1 mounts may hold several controllers.
    fn roots(&self) -> BTreeSet<&Path> {
        self.controllers.values().chain(&self.unified).map(PathBuf::as_path).collect()
    }

    /// Where the hierarchy is that has this controller.
    fn root(&self, controller: &str) -> Result<&Path, CgroupError> {
        let root = self.controllers.get(controller).or(self.unified.as_ref());
        root.map(PathBuf::as_path).ok_or(CgroupError::NoneMounted)
    }

    fn file(&self, controller: &str, name: &str, file: &str) -> Result<PathBuf, CgroupError> {
        Ok(below(self.root(controller)?, &self.parent).join(name).join(file))
    }
}

fn below(root: &Path, parent: &str) -> PathBuf {
    root.join(parent.trim_start_matches('/'))
}

fn read(path: &Path) -> Result<String, CgroupError> {
    std::fs::read_to_string(path)
        .map_err(|source| CgroupError::Read { path: path.to_owned(), source: Arc::new(source) })
}

fn number(path: &Path) -> Result<u64, CgroupError> {
    read(path)?.trim().parse().map_err(|_| CgroupError::Malformed { path: path.to_owned() })
}

/// The value of a line `KEY VALUE`.
fn key(path: &Path, wanted: &str) -> Result<u64, CgroupError> {
    let text = read(path)?;
    let line = text.lines().filter_map(|line| line.split_once(' ')).find(|(key, _)| *key == wanted);
    line.and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| CgroupError::Malformed { path: path.to_owned() })
}

/// Names of the groups in this one; none if it isn't there.
fn children(path: &Path) -> Result<Vec<String>, CgroupError> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(CgroupError::Read { path: path.to_owned(), source: Arc::new(source) }),
    };
    let groups = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(groups.filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Kills what is in a group and removes it with those in it; `false` when that has to be tried again.
fn remove_tree(path: &Path) -> Result<bool, CgroupError> {
    let mut gone = true;
    for child in children(path)? {
        gone &= remove_tree(&path.join(child))?;
    }
    let members = || {
        let listed = read(&path.join("cgroup.procs")).unwrap_or_default();
        listed.lines().filter_map(|pid| pid.parse().ok()).collect::<BTreeSet<u32>>()
    };
    for pid in members() {
        process::signal_if(pid, Signal::KILL, || members().contains(&pid));
    }
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(gone),
        Err(rustix::io::Errno::BUSY) => Ok(false),
        Err(errno) => Err(CgroupError::Remove { path: path.to_owned(), source: Arc::new(errno.into()) }),
    }
}

#[cfg(test)]
mod tests;
