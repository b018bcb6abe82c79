//! IPv6 addresses on the loopback device, by rtnetlink(7): IPv4 has a whole network there, IPv6 has one address.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::Ipv6Addr;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// Where the kernel tells of all addresses: `ADDRESS INDEX PREFIX SCOPE FLAGS DEVICE`.
pub(super) const TABLE: &str = "/proc/net/if_inet6";

/// The loopback device is the first of its network namespace.
const LO: u32 = 1;

/// Kinds of messages (linux/rtnetlink.h) and what is wanted with them (linux/netlink.h).
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const REQUEST_ACKNOWLEDGED: u16 = 1 | 4;
const CREATE_EXCLUSIVELY: u16 = 0x200 | 0x400;

/// Kinds of attributes (linux/if_addr.h).
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;

/// Bytes of a message: its header, `struct ifaddrmsg`, two attributes.
const BYTES: usize = 16 + 8 + 2 * 20;

/// Puts an address on the device; whether it wasn't there. It needs no time to become usable: nobody is asked for
/// duplicates there.
pub(super) fn add(address: Ipv6Addr) -> io::Result<bool> {
    match ask(NEW_ADDRESS, REQUEST_ACKNOWLEDGED | CREATE_EXCLUSIVELY, address) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes an address off the device. None there is as good.
pub(super) fn remove(address: Ipv6Addr) -> io::Result<()> {
    match ask(DELETE_ADDRESS, REQUEST_ACKNOWLEDGED, address) {
        Ok(()) | Err(Errno::ADDRNOTAVAIL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// All addresses of the device; `None`: this kernel speaks no IPv6, or was told not to.
pub(super) fn all() -> io::Result<Option<BTreeSet<Ipv6Addr>>> {
    match fs::read_to_string(TABLE) {
        Ok(table) => {
            let found: BTreeSet<Ipv6Addr> = table.lines().filter_map(of_lo).collect();
            Ok(Some(found).filter(|found| !found.is_empty()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn of_lo(line: &str) -> Option<Ipv6Addr> {
    let mut words = line.split_ascii_whitespace();
    let address = u128::from_str_radix(words.next()?, 16).ok()?;
    (words.next_back()? == "lo").then(|| Ipv6Addr::from(address))
}

fn ask(kind: u16, flags: u16, address: Ipv6Addr) -> Result<(), Errno> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, &message(kind, flags, address), SendFlags::empty())?;
    let mut answer = [0; 256];
    let (bytes, _) = recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
    // A header, then the number of an error, negative: `struct nlmsgerr`.
    let error = answer.get(..bytes).and_then(|answer| answer.get(16..20)?.try_into().ok());
    match error.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw_os_error(error.saturating_neg())),
        None => Err(Errno::BADMSG),
    }
}

fn message(kind: u16, flags: u16, address: Ipv6Addr) -> Vec<u8> {
    let mut message = Vec::with_capacity(BYTES);
    let length = u32::try_from(BYTES).unwrap_or_default();
    let sequence_and_sender = [0; 8];
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence_and_sender);
    // AF_INET6, a single address, no flags, of global scope.
    message.extend([10, 128, 0, 0]);
    message.extend(LO.to_ne_bytes());
    for attribute in [LOCAL, ADDRESS] {
        message.extend(20_u16.to_ne_bytes());
        message.extend(attribute.to_ne_bytes());
        message.extend(address.octets());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_loopback_device_count() {
        let lines = [
            ("00000000000000000000000000000001 01 80 10 80       lo", Some("::1")),
            ("fd6d696c6c0102030000000000000001 01 80 00 80       lo", Some("fd6d:696c:6c01:203::1")),
            ("fe80000000000000021122fffe334455 02 40 20 80     eth0", None),
            ("nonsense", None),
        ];
        for (line, wanted) in lines {
            assert_eq!(of_lo(line), wanted.map(|text| text.parse().unwrap()), "{line}");
        }
    }

    #[test]
    fn a_message_is_as_long_as_it_says() {
        let message = message(NEW_ADDRESS, REQUEST_ACKNOWLEDGED, Ipv6Addr::LOCALHOST);
        assert_eq!(message.len(), BYTES);
        assert_eq!(message.first_chunk(), Some(&64_u32.to_ne_bytes()));
    }
}
