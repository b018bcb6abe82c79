//! A snapshot's files made visible, to one thread, for a moment.
//!
//! The thread takes a mount namespace of its own, mounts there, looks, and ends: no mount is ever seen by anyone
//! else, and none outlives a kill -9.

use std::io;
use std::path::Path;
use std::sync::Arc;

use containerd_client::types::Mount;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tokio::sync::oneshot;

use super::files::Files;
use super::{StartError, failed};

/// Runs `look` where the files of the mounts' lower directories are visible. The upper one, which a new container's
/// snapshot has, is empty.
pub(super) async fn with<T: Send + 'static>(
    mounts: Vec<Mount>,
    look: impl FnOnce(&Files) -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let (answer, answered) = oneshot::channel();
    let body = move || {
        let result = visible(&mounts).and_then(|files| look(&files));
        // Whoever asked may have gone.
        let _ = answer.send(result);
    };
    let spawned = std::thread::Builder::new().name("mill-rootfs".to_owned()).spawn(body);
    let lost = |source| StartError::Rootfs { doing: "start a thread", source: Arc::new(source) };
    spawned.map_err(lost)?;
    answered.await.map_err(|_| lost(io::Error::from(io::ErrorKind::BrokenPipe)))?
}

fn visible(mounts: &[Mount]) -> Result<Files, StartError> {
    let Some(mount) = mounts.first() else { return Err(failed("find the mount")(Errno::INVAL)) };
    let layers: Vec<&Path> = match mount.r#type.as_str() {
        "overlay" => lower_directories(mount),
        // An image without layers, or with one: the snapshotter binds its directory.
        _ => vec![Path::new(&mount.source)],
    };
    match layers.as_slice() {
        [] => Err(failed("find the layers")(Errno::INVAL)),
        [only] => Files::below(only).map_err(failed("open the layer")),
        several => overlay(several),
    }
}

fn lower_directories(mount: &Mount) -> Vec<&Path> {
    let lower = mount.options.iter().find_map(|option| option.strip_prefix("lowerdir="));
    lower.map(|list| list.split(':').map(Path::new).collect()).unwrap_or_default()
}

fn overlay(layers: &[&Path]) -> Result<Files, StartError> {
    // SAFETY: this thread was started for this purpose and ends after it; it shares no file descriptors table state
    // that changes here (FILES isn't among the flags), and what it unshares, its mounts and its current directory, no
    // other thread looks at through it.
    #[expect(unsafe_code, reason = "a mount namespace for one thread has no safe form in rustix")]
    let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) };
    unshared.map_err(failed("make a mount namespace"))?;
    // What happens in the node still comes in (an unmount there must not be held up by this copy), nothing goes out.
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags).map_err(failed("keep mounts to oneself"))?;

    // A mount's options must fit into a page: with relative names four hundred layers do.
    let base = common_base(layers);
    rustix::process::chdir(base).map_err(failed("enter the snapshots' directory"))?;
    let names: Vec<String> =
        layers.iter().map(|layer| layer.strip_prefix(base).unwrap_or(layer).display().to_string()).collect();
    let top = names.first().map(String::as_str).unwrap_or_default();
    let options = format!("lowerdir={}", names.join(":"));
    let options = std::ffi::CString::new(options).map_err(|_| failed("name the layers")(Errno::INVAL))?;
    mount("overlay", top, "overlay", MountFlags::RDONLY, Some(options.as_c_str()))
        .map_err(failed("mount the layers"))?;
    // Resolved again, from the directory above: now it is the mount.
    Files::below(Path::new(top)).map_err(failed("open the layers"))
}

/// The directory that holds all of them.
fn common_base<'a>(layers: &[&'a Path]) -> &'a Path {
    let Some(first) = layers.first() else { return Path::new("/") };
    let holds_all = |base: &&Path| layers.iter().all(|layer| layer.starts_with(base));
    first.ancestors().skip(1).find(holds_all).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named_from_the_directory_that_holds_them() {
        let snapshots = "/var/lib/containerd/snapshots";
        let layers = [12, 1, 3].map(|n| format!("{snapshots}/{n}/fs"));
        let layers: Vec<&Path> = layers.iter().map(Path::new).collect();
        assert_eq!(common_base(&layers), Path::new(snapshots));
        assert_eq!(common_base(&[Path::new("/a/b"), Path::new("/c")]), Path::new("/"));
    }
}
