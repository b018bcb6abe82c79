//! What a container sees besides its image.

use std::path::Path;

use mill_init::format::{FOLDER, PROGRAM_PATH};
use serde_json::{Value, json};

use super::{Found, HostFacts};
use crate::containers::Launch;

/// Paths that show or change the node; nothing is seen there. Docker's list.
pub(super) const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that can be read only. Docker's list.
pub(super) const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// All mounts, in the order in which they are made.
pub(super) fn all(launch: &Launch, found: &Found, host: &HostFacts) -> Vec<Value> {
    let mut mounts = system();
    let etc = [
        ("/etc/hosts", Some(&found.hosts)),
        ("/etc/resolv.conf", launch.resolv_conf.as_ref().or(host.resolv_conf.as_ref())),
    ];
    let overridden = |path: &str| launch.mounts.iter().any(|mount| mount.path == path);
    for (path, source) in etc {
        if let Some(source) = source.filter(|_| !overridden(path)) {
            mounts.push(bind(source, path, true));
        }
    }
    // Outer ones first, so that none hides another.
    let mut volumes: Vec<_> = launch.mounts.iter().collect();
    volumes.sort_by_key(|mount| Path::new(&mount.path).components().count());
    mounts.extend(volumes.into_iter().map(|mount| bind(&mount.source, &mount.path, mount.read_only)));
    // A file may be mounted into a volume. The first process comes last: nothing hides it.
    mounts.extend(
        launch.files.iter().zip(&found.files).map(|(file, source)| private(source, &file.path, true)),
    );
    mounts.push(private(&found.program, PROGRAM_PATH, false));
    mounts.push(private(&found.runs, FOLDER, true));
    mounts
}

/// What only is read there.
fn private(source: &Path, path: &str, is_data: bool) -> Value {
    let mut options = vec!["bind", "rprivate", "ro", "nosuid", "nodev"];
    options.extend(is_data.then_some("noexec"));
    json!({ "destination": path, "type": "bind", "source": source, "options": options })
}

fn system() -> Vec<Value> {
    let mount = |path: &str, kind: &str, source: &str, options: &str| {
        let options: Vec<&str> = options.split(',').collect();
        json!({ "destination": path, "type": kind, "source": source, "options": options })
    };
    vec![
        mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
        mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
    ]
}

fn bind(source: &Path, path: &str, read_only: bool) -> Value {
    let mode = if read_only { "ro" } else { "rw" };
    // Private: what is mounted later on either side isn't seen on the other.
    json!({ "destination": path, "type": "bind", "source": source, "options": ["rbind", "rprivate", mode] })
}
