//! Listeners by `/proc`.
//!
//! # What it costs
//! The kernel's tables are read on each call: some microseconds per hundred sockets. Which process holds a
//! socket is found by reading links of `/proc/PID/fd`, which takes milliseconds on a full machine; it is done
//! only for the ports asked about, ends with the last one found, and is remembered: a socket's inode number is
//! its own as long as that link still leads to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::tables::{Row, TABLES, rows};
use super::{Listener, Process, Sockets, SocketsError, Wanted};
use crate::containers::ContainerName;

/// Sockets remembered at most: more than a node has listeners. Beyond it memory starts afresh.
const REMEMBERED_MAX: usize = 10_000;

/// This machine's sockets, as seen from this process' network namespace.
#[derive(Debug, Clone)]
pub struct ProcSockets {
    proc: PathBuf,
    /// The cgroup below which every container of this Mill has its own, named like it: `/mill`. Without it no socket
    /// is seen to be a container's.
    cgroup_parent: Option<String>,
    /// By inode: the link that led to it.
    seen: Arc<Mutex<BTreeMap<u64, PathBuf>>>,
}

impl Default for ProcSockets {
    fn default() -> Self {
        Self { proc: PathBuf::from("/proc"), cgroup_parent: None, seen: Arc::default() }
    }
}

impl ProcSockets {
    /// With the cgroup of this Mill's containers, as [`crate::containers::RuntimeConfig`] has it.
    pub fn with_containers(cgroup_parent: &str) -> Self {
        Self { cgroup_parent: Some(cgroup_parent.to_owned()), ..Self::default() }
    }
}

impl Sockets for ProcSockets {
    async fn listeners(&self, ports: &Wanted) -> Result<Vec<Listener>, SocketsError> {
        let (this, ports) = (self.clone(), ports.clone());
        off_thread(move || this.look(&ports)).await
    }

    async fn taken(&self, ports: &Wanted) -> Result<BTreeSet<u16>, SocketsError> {
        let (this, ports) = (self.clone(), ports.clone());
        off_thread(move || Ok(this.rows(&ports)?.iter().map(|row| row.port).collect())).await
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SocketsError> + Send + 'static,
) -> Result<T, SocketsError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(SocketsError::Cancelled),
        },
    }
}

impl ProcSockets {
    fn rows(&self, wanted: &Wanted) -> Result<Vec<Row>, SocketsError> {
        let mut found = vec![];
        for (name, protocol) in TABLES {
            let path = self.proc.join(name);
            match fs::read_to_string(&path) {
                Ok(table) => found.extend(rows(&table, protocol).filter(|row| wanted.has(row.port))),
                // A kernel without IPv6 has no such tables.
                Err(error) if error.kind() == io::ErrorKind::NotFound && name.ends_with('6') => {}
                Err(source) => return Err(SocketsError::Read { path: path.display().to_string(), source }),
            }
        }
        Ok(found)
    }

    fn look(&self, wanted: &Wanted) -> Result<Vec<Listener>, SocketsError> {
        let rows = self.rows(wanted)?;
        let links = self.links(rows.iter().map(|row| row.inode).collect());
        let listener = |row: Row| Listener {
            port: row.port,
            protocol: row.protocol,
            address: row.address,
            process: links.get(&row.inode).and_then(|link| self.process(link)),
        };
        Ok(rows.into_iter().map(listener).collect())
    }

    /// For each socket a link `/proc/PID/fd/N` that leads to it.
    fn links(&self, mut sought: BTreeSet<u64>) -> BTreeMap<u64, PathBuf> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        seen.retain(|inode, link| !sought.contains(inode) || leads_to(link) == Some(*inode));
        sought.retain(|inode| !seen.contains_key(inode));
        for pid in fs::read_dir(&self.proc).into_iter().flatten().flatten() {
            if sought.is_empty() {
                break;
            }
            if pid.file_name().to_str().is_none_or(|name| name.parse::<u32>().is_err()) {
                continue;
            }
            // A process that ends meanwhile, or isn't ours to read, holds nothing that could be named.
            for fd in fs::read_dir(pid.path().join("fd")).into_iter().flatten().flatten() {
                if let Some(inode) = leads_to(&fd.path()).filter(|inode| sought.remove(inode)) {
                    seen.insert(inode, fd.path());
                }
            }
        }
        if seen.len() > REMEMBERED_MAX {
            seen.clear();
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&seen);
        seen
    }

    /// The process to which a link `/proc/PID/fd/N` belongs.
    fn process(&self, link: &Path) -> Option<Process> {
        let dir = link.parent()?.parent()?;
        let pid = dir.file_name()?.to_str()?.parse().ok()?;
        let name = fs::read_to_string(dir.join("comm")).ok()?.trim_end().to_owned();
        let cgroups = fs::read_to_string(dir.join("cgroup")).unwrap_or_default();
        let container = self.cgroup_parent.as_ref().and_then(|parent| container(parent, &cgroups));
        Some(Process { pid, name, container })
    }
}

fn leads_to(link: &Path) -> Option<u64> {
    let target = fs::read_link(link).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The container in a `/proc/PID/cgroup`: of v1, of v2 and of both at once, at any depth (a nested machine has
/// its own cgroups above Mill's), and also from within sub-groups that the container made.
fn container(parent: &str, cgroups: &str) -> Option<ContainerName> {
    let below = format!("/{}/", parent.trim_matches('/'));
    cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(|path| {
        let (_, name) = path.split_once(&below)?;
        name.split('/').next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use mill_model::ports::Protocol;

    use super::*;

    fn only(port: u16) -> Wanted {
        Wanted::Ports([port].into())
    }

    #[tokio::test]
    async fn a_socket_of_this_process_is_found_with_its_holder_and_only_while_it_listens() {
        let sockets = ProcSockets::default();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp6 = TcpListener::bind("[::1]:0").unwrap();
        let me = std::process::id();
        for (at, protocol) in [
            (tcp.local_addr().unwrap(), Protocol::Tcp),
            (tcp6.local_addr().unwrap(), Protocol::Tcp),
            (udp.local_addr().unwrap(), Protocol::Udp),
        ] {
            for round in ["searched", "remembered"] {
                let found = sockets.listeners(&only(at.port())).await.unwrap();
                let mine = found.iter().find(|one| one.address == at.ip() && one.protocol == protocol);
                let process = mine.and_then(|one| one.process.clone()).expect(round);
                assert_eq!((process.pid, process.container), (me, None));
                assert!(!process.name.is_empty());
            }
        }
        let port = tcp.local_addr().unwrap().port();
        assert_eq!(sockets.taken(&Wanted::Range(port, port)).await.unwrap(), [port].into());
        drop(tcp);
        assert_eq!(sockets.taken(&only(port)).await.unwrap(), BTreeSet::new());
        assert!(sockets.listeners(&only(port)).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_remembered_link_that_leads_elsewhere_now_is_not_believed() {
        let sockets = ProcSockets::default();
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        sockets.listeners(&only(port)).await.unwrap();
        let wrong = PathBuf::from("/proc/self/fd/0");
        sockets.seen.lock().unwrap().values_mut().for_each(|link| link.clone_from(&wrong));
        let found = sockets.listeners(&only(port)).await.unwrap();
        assert_eq!(found[0].process.as_ref().unwrap().pid, std::process::id());
    }

    #[test]
    fn a_container_is_known_by_its_cgroup_on_every_kind_of_host() {
        let web = |incarnation: u32| Some(format!("web-7k2f.{incarnation}").parse().unwrap());
        for (cgroups, expected) in [
            ("0::/millions/web-7k2f.3\n", None),
            ("12:pids:/mill/web-7k2f.3\n0::/\n", web(3)),
            ("4:memory:/other/b2d7d\n0::/mill/web-7k2f.3\n", web(3)),
            ("0::/nested.slice/mill/web-7k2f.12/init.scope\n", web(12)),
            ("0::/mill/web-7k2f\n", None),
            ("0::/mill/web-7k2f.x\n", None),
            ("0::/system.slice/mill.service\n", None),
            ("0::/mill\n", None),
            ("garbage", None),
        ] {
            assert_eq!(container("/mill", cgroups), expected, "{cgroups}");
            let elsewhere = cgroups.replace("/mill/", "/mill/one.slice/");
            assert_eq!(container("/mill/one.slice", &elsewhere), expected, "{elsewhere}");
        }
    }
}
