//! What the machine is: cores, memory, disks, name, kernel, the address of its default route.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use mill_model::{Bytes, Millicores, Resources};
use thiserror::Error;

/// Memory that containers don't get: for Mill itself, containerd, its shims and the system.
const MEMORY_KEPT: u64 = 256 << 20;

/// Why the machine can't be looked at.
#[derive(Debug, Error)]
pub enum HostError {
    /// A file of the kernel can't be read.
    #[error("failed to read {path}")]
    Read {
        /// Which.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file of the kernel holds something else.
    #[error("{path} has no {what}")]
    Missing {
        /// Which.
        path: &'static str,
        /// What was looked for.
        what: &'static str,
    },
}

/// What the machine has for containers: its cores, and its memory less what is kept.
///
/// # Errors
/// The kernel's files can't be read.
pub fn capacity() -> Result<Resources, HostError> {
    const PATH: &str = "/proc/meminfo";
    let text = fs::read_to_string(PATH).map_err(|source| HostError::Read { path: PATH, source })?;
    let total = mem_total(&text).ok_or(HostError::Missing { path: PATH, what: "MemTotal" })?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let millis = u32::try_from(cores).unwrap_or(u32::MAX).saturating_mul(1000);
    let kept = MEMORY_KEPT.max(total / 20);
    Ok(Resources { cpu: Millicores(millis), memory: Bytes(total.saturating_sub(kept)) })
}

/// Bytes, from the line `MemTotal: 1234 kB` (proc_meminfo(5)).
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Has the kernel write no core dump of this process, which would hold the secrets that pass through it, and let
/// nobody but root look into its memory. Programs that it starts aren't concerned.
///
/// A kernel that refuses is told of in the log: what comes next is no less right for it.
pub fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core dumps can't be forbidden");
    }
}

/// Where a process says how soon it may be killed for want of memory (proc(5)): from -1000, never, to 1000, first.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Asks the kernel to kill others first where the node has no memory left: containers, which are started again, rather
/// than those who look after them. What a unit or a person has said already (any score but 0) stands. Programs that are
/// started from here have the same score; containers have one of their own.
///
/// A kernel that refuses is told of in the log.
pub fn be_killed_last(score: i32) {
    let said = fs::read_to_string(OOM_SCORE).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if said == Some(0)
        && let Err(error) = fs::write(OOM_SCORE, score.to_string())
    {
        tracing::warn!(%error, "where memory runs out this process may be killed before containers are");
    }
}

/// What the kernel says that the machine is called.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The kernel's version: `6.1.0-18-amd64`.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The nearest directory that is there.
    pub path: PathBuf,
    /// What this user may still write.
    pub free: Bytes,
    /// All of it.
    pub size: Bytes,
    /// How many files can still be made.
    pub inodes_free: u64,
}

/// The file system that holds `path`, or would; `None`: it can't be seen.
pub fn disk(path: &Path) -> Option<Disk> {
    let path = path.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(Disk {
        path: path.to_owned(),
        free: Bytes(stat.f_bavail.saturating_mul(stat.f_frsize)),
        size: Bytes(stat.f_blocks.saturating_mul(stat.f_frsize)),
        inodes_free: stat.f_favail,
    })
}

/// Whether a file or directory can be written (access(2)).
///
/// # Errors
/// It can't: why.
pub fn writable(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?)
}

/// The address that packets to the outside would come from; the loopback address without a default route.
pub fn default_address() -> IpAddr {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    // Connecting a UDP socket sends nothing: it only asks the routing table. The address is from the range
    // for documentation (RFC 5737).
    let probe = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    };
    probe().as_ref().map_or(loopback, SocketAddr::ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_of_being_killed_stands_and_nothing_said_is_said_now() {
        let score = || -> i32 { fs::read_to_string(OOM_SCORE).unwrap().trim().parse().unwrap() };
        let before = score();
        // Upwards, which needs no privilege.
        be_killed_last(7);
        let said = if before == 0 { 7 } else { before };
        assert_eq!(score(), said);
        be_killed_last(9);
        assert_eq!(score(), said);
    }

    #[test]
    fn memory_is_read_from_the_kernel_s_own_words() {
        let text = "MemTotal:       24596084 kB\nMemFree: 1 kB\n";
        assert_eq!(mem_total(text), Some(24_596_084 * 1024));
        assert_eq!(mem_total("MemFree: 1 kB"), None);
        let capacity = capacity().unwrap();
        assert!(capacity.cpu.0 >= 1000 && capacity.memory.0 > 0);
    }

    #[test]
    fn this_machine_has_a_name_a_kernel_and_an_address() {
        assert!(!hostname().is_empty() && kernel().starts_with(|first: char| first.is_ascii_digit()));
        assert!(!default_address().is_unspecified());
    }

    #[test]
    fn the_disk_of_a_directory_that_is_not_there_yet_is_that_of_the_nearest_one() {
        let dir = tempfile::tempdir().unwrap();
        let found = disk(&dir.path().join("not/yet")).unwrap();
        assert_eq!(found.path, dir.path());
        assert!(found.free <= found.size && found.size.0 > 0 && found.inodes_free > 0);
        assert!(writable(dir.path()).is_ok());
        assert_eq!(writable(&dir.path().join("x")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
