//! What can be seen of a machine without a daemon.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use mill_drivers::datapath::{KernelDatapath, Mode};
use mill_drivers::host::{self, Disk};
use mill_drivers::sockets::{Listener, ProcSockets, Sockets as _, Wanted};
use mill_model::Tempo;
use mill_model::limits::MAPPED_PORTS;
use mill_model::ports::Protocol;
use tokio::net::UnixStream;
use tokio::process::Command;

use super::Node;
use super::units::{self, Units};
use super::upkeep::{self, Swap};

/// Where programs for root are, which isn't on every user's PATH.
const ROOTS_PATH: &str = ":/usr/local/sbin:/usr/sbin:/sbin";

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
    /// Whether ephemeral volumes can be made: `mkfs.ext4`, and loop devices.
    pub(super) mkfs: bool,
    pub(super) loops: bool,
    pub(super) disk: Option<Disk>,
    /// containerd's socket, if one of the machine's is to be used, and whether it answers.
    pub(super) socket: Option<(PathBuf, Answers)>,
    /// The API's port, and who listens there; `Err`: that can't be seen.
    pub(super) port: (u16, Result<Option<Listener>, String>),
    /// How ports are mapped, or would be.
    pub(super) mapping: Mode,
    /// Who listens in the pool of mapped ports and is no container; `Err`: that can't be seen.
    pub(super) pool: Result<Vec<Listener>, String>,
    /// The service manager's units; `None`: systemd isn't here.
    pub(super) units: Option<Units>,
    /// How many files the daemon may have open; `None`: it isn't the daemon that looks.
    pub(super) open_files: Option<u64>,
    pub(super) swap: Swap,
    /// Whether a time service keeps the clock; `None`: that can't be seen.
    pub(super) clock: Option<bool>,
}

/// Whether somebody answers at a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    Yes,
    /// Nobody, or there is no such socket.
    No,
    /// It is another's: only root can tell.
    Forbidden,
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

/// Looks. What can't be seen is left out, and judged so.
pub(super) async fn look(node: &Node) -> Host {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut cgroups = read_mounts(&mounts);
    if let Some(v2) = &cgroups.v2 {
        let controllers = fs::read_to_string(v2.join("cgroup.controllers")).unwrap_or_default();
        cgroups.v2_controllers = controllers.split_whitespace().map(str::to_owned).collect();
    }
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let kernel = host::kernel();
    // A module that isn't loaded yet isn't listed, but its file is there.
    let module = Path::new("/lib/modules").join(&kernel).join("kernel/fs/overlayfs");
    Host {
        is_root: host::is_root(),
        containerd: version("containerd").await,
        runc: version("runc").await,
        cgroups,
        overlay: filesystems.lines().any(|line| line.ends_with("\toverlay")) || module.exists(),
        mkfs: version("mkfs.ext4").await.is_some(),
        loops: Path::new("/dev/loop-control").exists(),
        disk: host::disk(&node.data_dir),
        socket: match &node.containerd {
            Some(socket) => Some((socket.clone(), answers(socket).await)),
            None => None,
        },
        port: (node.port, listener(node.port).await),
        mapping: match &node.mode {
            Some(mode) => mode.clone(),
            None => KernelDatapath::probe().await,
        },
        pool: strangers(&node.cgroup_parent).await,
        units: units::look().await,
        open_files: node.mode.as_ref().and_then(|_| upkeep::files_allowed()),
        swap: upkeep::look_at_swap(),
        clock: upkeep::is_clock_kept().await,
        kernel,
    }
}

async fn answers(socket: &Path) -> Answers {
    match UnixStream::connect(socket).await {
        Ok(_) => Answers::Yes,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Answers::Forbidden,
        Err(_) => Answers::No,
    }
}

async fn listener(port: u16) -> Result<Option<Listener>, String> {
    let found = ProcSockets::default().listeners(&Wanted::Ports([port].into())).await;
    let found = found.map_err(|error| error.to_string())?;
    Ok(found.into_iter().find(|listener| listener.protocol == Protocol::Tcp))
}

/// Who listens where ports are mapped to, and is neither a container nor Mill.
async fn strangers(cgroup_parent: &str) -> Result<Vec<Listener>, String> {
    let (first, last) = (*MAPPED_PORTS.start(), *MAPPED_PORTS.end());
    let sockets = ProcSockets::with_containers(cgroup_parent);
    let found = sockets.listeners(&Wanted::Range(first, last)).await;
    let is_strange = |listener: &Listener| {
        listener.process.as_ref().is_some_and(|process| process.container.is_none() && process.name != "mill")
    };
    Ok(found.map_err(|error| error.to_string())?.into_iter().filter(is_strange).collect())
}

/// What a program says, if it says something in time.
pub(super) async fn said_by(program: &str, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default() + ROOTS_PATH;
    command.args(arguments).env("PATH", path).stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(Tempo::default().version_deadline, command.output()).await.ok()?.ok()
}

async fn version(program: &str) -> Option<String> {
    let argument = if program.starts_with("mkfs") { "-V" } else { "--version" };
    let output = said_by(program, &[argument]).await?;
    // mkfs.ext4 says it on stderr.
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let text = String::from_utf8_lossy(&text);
    text.lines().next().map(str::to_owned).filter(|line| !line.is_empty())
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

    #[tokio::test]
    async fn a_socket_answers_or_does_not_and_a_port_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("c.sock");
        assert_eq!(answers(&socket).await, Answers::No);
        let listening = tokio::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(answers(&socket).await, Answers::Yes);
        drop(listening);
        assert_eq!(answers(&socket).await, Answers::No, "a dead one's file is there");

        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = listener(tcp.local_addr().unwrap().port()).await.unwrap().unwrap();
        assert_eq!(holder.process.unwrap().pid, std::process::id());
    }

    #[tokio::test]
    async fn a_program_that_is_missing_has_no_version() {
        assert_eq!(version("mill-has-no-such-program").await, None);
    }
}
