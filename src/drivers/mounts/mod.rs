//! What is mounted on this machine, by `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
//!
//! The kernel tells of mount points as they really are, without symbolic links, and in bytes that need be no text: a
//! path is resolved before it is compared with them, and nothing here fails over somebody's file name.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// Where the kernel tells of them.
pub(crate) const TABLE: &str = "/proc/self/mountinfo";

/// Something mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Which part of its file system: `/` for all of it.
    pub(crate) root: PathBuf,
    /// Where.
    pub(crate) point: PathBuf,
    /// Kind of its file system: `ext4`, `cgroup2`.
    pub(crate) kind: String,
    /// Options of its file system: `rw,memory`.
    pub(crate) options: String,
}

/// All that is mounted, in the order in which it was.
///
/// # Errors
/// The table can't be read.
pub(crate) fn all() -> io::Result<Vec<Mount>> {
    Ok(read(&std::fs::read(TABLE)?))
}

/// Points of what is mounted at a path or below it, the innermost first.
///
/// # Errors
/// The table can't be read.
pub(crate) fn within(path: &Path) -> io::Result<Vec<PathBuf>> {
    let path = resolved(path);
    let mut points: Vec<PathBuf> = all()?.into_iter().map(|mount| mount.point).collect();
    points.retain(|point| point.starts_with(&path));
    points.reverse();
    Ok(points)
}

/// A path as the kernel would tell of it: as much of it as is there without symbolic links, and the rest as it is.
pub fn resolved(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
    match there {
        Some((part, whole)) => match path.strip_prefix(part) {
            Ok(rest) if !rest.as_os_str().is_empty() => whole.join(rest),
            _ => whole,
        },
        None => path.to_owned(),
    }
}

/// The same file in a directory without symbolic links: what stands at its own name is replaced, not followed.
pub fn resolved_place(path: &Path) -> PathBuf {
    match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) => resolved(directory).join(name),
        _ => path.to_owned(),
    }
}

/// The table's lines; one that isn't as promised is left out.
pub(crate) fn read(table: &[u8]) -> Vec<Mount> {
    table.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory`
fn line(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ').skip(3);
    let (root, point) = (path(words.next()?), path(words.next()?));
    let mut words = words.skip_while(|word| *word != b"-").skip(1);
    let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    let kind = text(words.next()?);
    Some(Mount { root, point, kind, options: text(words.nth(1)?) })
}

/// A space and the like are written as `\040`.
fn path(word: &[u8]) -> PathBuf {
    let mut parts = word.split(|byte| *byte == b'\\');
    let mut bytes = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        bytes.extend(code);
        bytes.extend_from_slice(if code.is_some() { part.get(3..).unwrap_or_default() } else { part });
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

    use super::*;

    #[test]
    fn a_table_is_read_with_spaces_and_with_bytes_that_are_no_text() {
        let table =
            b"36 35 98:0 / /a\\040b/c\\134d rw,relatime shared:9 master:1 - ext4 /dev/x\\040y rw,discard\n\
            nonsense\n\
            37 35 98:0 /part /\xff\xfe rw - tmpfs tmpfs rw\n";
        let found = read(table);
        let first = Mount {
            root: "/".into(),
            point: r"/a b/c\d".into(),
            kind: "ext4".to_owned(),
            options: "rw,discard".to_owned(),
        };
        assert_eq!(found[0], first);
        assert_eq!(found[1].point, PathBuf::from(OsString::from_vec(b"/\xff\xfe".to_vec())));
        assert_eq!((found.len(), found[1].root.as_path()), (2, Path::new("/part")));
    }

    #[test]
    fn a_mount_is_found_by_a_path_with_links_in_it_and_by_no_other() {
        assert!(rustix::process::geteuid().is_root(), "this test mounts: it needs root");
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        let point = real.join(PathBuf::from(OsString::from_vec(b"in \xff".to_vec())));
        std::fs::create_dir_all(&point).unwrap();
        std::fs::create_dir(dir.path().join("real2")).unwrap();
        symlink(&real, &link).unwrap();
        mount("tmpfs", &point, "tmpfs", MountFlags::empty(), None).unwrap();
        let found =
            [within(&real), within(&link), within(&dir.path().join("real2")), within(&link.join("no"))];
        unmount(&point, UnmountFlags::empty()).unwrap();
        let found = found.map(Result::unwrap);
        let one = vec![resolved(dir.path()).join("real").join(point.file_name().unwrap())];
        assert_eq!(found, [one.clone(), one, vec![], vec![]]);
    }

    #[test]
    fn of_a_path_that_is_not_there_the_part_that_is_there_is_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let real = resolved(dir.path());
        symlink(dir.path(), real.join("link")).unwrap();
        assert_eq!(resolved(&real.join("link/not/yet")), real.join("not/yet"));
        assert_eq!(resolved(&real.join("link")), real);
        assert_eq!(resolved_place(&real.join("link/link")), real.join("link"));
        assert_eq!(resolved(Path::new("/")), Path::new("/"));
    }
}
