//! Shims whose container is gone: the processes that containerd puts between itself and each container.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::{Kind, Left};
use crate::containerd::NAMESPACE;
use crate::containers::ContainerName;
use crate::mounts::resolved;

/// What a shim is called.
const PROGRAM: &str = "containerd-shim-runc-v2";

/// Shims of Mill's containers at these containerds, save those of the containers `known`.
pub(super) fn find(proc: &Path, sockets: &[PathBuf], known: &BTreeSet<String>) -> Vec<Left> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let shims = pids.filter_map(|pid| Some((pid, container_of(proc, pid, sockets)?)));
    let stray = shims.filter(|(_, container)| !known.contains(container));
    stray.map(|(pid, container)| Left::of(Kind::Process, format!("{pid} {PROGRAM} {container}"))).collect()
}

/// Kills the shim that a leftover's name tells of. One that has ended, or whose number is another's now, is gone.
pub(super) fn kill(proc: &Path, name: &str, sockets: &[PathBuf]) {
    let mut words = name.split(' ');
    let (Some(pid), Some(_), Some(container)) = (words.next(), words.next(), words.next()) else { return };
    let Ok(number) = pid.parse::<u32>() else { return };
    if container_of(proc, number, sockets).as_deref() != Some(container) {
        return;
    }
    if let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) {
        // One that has just ended is as good.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The container of Mill's for which a process is the shim.
fn container_of(proc: &Path, pid: u32, sockets: &[PathBuf]) -> Option<String> {
    let line = fs::read(proc.join(pid.to_string()).join("cmdline")).ok()?;
    let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let value = |option: &str| words.iter().skip_while(|word| **word != option).nth(1);
    let ours = words.first()?.ends_with(PROGRAM)
        && value("-namespace")? == NAMESPACE
        && value("-address").is_some_and(|at| sockets.iter().any(|socket| is_same(socket, Path::new(&**at))));
    let container = value("-id").filter(|_| ours)?;
    container.parse::<ContainerName>().ok().map(|name| name.to_string())
}

/// A containerd tells its shims what its own settings say: `/var/run/…`, where others say `/run/…`.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || resolved(one) == resolved(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stray_shims_of_mills_own_containers_are_found() {
        let proc = tempfile::tempdir().unwrap();
        let process = |pid: u32, line: &str| {
            let folder = proc.path().join(pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("cmdline"), line.replace(' ', "\0")).unwrap();
        };
        let shim = "/usr/bin/containerd-shim-runc-v2 -namespace";
        process(7, &format!("{shim} mill -id web-2222.1 -address /run/c.sock"));
        process(8, &format!("{shim} mill -id web-3333.1 -address /run/c.sock"));
        process(9, &format!("{shim} moby -id web-2222.2 -address /run/c.sock"));
        process(10, &format!("{shim} mill -id web-2222.3 -address /run/other.sock"));
        process(11, &format!("{shim} mill -id someone -address /run/c.sock"));
        process(12, "sleep 1");
        let sockets = [PathBuf::from("/run/c.sock")];
        let found = find(proc.path(), &sockets, &["web-3333.1".to_owned()].into());
        assert_eq!(found, [Left::of(Kind::Process, "7 containerd-shim-runc-v2 web-2222.1")]);
        assert_eq!(container_of(proc.path(), 12, &sockets), None);

        std::os::unix::fs::symlink(proc.path(), proc.path().join("link")).unwrap();
        let (socket, linked) = (proc.path().join("c.sock"), proc.path().join("link/c.sock"));
        process(13, &format!("{shim} mill -id web-4444.1 -address {}", linked.display()));
        assert_eq!(container_of(proc.path(), 13, &[socket]).as_deref(), Some("web-4444.1"));
    }
}
