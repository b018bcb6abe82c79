//! Mapped ports in the kernel: where a container's program listens, and what it reaches on its own machine
//! (product.md §4).
//!
//! # Why
//!
//! - **By cgroup, at the system call.** Small programs (`mill.bpf.c`) are attached to the cgroup of all of this Mill's
//!   containers and rewrite the addresses that programs bind, connect to, send to and ask for. No packet is touched. What
//!   is so for a container is an *entry*, found by the id of its cgroup, which the kernel never gives twice.
//! - **Nothing hangs on a process.** Links and maps are pinned in a folder of the BPF file system that is named after the
//!   cgroup: several Mills live beside each other, and a daemon that dies, or isn't there, opens no gap.
//! - **Another version takes over without one.** A version's links are in a folder named after its programs. New ones are
//!   attached beside the old and the old are taken away then; every rule leaves alone what it has made of an address, so
//!   both may be asked. Maps are shared by all versions that agree on their layout, which their names begin with; a version
//!   with another layout has to fill its maps from the old ones before it attaches.
//! - **What should be is asked of the containers.** Each keeps with its runtime how its ports were mapped when it was
//!   started ([`Containers::mapped`]). Entries that are lost are put back from there; one without any, from a time when
//!   the kernel couldn't, stays as it was started, and is only refused what is refused to all.
//!
//! # What can't be had
//!
//! - A program that binds an undeclared port as the *source* of connections to other machines: they can't come from its
//!   private address. Port 0 can be bound so.
//! - A datagram from a socket that isn't connected and speaks IPv6, to `::1`, where the program listens in IPv4 or both:
//!   the kernel lets it change to no other family. It is refused; a connected one is sent.
//! - What a multipath TCP socket's other end was called: to one that connected to a loopback address it is `127.0.0.1`
//!   or `::1`, whichever of them was asked for. (Parts are what is bound and connected, and bear what is known.)
//! - Protocols beside TCP (multipath too) and UDP are neither mapped nor refused.
//!
//! [`Containers::mapped`]: crate::containers::Containers::mapped

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use mill_model::ports::{Loopback, MappedPort, Protocol};
use thiserror::Error;

use crate::containers::ContainerName;

pub use fake::FakeDatapath;
pub use kernel::KernelDatapath;

mod fake;
mod kernel;
mod layout;
mod loopback;
mod maps;
mod pins;
mod reserved;

/// What maps ports.
pub trait Datapath: Clone + Send + Sync + 'static {
    /// How ports are mapped, for as long as this process lives.
    fn mode(&self) -> Mode;

    /// Says where this node is, before anything is mapped.
    fn settle(&self, node: NodeNet);

    /// Puts right what isn't as it should be for all containers: programs, addresses, reserved ports. Answers what that
    /// was; nothing, if nothing was missing.
    fn keep(&self) -> impl Future<Output = Result<Vec<Mended>, DatapathError>> + Send;

    /// Maps a container's ports from now on. Its cgroup has to be there, and nothing running in it yet, or its entry is
    /// one that was lost.
    fn put(
        &self,
        name: &ContainerName,
        mapping: &Mapping,
    ) -> impl Future<Output = Result<(), DatapathError>> + Send;

    /// Takes a container's entry away. None there is as good.
    fn remove(&self, name: &ContainerName) -> impl Future<Output = Result<(), DatapathError>> + Send;

    /// Every entry there is.
    fn entries(&self) -> impl Future<Output = Result<BTreeMap<ContainerName, Entry>, DatapathError>> + Send;
}

/// How ports are mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// By the kernel: programs bind what they always bind.
    Kernel,
    /// Not at all: programs must obey `PORT`.
    Fallback {
        /// Why the kernel can't.
        reason: String,
    },
}

impl Mode {
    /// Whether the kernel maps ports.
    pub const fn is_kernel(&self) -> bool {
        matches!(self, Self::Kernel)
    }
}

/// What is so for all containers of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeNet {
    /// Where mapped ports are reached.
    pub address: IpAddr,
    /// Mill's own ports.
    pub own: Vec<NonZeroU16>,
}

/// How one container's ports are mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Where undeclared ports go.
    pub loopback: Loopback,
    /// Where declared ports go.
    pub ports: BTreeSet<Pair>,
}

/// A declared port and what stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// What is spoken there.
    pub protocol: Protocol,
    /// What the program binds.
    pub declared: NonZeroU16,
    /// Where it is bound instead.
    pub mapped: NonZeroU16,
}

impl Mapping {
    /// That of an alloc with these ports.
    pub fn new(loopback: Loopback, ports: &[MappedPort]) -> Self {
        let pair = |port: &MappedPort| Pair {
            protocol: port.declared.protocol,
            declared: port.declared.number,
            mapped: port.mapped,
        };
        Self { loopback, ports: ports.iter().map(pair).collect() }
    }
}

/// A text that is no mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a mapping is a number and ports: `17 tcp/80=20001`")]
pub struct MappingError;

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.loopback)?;
        self.ports
            .iter()
            .try_for_each(|pair| write!(f, " {}/{}={}", pair.protocol, pair.declared, pair.mapped))
    }
}

impl FromStr for Mapping {
    type Err = MappingError;
    fn from_str(text: &str) -> Result<Self, MappingError> {
        let mut words = text.split(' ');
        let loopback = words.next().and_then(|word| word.parse().ok()).ok_or(MappingError)?;
        let ports = words.map(pair).collect::<Option<_>>().ok_or(MappingError)?;
        Ok(Self { loopback: Loopback(loopback), ports })
    }
}

fn pair(word: &str) -> Option<Pair> {
    let (protocol, numbers) = word.split_once('/')?;
    let (declared, mapped) = numbers.split_once('=')?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some(Pair { protocol, declared: declared.parse().ok()?, mapped: mapped.parse().ok()? })
}

/// An entry that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// How the container's ports are mapped.
    pub mapping: Mapping,
    /// Whether it is that of the cgroup that the container has now.
    pub is_current: bool,
}

/// Something that had to be put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mended {
    /// Programs were attached: for the first time, after a change of version, or because some were gone.
    Programs,
    /// What they know of the node was written.
    Node,
    /// An address was put on the loopback device.
    Address(Ipv6Addr),
    /// An address that belongs to nothing was taken off it.
    Stray(Ipv6Addr),
    /// The pool's range was reserved.
    Reserved,
}

impl fmt::Display for Mended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Programs => f.write_str("programs attached"),
            Self::Node => f.write_str("the node's addresses written"),
            Self::Address(address) => write!(f, "{address} put on lo"),
            Self::Stray(address) => write!(f, "{address} taken off lo"),
            Self::Reserved => f.write_str("the pool's ports reserved"),
        }
    }
}

/// Why ports can't be mapped.
#[derive(Debug, Clone, Error)]
pub enum DatapathError {
    /// Cgroups of the second version are what programs are attached to.
    #[error("no cgroup v2 hierarchy is mounted")]
    NoHierarchy,
    /// A cgroup can't be made or looked at.
    #[error("the cgroup {path} can't be used")]
    Cgroup {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// The file system that keeps what no process holds.
    #[error("{path} can't be used to keep BPF programs")]
    Pins {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// The kernel, or what it says of itself, doesn't fit.
    #[error("the kernel takes no such BPF programs or maps")]
    Load {
        /// The loader's word.
        source: Arc<aya::EbpfError>,
    },
    /// One program is refused.
    #[error("the kernel doesn't take the BPF program `{name}`")]
    Program {
        /// Which.
        name: &'static str,
        /// The loader's word.
        source: Arc<aya::programs::ProgramError>,
    },
    /// A program is attached, and can't be kept so.
    #[error("the BPF program `{name}` can't be pinned")]
    Pin {
        /// Which.
        name: &'static str,
        /// The loader's word.
        source: Arc<aya::pin::PinError>,
    },
    /// The object isn't what it should be.
    #[error("the BPF object has no program `{name}`")]
    Missing {
        /// Which.
        name: &'static str,
    },
    /// A map can't be read or written.
    #[error("the BPF map `{name}` can't be used")]
    Map {
        /// Which.
        name: &'static str,
        /// The loader's word.
        source: Arc<aya::maps::MapError>,
    },
    /// It was never said where the node is.
    #[error("this node has no address yet")]
    NotSettled,
    /// A container without a cgroup.
    #[error("`{name}` has no cgroup")]
    NoCgroup {
        /// Which.
        name: ContainerName,
    },
    /// The loopback device doesn't take an address.
    #[error("{address} can't be put on lo, or taken off it")]
    Address {
        /// Which.
        address: Ipv6Addr,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// The addresses that there are, or the reserved ports, can't be read or written.
    #[error("{path} can't be used")]
    System {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// The process ends before the answer is there.
    #[error("interrupted")]
    Interrupted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_reads_back_what_it_prints_and_nothing_else_is_one() {
        let number = |number| NonZeroU16::new(number).unwrap();
        let pair = |protocol, declared, mapped| Pair {
            protocol,
            declared: number(declared),
            mapped: number(mapped),
        };
        let ports = [pair(Protocol::Tcp, 80, 20_001), pair(Protocol::Udp, 53, 20_002)].into();
        let mapping = Mapping { loopback: Loopback(number(17)), ports };
        assert_eq!(mapping.to_string(), "17 tcp/80=20001 udp/53=20002");
        assert_eq!(mapping.to_string().parse(), Ok(mapping));
        assert_eq!("17".parse(), Ok(Mapping { loopback: Loopback(number(17)), ports: BTreeSet::new() }));
        for bad in ["", "0", "x tcp/80=20001", "17 tcp/80", "17 icmp/1=2", "17 tcp/0=20001", "17  tcp/1=2"] {
            assert_eq!(bad.parse::<Mapping>(), Err(MappingError), "{bad}");
        }
    }
}
