//! The real [`Scratch`]: ext4 in sparse files, mounted through loop devices.
//!
//! `DIRECTORY/ALLOC/VOLUME.img` is mounted at `DIRECTORY/ALLOC/VOLUME`. The image exists under its name only once it
//! is formatted; the mount holds its loop device, which the kernel frees with it. Whatever a kill -9 leaves is found
//! in the directory and in the mount table.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mill_model::names::VolumeName;
use mill_model::{AllocId, Bytes, limits};
use rustix::mount::UnmountFlags;

use super::{Scratch, ScratchError, system};
use crate::{files, mounts};

/// Anybody in the container may write, whatever user its image has, as into `/tmp`.
const MODE: u32 = 0o1777;

/// Ephemeral volumes below one directory, which nothing else uses.
#[derive(Debug, Clone)]
pub struct LoopScratch {
    directory: PathBuf,
}

/// The files of one volume.
struct Paths {
    image: PathBuf,
    fresh: PathBuf,
    point: PathBuf,
}

impl LoopScratch {
    /// Volumes below `directory`: `/var/lib/mill/scratch`.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn paths(&self, alloc: &AllocId, volume: &VolumeName) -> Paths {
        let alloc = self.directory.join(alloc.as_str());
        Paths {
            image: alloc.join(format!("{volume}.img")),
            fresh: alloc.join(format!("{volume}.new")),
            point: alloc.join(volume.as_str()),
        }
    }
}

impl Scratch for LoopScratch {
    async fn make(
        &self,
        alloc: &AllocId,
        volume: &VolumeName,
        size: Option<Bytes>,
    ) -> Result<PathBuf, ScratchError> {
        let size = size.unwrap_or(Bytes(limits::SCRATCH_BYTES_DEFAULT));
        let least = Bytes(limits::SCRATCH_BYTES_MIN);
        if size < least {
            return Err(ScratchError::TooSmall { size, least });
        }
        let paths = self.paths(alloc, volume);
        if is_mounted(&paths.point)? {
            return Ok(paths.point);
        }
        std::fs::create_dir_all(&paths.point).map_err(system("create", &paths.point))?;
        // Not mounted: what the image holds is from before a reboot, or nobody has used it yet.
        format(&paths, size).await?;
        // `discard` gives what is deleted in the volume back to the node's disk.
        let options = "loop,discard,nodev,nosuid";
        run("mount", &["-t", "ext4", "-o", options], &[&paths.image, &paths.point]).await?;
        open_up(&paths.point)?;
        Ok(paths.point)
    }

    async fn remove(&self, alloc: &AllocId) -> Result<(), ScratchError> {
        let directory = self.directory.join(alloc.as_str());
        // To unmount is to write what isn't on disk yet.
        let interrupted = system("reach", &directory);
        files::off_thread({
            let directory = directory.clone();
            move || remove(&directory)
        })
        .await
        .map_err(interrupted)?
    }

    async fn leftovers(&self, known: &BTreeSet<AllocId>) -> Result<BTreeSet<AllocId>, ScratchError> {
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(system("read", &self.directory)(error)),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let allocs = names.filter_map(|name| name.parse::<AllocId>().ok());
        Ok(allocs.filter(|alloc| !known.contains(alloc)).collect())
    }
}

fn remove(directory: &Path) -> Result<(), ScratchError> {
    for point in mount_points(directory)? {
        match rustix::mount::unmount(&point, UnmountFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(system("unmount", &point)(errno.into())),
        }
    }
    files::unless_gone(std::fs::remove_dir_all(directory)).map_err(system("remove", directory))
}

/// What is mounted below a directory, the innermost first.
fn mount_points(directory: &Path) -> Result<Vec<PathBuf>, ScratchError> {
    mounts::within(directory).map_err(system("read", Path::new(mounts::TABLE)))
}

fn is_mounted(point: &Path) -> Result<bool, ScratchError> {
    Ok(mount_points(point)?.contains(&mounts::resolved(point)))
}

/// Makes the image: under another name until it is whole.
async fn format(paths: &Paths, size: Bytes) -> Result<(), ScratchError> {
    let file = File::create(&paths.fresh).map_err(system("create", &paths.fresh))?;
    file.set_len(size.0).map_err(system("size", &paths.fresh))?;
    drop(file);
    // No journal: after a crash of the machine it is made anew. No blocks kept for root, no slow first writes.
    let options = ["-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard"];
    run("mkfs.ext4", &options, &[&paths.fresh]).await?;
    std::fs::rename(&paths.fresh, &paths.image).map_err(system("name", &paths.image))
}

/// Empties the volume's root of what mkfs put there, and lets everybody in.
fn open_up(point: &Path) -> Result<(), ScratchError> {
    let lost = point.join("lost+found");
    match std::fs::remove_dir(&lost) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(system("remove", &lost)(error)),
        _ => {}
    }
    std::fs::set_permissions(point, std::fs::Permissions::from_mode(MODE)).map_err(system("open up", point))
}

async fn run(program: &'static str, options: &[&str], paths: &[&Path]) -> Result<(), ScratchError> {
    let path = paths.first().map(|path| path.to_path_buf()).unwrap_or_default();
    let mut command = tokio::process::Command::new(program);
    // These programs aren't on every user's PATH.
    let search = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command.args(options).args(paths).env("PATH", search).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ScratchError::NotInstalled { program },
        _ => system("run a program on", &path)(error),
    })?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(ScratchError::Program { program, path, said })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (AllocId, VolumeName) {
        ("web-2222".parse().unwrap(), VolumeName::new("scratch").unwrap())
    }

    #[tokio::test]
    async fn a_volume_is_bounded_kept_over_restarts_and_removed_whole() {
        assert!(rustix::process::geteuid().is_root(), "this test mounts: it needs root, mount and mkfs.ext4");
        let dir = tempfile::Builder::new().prefix("mill scratch").tempdir().unwrap();
        let scratch = LoopScratch::new(dir.path().to_owned());
        let (alloc, volume) = names();
        let size = Some(Bytes(4 << 20));
        let point = scratch.make(&alloc, &volume, size).await.unwrap();
        assert_eq!(std::fs::read_dir(&point).unwrap().count(), 0, "it starts empty");
        assert_eq!(std::fs::metadata(&point).unwrap().permissions().mode() & 0o7777, MODE);

        let full = std::fs::write(point.join("big"), vec![1; 8 << 20]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        std::fs::write(point.join("big"), "kept").unwrap();
        let again = LoopScratch::new(dir.path().to_owned());
        assert_eq!(again.make(&alloc, &volume, size).await.unwrap(), point);
        assert_eq!(std::fs::read_to_string(point.join("big")).unwrap(), "kept");
        assert_eq!(again.leftovers(&BTreeSet::new()).await.unwrap(), [alloc.clone()].into());

        let mut removal = Box::pin(again.remove(&alloc));
        assert!(futures::poll!(&mut removal).is_pending(), "nobody else waits for a disk meanwhile");
        removal.await.unwrap();
        again.remove(&alloc).await.unwrap();
        assert_eq!(mount_points(dir.path()).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let loops = std::process::Command::new("losetup").arg("--list").output().unwrap();
        assert!(!String::from_utf8_lossy(&loops.stdout).contains(&*dir.path().to_string_lossy()));
    }

    #[tokio::test]
    async fn a_volume_below_a_link_is_found_as_it_was_left_and_goes() {
        assert!(rustix::process::geteuid().is_root(), "this test mounts: it needs root, mount and mkfs.ext4");
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("srv"), dir.path().join("lib"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let scratch = LoopScratch::new(link.join("scratch"));
        let (alloc, volume) = names();
        let size = Some(Bytes(4 << 20));
        let point = scratch.make(&alloc, &volume, size).await.unwrap();
        std::fs::write(point.join("file"), "kept").unwrap();
        assert_eq!(scratch.make(&alloc, &volume, size).await.unwrap(), point);
        assert_eq!(std::fs::read_to_string(point.join("file")).unwrap(), "kept");
        assert_eq!(mount_points(&real).unwrap().len(), 1, "it is mounted once");
        scratch.remove(&alloc).await.unwrap();
        assert_eq!(mount_points(&real).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(std::fs::read_dir(real.join("scratch")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_a_crash_left_half_made_is_made_anew_and_a_size_too_small_refused() {
        assert!(rustix::process::geteuid().is_root(), "this test mounts: it needs root, mount and mkfs.ext4");
        let dir = tempfile::tempdir().unwrap();
        let scratch = LoopScratch::new(dir.path().to_owned());
        let (alloc, volume) = names();
        let paths = scratch.paths(&alloc, &volume);
        std::fs::create_dir_all(&paths.point).unwrap();
        std::fs::write(&paths.image, "torn").unwrap();
        std::fs::write(&paths.fresh, "half").unwrap();
        let point = scratch.make(&alloc, &volume, Some(Bytes(limits::SCRATCH_BYTES_MIN))).await.unwrap();
        std::fs::write(point.join("file"), "works").unwrap();
        scratch.remove(&alloc).await.unwrap();
        let small = scratch.make(&alloc, &volume, Some(Bytes(1))).await.unwrap_err();
        assert_eq!(small.to_string(), "an ephemeral volume of 1 is too small: at least 2M");
    }
}
