//! Shims: the processes that containerd puts between itself and each container, known by how they were called.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::ContainerName;
use crate::containerd::NAMESPACE;
use crate::mounts::resolved;
use crate::process::signal_if;

/// What a shim is called.
pub(crate) const PROGRAM: &str = "containerd-shim-runc-v2";

/// The shim of one of Mill's containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shim {
    /// Its process.
    pub(crate) pid: u32,
    /// Its container.
    pub(crate) container: ContainerName,
    /// The socket of its containerd, as that one's own settings say: `/var/run/…`, where others say `/run/…`.
    address: PathBuf,
}

impl Shim {
    /// All that run.
    pub(crate) fn all(proc: &Path) -> impl Iterator<Item = Self> {
        let entries = fs::read_dir(proc).into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter_map(|pid| Self::at(proc, pid))
    }

    /// The one that this process is, if it is one.
    pub(crate) fn at(proc: &Path, pid: u32) -> Option<Self> {
        let line = fs::read(proc.join(pid.to_string()).join("cmdline")).ok()?;
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let value = |option: &str| words.iter().skip_while(|word| **word != option).nth(1);
        if !words.first()?.ends_with(PROGRAM) || value("-namespace")? != NAMESPACE {
            return None;
        }
        let address = PathBuf::from(&**value("-address")?);
        Some(Self { pid, container: value("-id")?.parse().ok()?, address })
    }

    /// Whether its containerd listens there.
    pub(crate) fn is_of(&self, socket: &Path) -> bool {
        self.address == socket || resolved(&self.address) == resolved(socket)
    }

    /// Kills it, if that process still is it.
    pub(crate) fn kill(&self, proc: &Path) {
        signal_if(self.pid, Signal::KILL, || Self::at(proc, self.pid).as_ref() == Some(self));
    }
}
