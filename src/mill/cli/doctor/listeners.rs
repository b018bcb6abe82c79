//! Who listens on which TCP port, from `/proc` (proc(5)), without a daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A port that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) port: u16,
    /// Process and its name; `None`: another user's, or gone.
    pub(super) process: Option<(u32, String)>,
}

/// State of a socket that listens, as the kernel prints it (TCP_LISTEN).
const LISTEN: &str = "0A";

/// All ports that are taken, by number.
pub(super) fn look(proc: &Path) -> Vec<Listener> {
    let mut inodes = BTreeMap::new();
    for table in ["net/tcp", "net/tcp6"] {
        let text = fs::read_to_string(proc.join(table)).unwrap_or_default();
        inodes.extend(text.lines().skip(1).filter_map(listening));
    }
    let owners = owners(proc, &inodes.keys().copied().collect());
    let mut listeners: Vec<Listener> = inodes
        .into_iter()
        .map(|(inode, port)| Listener { port, process: owners.get(&inode).cloned() })
        .collect();
    listeners.sort_by_key(|listener| (listener.port, listener.process.is_none()));
    listeners.dedup_by_key(|listener| listener.port);
    listeners
}

/// Inode and port of a line, if its socket listens.
fn listening(line: &str) -> Option<(u64, u16)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let port = u16::from_str_radix(address.rsplit(':').next()?, 16).ok()?;
    (*state == LISTEN).then_some((inode.parse().ok()?, port))
}

fn owners(proc: &Path, inodes: &BTreeSet<u64>) -> BTreeMap<u64, (u32, String)> {
    let mut owners = BTreeMap::new();
    let processes = fs::read_dir(proc).into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        for descriptor in descriptors {
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let Some(inode) = target.to_str().and_then(socket) else { continue };
            if inodes.contains(&inode) {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                owners.entry(inode).or_insert_with(|| (pid, name.trim().to_owned()));
            }
        }
    }
    owners
}

/// `socket:[12345]`
fn socket(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_names_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = look(Path::new("/proc"));
        let ours = found.iter().find(|listener| listener.port == port).unwrap();
        assert_eq!(ours.process.as_ref().map(|(pid, _)| *pid), Some(std::process::id()));
    }

    #[test]
    fn only_listening_sockets_hold_a_port() {
        let listens = "   0: 0100007F:1130 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1";
        let talks = "   1: 0100007F:1130 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1";
        assert_eq!(listening(listens), Some((4711, 0x1130)));
        assert_eq!(listening(talks), None);
        assert_eq!(listening("nonsense"), None);
        assert!(look(Path::new("/nonexistent")).is_empty());
    }
}
