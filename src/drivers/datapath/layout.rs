//! What the programs and this crate agree on: maps, keys and values, byte by byte, as `mill.bpf.c` has them.
//!
//! A change of any of these is another layout: [`VERSION`] counts up, so that maps of another name are made.

use std::net::{Ipv4Addr, Ipv6Addr};

use mill_model::ports::{Loopback, Protocol};

use crate::containers::ContainerName;

/// What the names of pinned maps begin with.
pub(super) const VERSION: &str = "v1";

/// The maps.
pub(super) const NODE: &str = "node";
pub(super) const ENTRIES: &str = "entries";
pub(super) const PORTS: &str = "ports";
pub(super) const MAPS: [&str; 5] = [NODE, ENTRIES, PORTS, "bound", "beliefs"];

/// The programs, each named like what it is attached to.
pub(super) const PROGRAMS: [&str; 13] = [
    "bind4",
    "bind6",
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
    "recvmsg4",
    "recvmsg6",
    "getpeername4",
    "getpeername6",
    "getsockname4",
    "getsockname6",
    "listens",
];

/// Mill's own ports that programs know of, at most.
pub(super) const OWN_PORTS: usize = 6;

/// Bytes of a container's name: an alloc's id and a number.
const NAME_BYTES: usize = 96;

/// Bytes of each value and key.
pub(super) type NodeBytes = [u8; 64];
pub(super) type EntryBytes = [u8; 32 + NAME_BYTES];
pub(super) type PortBytes = [u8; 16];
pub(super) type NumberBytes = [u8; 8];

/// `struct node`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) parent: u64,
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
    pub(super) net: Net,
    pub(super) pool: (u16, u16),
    pub(super) own: [u16; OWN_PORTS],
}

impl Node {
    pub(super) fn bytes(&self) -> NodeBytes {
        let own = self.own.map(u16::to_ne_bytes).concat();
        joined(&[
            &self.parent.to_ne_bytes(),
            &self.v4.to_ipv6_mapped().octets(),
            &self.v6.octets(),
            &self.net.0,
            &self.pool.0.to_ne_bytes(),
            &self.pool.1.to_ne_bytes(),
            &own,
        ])
    }
}

/// The addresses that a Mill has for its containers alone: by a number of its own, so that two on one machine mostly have
/// different ones. Where they don't, undeclared ports of the one's containers may be taken by the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Net([u8; 8]);

impl Net {
    /// That of the Mill whose containers' cgroups are below `parent`.
    pub(super) fn of(parent: &str) -> Self {
        let [_, a, b, c] = crc32fast::hash(parent.as_bytes()).to_be_bytes();
        // fd00::/8 is for everyone's own use (RFC 4193); the rest spells `mill`.
        Self([0xfd, b'm', b'i', b'l', b'l', a, b, c])
    }

    /// Its node's address, on which sockets that speak IPv6 alone are reached.
    pub(super) fn node(self) -> Ipv6Addr {
        self.at([0, 0, 0, 1])
    }

    /// An alloc's private addresses. That of IPv4 is in 127.64.0.0/10, which needs no setting up.
    pub(super) fn private(self, loopback: Loopback) -> (Ipv4Addr, Ipv6Addr) {
        let [high, low] = loopback.0.get().to_be_bytes();
        let octets = [127, 64 | (self.0[7] & 0x3f), high, low];
        (octets.into(), self.at(octets))
    }

    /// The number of an alloc by its private address.
    pub(super) fn loopback(self, v4: Ipv4Addr) -> Option<Loopback> {
        let [_, _, high, low] = v4.octets();
        std::num::NonZeroU16::new(u16::from_be_bytes([high, low])).map(Loopback)
    }

    /// Whether an address is one of them.
    pub(super) fn has(self, address: Ipv6Addr) -> bool {
        address.octets().starts_with(&self.0)
    }

    fn at(self, last: [u8; 4]) -> Ipv6Addr {
        Ipv6Addr::from(joined::<16>(&[&self.0, &[0; 4], &last]))
    }
}

/// `struct entry`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryValue {
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
    pub(super) name: ContainerName,
}

impl EntryValue {
    pub(super) fn bytes(&self) -> EntryBytes {
        let name = self.name.to_string();
        joined(&[&self.v4.to_ipv6_mapped().octets(), &self.v6.octets(), name.as_bytes()])
    }

    pub(super) fn read(bytes: &EntryBytes) -> Option<Self> {
        let v4 = Ipv6Addr::from(joined::<16>(&[bytes.get(..16)?])).to_ipv4_mapped()?;
        let v6 = Ipv6Addr::from(joined::<16>(&[bytes.get(16..32)?]));
        let name = bytes.get(32..)?.split(|byte| *byte == 0).next()?;
        Some(Self { v4, v6, name: str::from_utf8(name).ok()?.parse().ok()? })
    }
}

/// What a number is: `enum { DECLARED, MAPPED, TAKEN }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Declared = 0,
    Mapped = 1,
    Taken = 2,
}

/// `struct port`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PortKey {
    pub(super) cgroup: u64,
    pub(super) number: u16,
    pub(super) protocol: Protocol,
    pub(super) kind: Kind,
}

impl PortKey {
    pub(super) fn bytes(&self) -> PortBytes {
        let protocol = match self.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        };
        joined(&[&self.cgroup.to_ne_bytes(), &self.number.to_ne_bytes(), &[protocol, self.kind as u8]])
    }

    /// A key, if it is of a number that a program binds.
    pub(super) fn declared(bytes: &PortBytes) -> Option<Self> {
        let protocol = match bytes.get(10..12)? {
            [6, 0] => Protocol::Tcp,
            [17, 0] => Protocol::Udp,
            _ => return None,
        };
        let cgroup = u64::from_ne_bytes(joined(&[bytes.get(..8)?]));
        let number = u16::from_ne_bytes(joined(&[bytes.get(8..10)?]));
        Some(Self { cgroup, number, protocol, kind: Kind::Declared })
    }
}

/// `struct mapping`, as it is before the program has bound anything.
pub(super) fn number(number: u16) -> NumberBytes {
    joined(&[&u32::from(number).to_ne_bytes()])
}

/// The number in a `struct mapping`.
pub(super) fn number_in(bytes: &NumberBytes) -> u16 {
    let [a, b, c, d, ..] = *bytes;
    u16::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or_default()
}

/// One after the other; what is left over is zero, and what is too much is cut.
fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut whole = [0; N];
    let bytes = parts.iter().copied().flatten();
    whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(number: u16) -> Loopback {
        Loopback(number.try_into().unwrap())
    }

    #[test]
    fn private_addresses_are_loopback_and_lie_apart_for_each_alloc_and_each_mill() {
        let (ours, theirs) = (Net::of("/mill"), Net::of("/mill-e2e"));
        let (v4, v6) = ours.private(loopback(258));
        assert!(v4.is_loopback() && v4.octets()[1] & 0xc0 == 64, "{v4}");
        assert_eq!(v4.octets()[2..], [1, 2]);
        assert_eq!(v6.octets()[12..], v4.octets());
        assert!(ours.has(v6) && ours.has(ours.node()) && !theirs.has(v6), "{v6}");
        assert!(v6.to_string().starts_with("fd6d:696c:6c"), "{v6}");
        assert_ne!(ours.private(loopback(1)), ours.private(loopback(2)));
        assert_ne!(ours.node(), v6);
        assert_eq!(ours.loopback(v4), Some(loopback(258)));
    }

    #[test]
    fn entries_and_ports_read_back_what_they_write() {
        let (v4, v6) = Net::of("/mill").private(loopback(7));
        let entry = EntryValue { v4, v6, name: "web-7k2f.3".parse().unwrap() };
        assert_eq!(EntryValue::read(&entry.bytes()), Some(entry));
        let key = |kind| PortKey { cgroup: 1 << 40, number: 80, protocol: Protocol::Udp, kind };
        assert_eq!(PortKey::declared(&key(Kind::Declared).bytes()), Some(key(Kind::Declared)));
        assert_eq!(PortKey::declared(&key(Kind::Mapped).bytes()), None);
        assert_eq!(number_in(&number(20_001)), 20_001);
    }

    #[test]
    fn the_longest_name_has_room() {
        let alloc = format!("{}-2222", "a".repeat(mill_model::limits::NAME_LENGTH_MAX));
        assert!(format!("{alloc}.{}", u64::MAX).len() < NAME_BYTES);
    }
}
