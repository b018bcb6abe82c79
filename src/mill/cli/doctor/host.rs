//! What can be seen of a machine without a daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mill_model::Bytes;
use tokio::process::Command;

use super::listeners::{self, Listener};

/// How long a program may take to say its version. They take milliseconds; a hung one is a finding of its own.
const VERSION_DEADLINE: Duration = Duration::from_secs(5);

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) is_root: bool,
    /// `6.1.0-18-amd64`
    pub(super) kernel: String,
    /// What `containerd --version` said; `None`: there is no such program, or it didn't say.
    pub(super) containerd: Option<String>,
    pub(super) runc: Option<String>,
    pub(super) cgroups: Cgroups,
    /// Whether the kernel knows overlayfs.
    pub(super) overlay: bool,
    pub(super) disk: Option<Disk>,
    pub(super) listeners: Vec<Listener>,
}

/// How control groups are laid out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cgroups {
    /// Where cgroup v2 is mounted.
    pub(super) v2: Option<PathBuf>,
    /// Controllers that v1 hierarchies have.
    pub(super) v1: Vec<String>,
    /// Controllers that v2 has.
    pub(super) v2_controllers: Vec<String>,
}

/// The file system that holds the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    /// The nearest directory that is there.
    pub(super) path: PathBuf,
    pub(super) free: Bytes,
    pub(super) size: Bytes,
    pub(super) inodes_free: u64,
}

/// Looks. What can't be seen is left out, and judged so.
pub(super) async fn look(data_dir: &Path) -> Host {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut cgroups = read_mounts(&mounts);
    if let Some(v2) = &cgroups.v2 {
        let controllers = fs::read_to_string(v2.join("cgroup.controllers")).unwrap_or_default();
        cgroups.v2_controllers = controllers.split_whitespace().map(str::to_owned).collect();
    }
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    // A module that isn't loaded yet isn't listed, but its file is there.
    let module = Path::new("/lib/modules").join(&kernel).join("kernel/fs/overlayfs");
    Host {
        is_root: rustix::process::geteuid().is_root(),
        containerd: version("containerd").await,
        runc: version("runc").await,
        cgroups,
        overlay: filesystems.lines().any(|line| line.ends_with("\toverlay")) || module.exists(),
        disk: disk(data_dir),
        listeners: listeners::look(Path::new("/proc")),
        kernel,
    }
}

async fn version(program: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_DEADLINE, command.output()).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned).filter(|line| !line.is_empty())
}

fn disk(data_dir: &Path) -> Option<Disk> {
    let path = data_dir.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(Disk {
        path: path.to_owned(),
        free: Bytes(stat.f_bavail.saturating_mul(stat.f_frsize)),
        size: Bytes(stat.f_blocks.saturating_mul(stat.f_frsize)),
        inodes_free: stat.f_favail,
    })
}

/// Finds the cgroup hierarchies in the text of `/proc/self/mounts` (proc(5)).
fn read_mounts(text: &str) -> Cgroups {
    const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "memory", "pids", "blkio", "devices"];
    let mut cgroups = Cgroups::default();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let (Some(_), Some(path), Some(kind), Some(options)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        match kind {
            "cgroup2" if cgroups.v2.is_none() => cgroups.v2 = Some(path.into()),
            "cgroup" => {
                let found =
                    options.split(',').filter(|option| CONTROLLERS.contains(option)).map(str::to_owned);
                cgroups.v1.extend(found);
            }
            _ => {}
        }
    }
    cgroups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_of_control_groups_are_read() {
        let hybrid = "\
sysfs /sys sysfs rw 0 0
tmpfs /sys/fs/cgroup tmpfs ro,mode=755 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nsdelegate 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
";
        let read = read_mounts(hybrid);
        assert_eq!(read.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(read.v1, ["cpu", "memory"]);
        let unified = read_mounts("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
        assert_eq!((unified.v2, unified.v1), (Some("/sys/fs/cgroup".into()), vec![]));
        assert_eq!(read_mounts("nonsense\n\n"), Cgroups::default());
    }

    #[test]
    fn a_data_directory_that_is_not_there_yet_is_measured_by_its_parent() {
        let directory = tempfile::tempdir().unwrap();
        let disk = disk(&directory.path().join("not/yet")).unwrap();
        assert_eq!(disk.path, directory.path());
        assert!(disk.size >= disk.free);
    }

    #[tokio::test]
    async fn a_program_that_is_missing_has_no_version() {
        assert_eq!(version("mill-has-no-such-program").await, None);
    }
}
