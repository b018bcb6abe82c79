//! What a killed containerd leaves of a task that it was making.
//!
//! For each task containerd keeps a directory, its bundle, in which the shim works. One that is killed before it could
//! reach the shim finds the directory again, can't have the shim clean up, and keeps it, with a pipe and perhaps a
//! shim, until someone else removes it (containerd issue 11071). No call of its API does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::mount::{UnmountFlags, unmount};

use crate::containerd::NAMESPACE;
use crate::containers::ContainerError;
use crate::containers::shim::Shim;
use crate::files::unless_gone;
use crate::mounts::resolved;

/// What containerd calls the part of its state that has them.
const TASKS: &str = "io.containerd.runtime.v2.task";

/// How containerd marks a bundle that it is removing; if it is killed then, it never looks at it again.
const HIDDEN: char = '.';

/// The bundles of Mill's containers.
#[derive(Debug, Clone)]
pub(super) struct Bundles {
    /// Where they may be: containerd doesn't tell where its state is, but by default it is beside its socket, and
    /// that of Mill's own containerd is below it.
    places: [PathBuf; 2],
}

impl Bundles {
    /// Those of the containerd at `socket`.
    pub(super) fn of(socket: &Path) -> Self {
        let beside = socket.parent().unwrap_or(Path::new("/"));
        Self { places: [beside, &beside.join("state")].map(|state| state.join(TASKS).join(NAMESPACE)) }
    }

    /// Names of all.
    pub(super) fn names(&self) -> Result<Vec<String>, ContainerError> {
        let mut names = vec![];
        for path in &self.places {
            match fs::read_dir(path) {
                Ok(entries) => {
                    let found = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
                    names.extend(found.map(|name| name.trim_start_matches(HIDDEN).to_owned()));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(failed(path)(source)),
            }
        }
        Ok(names)
    }

    /// Removes one whose task containerd has deleted or never made. Nothing happens if there is none.
    pub(super) fn remove(&self, name: &str) -> Result<(), ContainerError> {
        let hidden = format!("{HIDDEN}{name}");
        let paths = self.places.iter().flat_map(|place| [place.join(name), place.join(&hidden)]);
        paths.filter(|bundle| bundle.is_dir()).try_for_each(|bundle| {
            tracing::info!(bundle = %bundle.display(), "removing what a killed containerd left");
            kill_shims(&bundle, name);
            remove(&bundle).map_err(failed(&bundle))
        })
    }
}

/// Kills the container's shims that work in its bundle. Whoever else stands in it is somebody else.
fn kill_shims(bundle: &Path, name: &str) {
    let (proc, bundle) = (Path::new("/proc"), resolved(bundle));
    let stands = |pid: u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|place| place == bundle);
    let shims = Shim::all(proc).filter(|shim| shim.container.to_string() == name);
    shims.filter(|shim| stands(shim.pid)).for_each(|shim| shim.kill(proc));
}

fn remove(bundle: &Path) -> io::Result<()> {
    let rootfs = bundle.join("rootfs");
    // It was seen mounted twice, after a mount that was tried again.
    while unmount(&rootfs, UnmountFlags::DETACH).is_ok() {}
    // Empty, or what is in it isn't ours to remove.
    unless_gone(fs::remove_dir(&rootfs))?;
    let work = fs::read_link(bundle.join("work"));
    unless_gone(fs::remove_dir_all(bundle))?;
    match work {
        Ok(work) if work.ends_with(name_of(bundle)) => unless_gone(fs::remove_dir_all(work)),
        _ => Ok(()),
    }
}

/// `TASKS/NAMESPACE/NAME`: how the path of a bundle ends, and that of its working directory.
fn name_of(bundle: &Path) -> PathBuf {
    let name = bundle.file_name().unwrap_or_default().to_string_lossy();
    [TASKS, NAMESPACE, name.trim_start_matches(HIDDEN)].iter().collect()
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ContainerError {
    move |source| ContainerError::State { path: path.to_owned(), source: Arc::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_goes_with_its_working_directory_and_what_is_in_its_root_stays() {
        let dir = tempfile::tempdir().unwrap();
        let bundles = Bundles::of(&dir.path().join("containerd.sock"));
        let bundle = dir.path().join("state").join(TASKS).join(NAMESPACE).join("web-2222.1");
        let work = dir.path().join("root").join(TASKS).join(NAMESPACE).join("web-2222.1");
        for folder in [&bundle.join("rootfs/data"), &work] {
            fs::create_dir_all(folder).unwrap();
        }
        std::os::unix::fs::symlink(&work, bundle.join("work")).unwrap();
        assert_eq!(bundles.names().unwrap(), ["web-2222.1"]);
        assert!(bundles.remove("web-2222.1").is_err());
        assert!(bundle.join("rootfs/data").exists() && work.exists());
        fs::remove_dir(bundle.join("rootfs/data")).unwrap();
        let mut visitor =
            std::process::Command::new("sleep").arg("600").current_dir(&bundle).spawn().unwrap();
        bundles.remove("web-2222.1").unwrap();
        assert_eq!(visitor.try_wait().unwrap(), None, "who stands there is no shim");
        visitor.kill().unwrap();
        visitor.wait().unwrap();
        assert!(!bundle.exists() && !work.exists());
        bundles.remove("web-2222.1").unwrap();
        assert_eq!(bundles.names().unwrap(), [""; 0]);
    }

    #[test]
    fn one_half_removed_is_found_and_a_working_directory_elsewhere_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join(TASKS).join(NAMESPACE).join(".web-2222.1");
        fs::create_dir_all(&bundle).unwrap();
        fs::create_dir(dir.path().join("precious")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("precious"), bundle.join("work")).unwrap();
        let bundles = Bundles::of(&dir.path().join("containerd.sock"));
        assert_eq!(bundles.names().unwrap(), ["web-2222.1"]);
        bundles.remove("web-2222.1").unwrap();
        assert!(!bundle.exists() && dir.path().join("precious").exists());
    }
}
