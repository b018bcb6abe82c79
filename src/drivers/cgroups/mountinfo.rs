//! Where hierarchies are mounted, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The v1 controllers and their mount points, and the mount point of the unified hierarchy.
pub(super) fn cgroups(text: &str) -> (BTreeMap<String, PathBuf>, Option<PathBuf>) {
    let mut controllers = BTreeMap::new();
    let mut unified = None;
    for line in text.lines() {
        // 36 35 98:0 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let mut mount = mount.split(' ').skip(3);
        let (Some(root), Some(point)) = (mount.next(), mount.next()) else { continue };
        let mut filesystem = filesystem.split(' ');
        let (Some(kind), Some(options)) = (filesystem.next(), filesystem.nth(1)) else { continue };
        // A part of a hierarchy that is mounted somewhere (a container's view) isn't the hierarchy.
        if root != "/" {
            continue;
        }
        match kind {
            "cgroup2" if unified.is_none() => unified = Some(PathBuf::from(point)),
            "cgroup" => {
                for option in options.split(',').filter(|option| !matches!(*option, "rw" | "ro")) {
                    controllers.entry(option.to_owned()).or_insert_with(|| PathBuf::from(point));
                }
            }
            _ => {}
        }
    }
    (controllers, unified)
}
