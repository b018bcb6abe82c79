//! `GET /v1/doctor`: what a node finds wrong with its machine.

use mill_model::{Advice, NodeName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a node, or the CLI without one, found.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Which node; `None`: a machine without a daemon.
    #[serde(default)]
    pub node: Option<NodeName>,
    /// What was looked at, in order.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether Mill can't work like this.
    pub fn is_failed(&self) -> bool {
        self.findings.iter().any(|finding| finding.level == Level::Fail)
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What: a word of [`Check`].
    pub check: String,
    /// How it is.
    pub level: Level,
    /// What was seen.
    pub what: String,
    /// Why that matters; always there unless `level` is ok.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What to do; always there unless `level` is ok.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: Check, what: impl Into<String>) -> Self {
        Self { check: check.as_str().to_owned(), level: Level::Ok, what: what.into(), why: None, fix: None }
    }

    /// Mill works, but not as well as it could.
    pub fn warn(check: Check, what: impl Into<String>, fix: impl Into<String>) -> Self {
        let why = Some(check.advice().means.to_owned());
        Self { level: Level::Warn, why, fix: Some(fix.into()), ..Self::ok(check, what) }
    }

    /// Mill can't work like this.
    pub fn fail(check: Check, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Fail, ..Self::warn(check, what, fix) }
    }
}

/// How grave a finding is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Well.
    #[default]
    Ok,
    /// Mill works, but not as well as it could.
    Warn,
    /// Mill can't work like this.
    Fail,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The daemon's settings.
    Settings,
    /// Whether it is looked as root.
    Root,
    /// The kernel's version.
    Kernel,
    /// containerd's version.
    Containerd,
    /// runc's version.
    Runc,
    /// How control groups are laid out.
    Cgroups,
    /// Whether the kernel knows it.
    Overlayfs,
    /// What ephemeral volumes are made with.
    Volumes,
    /// Room under the data directory.
    Disk,
    /// Whether containerd answers.
    ContainerdSocket,
    /// Who holds the API's port.
    ApiPort,
    /// How ports are mapped.
    MappedPorts,
    /// Who else listens where ports are mapped to.
    PortPool,
    /// The service manager's units.
    Units,
    /// The plane's unit.
    PlaneUnit,
    /// Whether the service manager watches.
    Watchdog,
    /// How many files may be open.
    OpenFiles,
    /// Whether memory can reach a disk.
    Swap,
    /// Whether a time service keeps the clock.
    Clock,
    /// Whether a daemon answers.
    Daemon,
}

mill_model::every!(
    Check: Settings, Root, Kernel, Containerd, Runc, Cgroups, Overlayfs, Volumes, Disk, ContainerdSocket, ApiPort, MappedPorts, PortPool, Units, PlaneUnit, Watchdog, OpenFiles, Swap, Clock, Daemon
);

impl Check {
    /// The word: `check` of a finding.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Root => "root",
            Self::Kernel => "kernel",
            Self::Containerd => "containerd",
            Self::Runc => "runc",
            Self::Cgroups => "cgroups",
            Self::Overlayfs => "overlayfs",
            Self::Volumes => "volumes",
            Self::Disk => "disk",
            Self::ContainerdSocket => "containerd socket",
            Self::ApiPort => "api port",
            Self::MappedPorts => "mapped ports",
            Self::PortPool => "port pool",
            Self::Units => "units",
            Self::PlaneUnit => "plane unit",
            Self::Watchdog => "watchdog",
            Self::OpenFiles => "open files",
            Self::Swap => "swap",
            Self::Clock => "clock",
            Self::Daemon => "daemon",
        }
    }

    /// Why it matters, and what mends it in general; a finding's own fix knows more.
    pub const fn advice(self) -> Advice {
        Advice::mend(self.why(), self.fix())
    }

    const fn why(self) -> &'static str {
        match self {
            Self::Settings => "a daemon doesn't start with settings that it can't use",
            Self::Root => "only root makes cgroups, mounts and BPF programs",
            Self::Kernel => "older kernels lack what containers and mapped ports are made of",
            Self::Containerd => "it keeps images and runs containers",
            Self::Runc => "it makes the containers",
            Self::Cgroups => "they hold a container to its `cpu` and `memory`, and count what it uses",
            Self::Overlayfs => "a container's files are an image's with its own over them",
            Self::Volumes => {
                "ephemeral volumes are file systems of their own, so that one can't fill the disk"
            }
            Self::Disk => {
                "images, logs and the cluster's state are on it: when it is full, writes are refused"
            }
            Self::ContainerdSocket => "the daemon speaks to containerd there",
            Self::ApiPort => "the API is reached there, from other machines too",
            Self::MappedPorts => "by the kernel any image works as it is; else programs must listen on $PORT",
            Self::PortPool => {
                "a declared port is reached at a port of the pool, and one that another program holds is no use"
            }
            Self::Units => "systemd starts Mill again after a crash and a reboot, and watches it",
            Self::PlaneUnit => "it reads what containers print: one that prints much waits for it",
            Self::Watchdog => "a daemon that hangs is found and started again",
            Self::OpenFiles => {
                "each container takes some of the daemon's and the plane's, and is given the daemon's own limit"
            }
            Self::Swap => {
                "memory that is swapped is on the disk, secrets too, and a container outgrows its `memory` in it"
            }
            Self::Clock => "certificates, tokens and the times of logs and events go by it",
            Self::Daemon => "without one nothing is decided and the API doesn't answer; what runs goes on",
        }
    }

    const fn fix(self) -> &'static str {
        match self {
            Self::Settings => {
                "put /etc/mill/node.kdl, flags and environment right; `mill daemon --help` has them all"
            }
            Self::Root => "run it with sudo",
            Self::Kernel => "upgrade to Linux 4.18 or later; mapped ports want 5.12",
            Self::Containerd => "`apt-get install containerd`",
            Self::Runc => "`apt-get install runc`",
            Self::Cgroups => "boot with systemd's defaults, or mount cgroup2 at /sys/fs/cgroup",
            Self::Overlayfs => "`modprobe overlay`, and /etc/modules to keep it",
            Self::Volumes => "`apt-get install e2fsprogs`, `modprobe loop`",
            Self::Disk => "make room, or put the data elsewhere with `--data-dir`",
            Self::ContainerdSocket => "`systemctl start containerd`, or `--containerd own`",
            Self::ApiPort => "stop what holds it, or give the API another port with `--listen`",
            Self::MappedPorts => {
                "Linux 5.12 or later with BPF and cgroup v2, and a daemon that runs as root and may use both"
            }
            Self::PortPool => "let those programs listen elsewhere than at 20000–29999",
            Self::Units => {
                "`apt-get install --reinstall mill`; changes of your own belong into `systemctl edit mill`"
            }
            Self::PlaneUnit => "`systemctl enable --now mill-plane`",
            Self::Watchdog => "take `WatchdogSec=0` out of the drop-ins: `systemctl edit mill`",
            Self::OpenFiles => "`LimitNOFILE=65536` in `systemctl edit mill`",
            Self::Swap => "`swapoff -a`, and take it out of /etc/fstab; or boot with `swapaccount=1`",
            Self::Clock => "`timedatectl set-ntp true`, or install chrony",
            Self::Daemon => "`systemctl start mill`, or `mill dev` to try Mill out",
        }
    }
}
