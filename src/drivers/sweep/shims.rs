//! Shims whose container is gone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Kind, Left};
use crate::containers::shim::{PROGRAM, Shim};

/// Shims of Mill's containers at these containerds, save those of the containers `known`.
pub(super) fn find(proc: &Path, sockets: &[PathBuf], known: &BTreeSet<String>) -> Vec<Left> {
    let shims = Shim::all(proc).filter(|shim| is_at(shim, sockets));
    let stray = shims.filter(|shim| !known.contains(&shim.container.to_string()));
    let named = stray.map(|shim| format!("{} {PROGRAM} {}", shim.pid, shim.container));
    named.map(|name| Left::of(Kind::Process, name)).collect()
}

/// Kills the shim that a leftover's name tells of. One that has ended, or whose number is another's now, is gone.
pub(super) fn kill(proc: &Path, name: &str, sockets: &[PathBuf]) {
    let mut words = name.split(' ');
    let (Some(pid), Some(_), Some(container)) = (words.next(), words.next(), words.next()) else { return };
    let shim = pid.parse().ok().and_then(|pid| Shim::at(proc, pid)).filter(|shim| is_at(shim, sockets));
    if let Some(shim) = shim.filter(|shim| shim.container.to_string() == container) {
        shim.kill(proc);
    }
}

fn is_at(shim: &Shim, sockets: &[PathBuf]) -> bool {
    sockets.iter().any(|socket| shim.is_of(socket))
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        assert_eq!(Shim::at(proc.path(), 12), None);

        std::os::unix::fs::symlink(proc.path(), proc.path().join("link")).unwrap();
        let (socket, linked) = (proc.path().join("c.sock"), proc.path().join("link/c.sock"));
        process(13, &format!("{shim} mill -id web-4444.1 -address {}", linked.display()));
        assert_eq!(find(proc.path(), &[socket], &BTreeSet::new()).len(), 1);
    }

    #[test]
    fn a_number_that_is_anothers_now_is_left_alone() {
        let proc = tempfile::tempdir().unwrap();
        let sockets = [PathBuf::from("/run/c.sock")];
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let folder = proc.path().join(child.id().to_string());
        let named = |container: &str| {
            let line = format!("/{PROGRAM} -namespace mill -id {container} -address /run/c.sock");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("cmdline"), line.replace(' ', "\0")).unwrap();
        };
        let left = format!("{} {PROGRAM} web-2222.1", child.id());
        named("web-2222.2");
        kill(proc.path(), &left, &sockets);
        assert_eq!(child.try_wait().unwrap(), None);
        named("web-2222.1");
        kill(proc.path(), &left, &[]);
        assert_eq!(child.try_wait().unwrap(), None, "another containerd's");
        kill(proc.path(), &left, &sockets);
        assert!(!child.wait().unwrap().success());
    }
}
