//! Who lives on this machine: by locks, by sockets, by processes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

use super::{Owner, SweepError, system};
use crate::process;

/// The words after `mill` that make a process of it that lives on.
const LIVING: [&str; 3] = ["daemon", "dev", "plane"];

/// A lock file of a home: claimed, held by somebody, or not there.
pub(super) enum Lock {
    /// Ours now.
    Claimed(process::Lock),
    /// Somebody has it.
    Held(Owner),
    /// There is none, hence nobody.
    Absent,
}

/// Takes the lock at `path` if it is there.
pub(super) fn claim(path: &Path, proc: &Path) -> Result<Lock, SweepError> {
    let file = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Lock::Absent);
        }
        Err(error) => return Err(system("open", path)(error)),
    };
    match process::Lock::on(file).map_err(system("lock", path))? {
        Ok(lock) => Ok(Lock::Claimed(lock)),
        Err(file) => {
            let pid = holder(&file, proc);
            Ok(Lock::Held(owner(pid, proc, || format!("whoever holds {}", path.display()))))
        }
    }
}

/// Makes a lock, a file or a cgroup, unless it is there; says whether it did. Where its directory isn't there, there is
/// nothing to keep anybody out of.
pub(super) fn make(path: &Path, is_cgroup: bool) -> Result<bool, SweepError> {
    let made = match is_cgroup {
        true => fs::create_dir(path),
        false => OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).map(drop),
    };
    match made.map_err(|error| (error.kind(), error)) {
        Ok(()) => Ok(true),
        Err((io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, _)) => {
            Ok(false)
        }
        Err((_, error)) => Err(system("make", path)(error)),
    }
}

/// Removes a lock that was made; what is in use stays.
pub(super) fn unmake(path: &Path) {
    // Whoever uses it now made it theirs, and one that is gone is as good.
    let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
}

/// The process that holds the lock on a file, by `/proc/locks` (proc_locks(5)).
fn holder(file: &File, proc: &Path) -> Option<u32> {
    let metadata = file.metadata().ok()?;
    let device = metadata.dev();
    let wanted = format!("{:02x}:{:02x}:{}", major(device), minor(device), metadata.ino());
    let locks = fs::read_to_string(proc.join("locks")).ok()?;
    let line = locks.lines().find(|line| line.split_whitespace().any(|word| word == wanted))?;
    // 1: FLOCK  ADVISORY  WRITE 708 08:01:1180 0 EOF; the process is -1 or 0 when it is in another namespace
    line.split_whitespace().nth(4)?.parse().ok().filter(|pid| *pid > 0)
}

/// Who listens at a socket, also if it has hung.
pub(super) fn listener(socket: &Path, proc: &Path) -> Option<Owner> {
    let pid = process::listens(socket)?;
    Some(owner(pid, proc, || format!("whoever listens at {}", socket.display())))
}

/// A process that is known by what it holds.
fn owner(pid: Option<u32>, proc: &Path, what: impl FnOnce() -> String) -> Owner {
    let called = pid.and_then(|pid| call(pid, proc));
    called.unwrap_or_else(|| Owner { pid, what: what(), data: None })
}

/// Every daemon and plane that runs on this machine: all share what is swept. Those in other namespaces of processes,
/// say in a container, have a machine of their own.
pub(super) fn running(proc: &Path) -> Vec<Owner> {
    let namespace = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
    let here = namespace(&proc.join("self"));
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let near = |pid: &u32| namespace(&proc.join(pid.to_string())) == here;
    pids.filter_map(|pid| call(pid, proc).filter(|_| near(&pid))).collect()
}

/// A daemon or plane, if that is what the process was started as.
pub(super) fn call(pid: u32, proc: &Path) -> Option<Owner> {
    let process = proc.join(pid.to_string());
    let line = fs::read(process.join("cmdline")).ok()?;
    let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let (program, words) = words.split_first()?;
    // What was started through /proc/self/exe, as a plane after an upgrade, is known by its kernel's name.
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let is_mill = program.rsplit('/').next() == Some("mill") || name.trim_end() == "mill";
    let word = words.iter().find(|word| LIVING.contains(&&***word)).filter(|_| is_mill)?;
    let data = words.iter().skip_while(|word| **word != "--data-dir").nth(1);
    Some(Owner {
        pid: Some(pid),
        what: format!("`mill {word}`"),
        data: data.map(|data| PathBuf::from(data.as_ref())),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::os::unix::process::CommandExt as _;

    use super::*;

    #[test]
    fn a_lock_is_claimed_or_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let proc = Path::new("/proc");
        assert!(matches!(claim(&path, proc).unwrap(), Lock::Absent));
        let held = process::Lock::take(&path).unwrap();
        let Lock::Held(owner) = claim(&path, proc).unwrap() else { panic!("it is held") };
        assert_eq!(owner.pid, Some(std::process::id()));
        assert!(owner.what.contains("lock"), "{owner}");
        drop(held);
        let Lock::Claimed(_file) = claim(&path, proc).unwrap() else { panic!("it is free") };
        assert!(process::Lock::take(&path).is_err(), "nobody comes up meanwhile");
    }

    #[test]
    fn only_who_still_is_a_mill_is_asked_to_end() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let was = Owner { pid: Some(child.id()), what: "`mill plane`".to_owned(), data: None };
        super::super::end(&was);
        assert_eq!(child.try_wait().unwrap(), None, "its number is another's now");
        child.kill().unwrap();
        child.wait().unwrap();
        let mut mill = std::process::Command::new("sh");
        mill.arg0("mill").args(["-c", "read line", "plane"]).stdin(std::process::Stdio::piped());
        let mut mill = mill.spawn().unwrap();
        let is = Owner { pid: Some(mill.id()), ..was };
        super::super::end(&Owner { data: Some("/data".into()), ..is.clone() });
        assert_eq!(mill.try_wait().unwrap(), None, "another home's");
        super::super::end(&is);
        assert!(!mill.wait().unwrap().success());
    }

    #[test]
    fn who_answers_at_a_socket_lives_and_a_dead_socket_is_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("mill.sock");
        assert_eq!(listener(&socket, Path::new("/proc")), None);
        let listening = UnixListener::bind(&socket).unwrap();
        assert_eq!(listener(&socket, Path::new("/proc")).unwrap().pid, Some(std::process::id()));
        // One that accepts nobody has hung; it lives all the same, and nobody waits for it.
        rustix::net::listen(&listening, 1).unwrap();
        let answers: Vec<_> = (0..10).map(|_| listener(&socket, Path::new("/proc")).unwrap().pid).collect();
        assert_eq!(answers.last(), Some(&None), "{answers:?}");
        drop(listening);
        assert!(socket.exists());
        assert_eq!(listener(&socket, Path::new("/proc")), None);
    }

    #[test]
    fn every_mill_that_lives_on_is_found_and_nothing_else() {
        let proc = tempfile::tempdir().unwrap();
        let process = |pid: &str, line: &str, comm: &str, namespace: &str| {
            let folder = proc.path().join(pid);
            fs::create_dir_all(folder.join("ns")).unwrap();
            fs::write(folder.join("cmdline"), line.replace(' ', "\0")).unwrap();
            fs::write(folder.join("comm"), format!("{comm}\n")).unwrap();
            symlink(namespace, folder.join("ns/pid")).unwrap();
        };
        process("self", "/usr/bin/mill clean", "mill", "pid:[1]");
        process("7", "/usr/bin/mill --x dev --data-dir /d", "mill", "pid:[1]");
        process("8", "/proc/self/exe plane", "mill", "pid:[1]");
        process("9", "mill status", "mill", "pid:[1]");
        process("10", "mill daemon", "mill", "pid:[2]");
        process("11", "sh -c mill daemon", "sh", "pid:[1]");
        fs::create_dir_all(proc.path().join("sys")).unwrap();
        let mut found = running(proc.path());
        found.sort();
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["`mill dev` (process 7, its data in /d)", "`mill plane` (process 8)"]);
    }
}
