//! Where hierarchies are mounted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::mounts::Mount;

/// The v1 controllers and their mount points, and the mount point of the unified hierarchy.
pub(super) fn of(mounts: Vec<Mount>) -> (BTreeMap<String, PathBuf>, Option<PathBuf>) {
    let mut controllers = BTreeMap::new();
    let mut unified = None;
    // A part of a hierarchy that is mounted somewhere (a container's view) isn't the hierarchy.
    for Mount { point, kind, options, .. } in mounts.into_iter().filter(|mount| mount.root == Path::new("/"))
    {
        match kind.as_str() {
            "cgroup2" if unified.is_none() => unified = Some(point),
            "cgroup" => {
                for option in options.split(',').filter(|option| !matches!(*option, "rw" | "ro")) {
                    controllers.entry(option.to_owned()).or_insert_with(|| point.clone());
                }
            }
            _ => {}
        }
    }
    (controllers, unified)
}
