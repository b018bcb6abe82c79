//! Small files that are replaced whole, and what it takes to work with files beside everything else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::io::Errno;

pub(crate) use turns::Turns;

mod turns;

/// Writes a file for its owner alone: a crash, of the machine too, leaves the old one or the new one. One at a time for
/// each path: what is written lies beside it meanwhile, under the extension `new`.
pub(crate) fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let is_first = !path.exists();
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_data()?;
    fs::rename(&new, path)?;
    // The first has to survive with its directory, and that with its own; whoever made them may not have seen to it.
    let directories = path.ancestors().skip(1).take(if is_first { 3 } else { 1 });
    directories.filter(|directory| !directory.as_os_str().is_empty()).try_for_each(sync)
}

/// Has a directory's names on disk for good.
pub(crate) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes a file. None there is as good.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    unless_gone(fs::remove_file(path))
}

/// "There is none" is as good as removed.
pub(crate) fn unless_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Whether what the disk says of reading a file stays so: a block or its file system is bad, or no file is there.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    let bad = [Errno::IO, Errno::UCLEAN, Errno::BADMSG, Errno::ISDIR, Errno::NOTDIR];
    Errno::from_io_error(error).is_some_and(|errno| bad.contains(&errno))
}

/// Does on a thread of its own what blocks: an fsync may take a second on a bad day.
///
/// # Errors
/// `Interrupted`: the process ends before it is done.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels such work.
            Err(cancelled) => Err(io::Error::new(io::ErrorKind::Interrupted, cancelled)),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_for_its_owner_alone_also_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.kdl");
        for text in ["one", "two"] {
            fs::write(dir.path().join("state.new"), "left by a crash, and longer").unwrap();
            replace(&path, &[text.as_bytes(), b"!"]).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{text}!"));
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        remove(&path).unwrap();
        replace(&path, &[b"secret"]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    fn bad_blocks_are_damage_and_a_busy_machine_is_not() {
        for errno in [5, 117, 74, 21, 20] {
            assert!(is_damage(&io::Error::from_raw_os_error(errno)), "{errno}");
        }
        for errno in [4, 13, 24] {
            assert!(!is_damage(&io::Error::from_raw_os_error(errno)), "{errno}");
        }
        assert!(!is_damage(&io::ErrorKind::Interrupted.into()));
    }
}
