//! Who listens where on this machine.
//!
//! # Why
//! Without the kernel's port mapping (product.md §4) a program may ignore `PORT` and bind what it always binds.
//! Then its check must look there, and only there if *it* is the one that listens: a replica beside it may hold
//! that very port. And a program that dies because its port is taken must be told who has it.

mod fake;
mod proc;
mod tables;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;

use mill_model::ports::Protocol;
use thiserror::Error;

use crate::containers::ContainerName;

pub use fake::FakeSockets;
pub use proc::ProcSockets;

/// The machine's listening sockets.
pub trait Sockets: Clone + Send + Sync + 'static {
    /// Who listens on which of these ports. Looking for one port is cheap; for many allocs at once, ask once.
    fn listeners(&self, ports: &Wanted) -> impl Future<Output = Result<Vec<Listener>, SocketsError>> + Send;

    /// Ports within these on which anyone listens, without asking who. Cheaper yet.
    fn taken(&self, ports: &Wanted) -> impl Future<Output = Result<BTreeSet<u16>, SocketsError>> + Send;
}

/// Which ports are asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// These.
    Ports(BTreeSet<u16>),
    /// From the first to the last.
    Range(u16, u16),
}

impl Wanted {
    /// Whether `port` is asked about.
    pub fn has(&self, port: u16) -> bool {
        match self {
            Self::Ports(ports) => ports.contains(&port),
            Self::Range(first, last) => (*first..=*last).contains(&port),
        }
    }
}

/// A listening TCP socket, or a bound UDP one that isn't connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its port.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where; unspecified means on all addresses.
    pub address: IpAddr,
    /// A process that holds it; `None`: it couldn't be found (in another PID namespace, or gone meanwhile).
    pub process: Option<Process>,
}

/// A process that holds a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its name, as the kernel has it: at most fifteen characters.
    pub name: String,
    /// The container it belongs to, by its cgroup.
    pub container: Option<ContainerName>,
}

impl Listener {
    /// Whether a process of this container holds it.
    pub fn is_of(&self, container: &ContainerName) -> bool {
        self.process.as_ref().is_some_and(|process| process.container.as_ref() == Some(container))
    }
}

impl fmt::Display for Listener {
    /// Who holds it, for people: an alloc by its id, a process by name and pid.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some(Process { container: Some(name), .. }) => write!(f, "{}", name.alloc),
            Some(Process { name, pid, .. }) => write!(f, "process `{name}` (pid {pid})"),
            None => f.write_str("a process that can't be seen from here"),
        }
    }
}

/// Why it can't be said who listens.
#[derive(Debug, Error)]
pub enum SocketsError {
    /// The kernel's tables can't be read.
    #[error("failed to read {path}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The work was cancelled: the runtime shuts down.
    #[error("looking for listeners was cancelled")]
    Cancelled,
}
