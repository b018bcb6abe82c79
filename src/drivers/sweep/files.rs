//! What Mill left in files: its directories, sockets, mounts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mill_model::AllocId;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::{Kind, Left, Place, SweepError, system};
use crate::mounts;

/// What a node keeps in its data directory until it leaves its cluster, in the order in which it goes: who it is goes
/// last, and after that the lock.
const HOME: [&str; 12] = [
    "allocs",
    "scratch",
    "raft",
    "plane",
    "plane.log",
    "plane.log.1",
    "keys",
    "member",
    "member.new",
    "node.kdl",
    "node.new",
    "lock",
];

/// Those of them in which each thing is found by itself, so that somebody else's stays, and they with it.
const SHELVES: [&str; 2] = ["allocs", "scratch"];

/// The files of a home. `runtime`: whether removing containers will make some more.
pub(super) fn find(place: &Place, runtime: bool) -> Result<(Vec<Left>, Vec<Left>), SweepError> {
    let (mut left, mut foreign) = (vec![], vec![]);
    for folder in SHELVES.map(|name| place.data.join(name)) {
        for path in entries(&folder)? {
            let is_ours = path.file_name().and_then(|name| name.to_str()?.parse::<AllocId>().ok()).is_some();
            if is_ours { &mut left } else { &mut foreign }.push(entry(&path));
        }
    }
    let containers = place.containers();
    if runtime || containers.exists() {
        left.push(Left::at(Kind::Directory, &containers));
    }
    let sockets = [&place.socket, &place.plane_socket];
    left.extend(sockets.into_iter().filter(|path| is_there(path)).map(|path| entry(path)));
    if place.own_containerd {
        left.extend(place.own_folders().into_iter().filter(|path| is_there(path)).map(|path| entry(&path)));
    }
    let known = |path: &Path| left.iter().any(|left| Path::new(&left.name) == path);
    // Only what is surely Mill's own: somebody may have put the sockets into a directory of theirs.
    let run = place.run();
    if run.ends_with("mill") && (runtime || run.exists()) && entries(&run)?.iter().all(|path| known(path)) {
        left.push(Left::at(Kind::Directory, &run));
    }
    if place.with_data {
        home(place, &mut left, &mut foreign)?;
    }
    Ok((left, foreign))
}

fn home(place: &Place, left: &mut Vec<Left>, foreign: &mut Vec<Left>) -> Result<(), SweepError> {
    let paths = HOME.map(|name| place.data.join(name));
    let others: Vec<PathBuf> = entries(&place.data)?
        .into_iter()
        .filter(|path| !paths.contains(path) && !left.iter().any(|left| Path::new(&left.name) == path))
        .collect();
    let holds_others = |path: &Path| foreign.iter().any(|other| Path::new(&other.name).starts_with(path));
    let ours = paths.iter().filter(|path| is_there(path) && !holds_others(path));
    left.extend(ours.map(|path| entry(path)));
    let is_shared = holds_others(&place.data) || !others.is_empty();
    foreign.extend(others.iter().map(|path| entry(path)));
    // A disk of its own that somebody mounted for Mill stays mounted, and a link to where it was stays a link.
    if !is_shared && place.data.is_dir() && !mounted(&place.data)?.contains(&mounts::resolved(&place.data)) {
        left.push(Left::at(Kind::Directory, &place.data));
    }
    Ok(())
}

/// Mounts that Mill, or a containerd of its own, made; the innermost first. Roots of containers are taken away with
/// them by the containerd that mounted them.
pub(super) fn find_mounts(place: &Place) -> Result<Vec<Left>, SweepError> {
    let mut within = vec![place.data.join("scratch"), place.containers()];
    if place.own_containerd {
        within.extend(place.own_folders());
    }
    within.iter_mut().for_each(|folder| *folder = mounts::resolved(folder));
    let ours = |point: &PathBuf| within.iter().any(|folder| point != folder && point.starts_with(folder));
    let points = mounted(Path::new("/"))?;
    Ok(points.iter().filter(|point| ours(point)).map(|point| Left::at(Kind::Mount, point)).collect())
}

/// Takes a mount away.
pub(super) fn remove_mount(point: &Path) -> Result<(), SweepError> {
    match unmount(point, UnmountFlags::empty()) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(errno) => Err(system("unmount", point)(errno.into())),
    }
}

/// Removes a file, or a directory with all in it, but nothing that is mounted there. A directory in which everything
/// was found by itself goes only when it is empty: what has come into it since is somebody's.
pub(super) fn remove(place: &Place, path: &Path) -> Result<(), SweepError> {
    let emptied =
        [place.data.clone(), place.run()].into_iter().chain(SHELVES.map(|name| place.data.join(name)));
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() && emptied.into_iter().any(|folder| folder == path) => {
            fs::remove_dir(path)
        }
        Ok(metadata) if metadata.is_dir() => {
            if let Some(mount) = mounted(path)?.into_iter().next() {
                return Err(SweepError::Mounted { path: path.to_owned(), mount });
            }
            fs::remove_dir_all(path)
        }
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(system("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Points of what is mounted at a path or below it, the innermost first.
fn mounted(path: &Path) -> Result<Vec<PathBuf>, SweepError> {
    mounts::within(path).map_err(system("read", Path::new(mounts::TABLE)))
}

fn entry(path: &Path) -> Left {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    Left::at(if is_dir { Kind::Directory } else { Kind::File }, path)
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// What is in a directory, by name; nothing if it isn't there.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, SweepError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(vec![]);
        }
        Err(error) => Err(error),
    };
    let entries = entries.map_err(system("read", folder))?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use rustix::mount::{MountFlags, mount};

    use super::*;

    fn place(folder: &Path) -> Place {
        Place {
            data: folder.join("data"),
            socket: folder.join("run/mill/mill.sock"),
            plane_socket: folder.join("run/mill/plane.sock"),
            containerds: vec![],
            cgroup_parent: "/mill-test".to_owned(),
            with_data: false,
            own_containerd: false,
        }
    }

    fn write(path: PathBuf) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    fn names(left: &[Left], folder: &Path) -> Vec<String> {
        let within = format!("{}/", folder.display());
        left.iter().map(|left| left.name.replace(&within, "")).collect()
    }

    #[test]
    fn the_node_itself_goes_only_when_asked_for_and_strangers_never() {
        let dir = tempfile::tempdir().unwrap();
        let mut place = place(dir.path());
        for file in
            ["allocs/web-2222/record", "allocs/notes.txt", "raft/1.log", "node.kdl", "keys/ca.key", "lock"]
        {
            write(place.data.join(file));
        }
        write(place.socket.clone());
        let (left, foreign) = find(&place, true).unwrap();
        let run = ["run/mill/containers", "run/mill/mill.sock", "run/mill"];
        assert_eq!(names(&left, dir.path()), [&["data/allocs/web-2222"], &run[..]].concat());
        assert_eq!(names(&foreign, dir.path()), ["data/allocs/notes.txt"]);

        place.with_data = true;
        let (left, foreign) = find(&place, false).unwrap();
        let kept = ["data/allocs", "data"].map(|name| dir.path().join(name).display().to_string());
        assert!(!left.iter().any(|left| kept.contains(&left.name)), "{left:?}");
        assert_eq!(names(&foreign, dir.path()), ["data/allocs/notes.txt"]);

        fs::remove_file(place.data.join("allocs/notes.txt")).unwrap();
        let (left, foreign) = find(&place, false).unwrap();
        let home = ["data/allocs", "data/raft", "data/keys", "data/node.kdl", "data/lock", "data"];
        assert_eq!(names(&left, dir.path()), [&["data/allocs/web-2222", run[1], run[2]], &home[..]].concat());
        assert_eq!(foreign, []);

        write(place.data.join("my-own-notes"));
        let (left, foreign) = find(&place, false).unwrap();
        assert_eq!(names(&foreign, dir.path()), ["data/my-own-notes"]);
        for left in &left {
            remove(&place, Path::new(&left.name)).unwrap();
            remove(&place, Path::new(&left.name)).unwrap();
        }
        let rest = entries(dir.path()).unwrap().into_iter().chain(entries(&place.data).unwrap());
        assert_eq!(rest.count(), 3, "run, data, and the notes in it");
        assert_eq!(find(&place, false).unwrap().0, []);
    }

    #[test]
    fn what_came_after_the_look_stays() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { with_data: true, ..place(dir.path()) };
        write(place.data.join("allocs/web-2222/record"));
        write(place.data.join("node.kdl"));
        write(place.socket.clone());
        let (left, _) = find(&place, true).unwrap();
        let late = ["data/allocs/notes.txt", "data/notes.txt", "run/mill/notes.txt"];
        for name in late {
            write(dir.path().join(name));
        }
        let stuck: Vec<Left> =
            left.into_iter().filter(|left| remove(&place, Path::new(&left.name)).is_err()).collect();
        assert_eq!(names(&stuck, dir.path()), ["run/mill", "data/allocs", "data"]);
        assert!(late.iter().all(|name| dir.path().join(name).exists()));
    }

    #[test]
    fn a_directory_that_holds_others_things_is_not_taken_for_mills() {
        let dir = tempfile::tempdir().unwrap();
        let mut place = place(dir.path());
        place.socket = dir.path().join("theirs/mill.sock");
        write(place.socket.clone());
        assert_eq!(names(&find(&place, false).unwrap().0, dir.path()), ["theirs/mill.sock"]);
        place.socket = dir.path().join("run/mill/mill.sock");
        write(dir.path().join("run/mill/somebody.sock"));
        write(place.socket.clone());
        assert_eq!(names(&find(&place, false).unwrap().0, dir.path()), ["run/mill/mill.sock"]);
    }

    #[test]
    fn mounts_below_a_link_are_found_and_nothing_is_removed_across_them() {
        assert!(rustix::process::geteuid().is_root(), "this test mounts: it needs root");
        let dir = tempfile::tempdir().unwrap();
        let (real, mut place) = (dir.path().join("srv"), place(dir.path()));
        let points = ["scratch/web-2222/tmp", "allocs/web-2222/disk"].map(|point| real.join(point));
        for point in &points {
            fs::create_dir_all(point).unwrap();
            mount("tmpfs", point, "tmpfs", MountFlags::empty(), None).unwrap();
        }
        write(points[1].join("theirs"));
        std::os::unix::fs::symlink(&real, &place.data).unwrap();
        let found = find_mounts(&place);
        let refused = remove(&place, &place.data.join("allocs/web-2222"));
        place.with_data = true;
        let left = find(&place, false);
        for point in &points {
            unmount(point, UnmountFlags::empty()).unwrap();
        }
        assert_eq!(names(&found.unwrap(), dir.path()), ["srv/scratch/web-2222/tmp"]);
        assert!(matches!(refused, Err(SweepError::Mounted { mount, .. }) if mount == points[1]));
        assert!(names(&left.unwrap().0, dir.path()).contains(&"data/allocs/web-2222".to_owned()));
    }

    #[test]
    fn mills_mounts_go_and_another_keeps_what_it_is_mounted_in() {
        assert!(rustix::process::geteuid().is_root(), "this test mounts: it needs root");
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let points = ["scratch/web-2222/tmp", "allocs/web-2222/disk", "scratch", "raft"];
        let points = points.map(|point| place.data.join(point));
        for point in points.iter().rev() {
            fs::create_dir_all(point).unwrap();
            mount("tmpfs", point, "tmpfs", MountFlags::empty(), None).unwrap();
        }
        write(points[1].join("theirs"));
        let found = find_mounts(&place).unwrap();
        assert_eq!(names(&found, dir.path()), ["data/scratch/web-2222/tmp"]);
        remove_mount(Path::new(&found[0].name)).unwrap();
        remove_mount(Path::new(&found[0].name)).unwrap();
        let refused = remove(&place, &place.data.join("allocs/web-2222"));
        assert!(matches!(refused, Err(SweepError::Mounted { mount, .. }) if mount == points[1]));
        assert!(points[1].join("theirs").exists());
        for point in &points[1..] {
            remove_mount(point).unwrap();
        }
    }
}
