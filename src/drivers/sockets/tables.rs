//! The kernel's tables of sockets, `/proc/net/{tcp,tcp6,udp,udp6}` (proc_net(5)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mill_model::ports::Protocol;

/// A line of a table: a socket that takes what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) protocol: Protocol,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// What `/proc/PID/fd/*` calls it: `socket:[INODE]`.
    pub(super) inode: u64,
}

/// States of `include/net/tcp_states.h`: a TCP socket that listens; a UDP socket without a peer is "closed".
const LISTEN: &str = "0A";
const CLOSED: &str = "07";

/// The tables, with what is spoken on their sockets.
pub(super) const TABLES: [(&str, Protocol); 4] = [
    ("net/tcp", Protocol::Tcp),
    ("net/tcp6", Protocol::Tcp),
    ("net/udp", Protocol::Udp),
    ("net/udp6", Protocol::Udp),
];

/// The listening sockets in a table. A line that isn't as expected is skipped: a later kernel may add some.
pub(super) fn rows(table: &str, protocol: Protocol) -> impl Iterator<Item = Row> {
    table.lines().skip(1).filter_map(move |line| row(line, protocol))
}

fn row(line: &str, protocol: Protocol) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let wanted = if protocol == Protocol::Tcp { LISTEN } else { CLOSED };
    if state != wanted {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok()?;
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Row { protocol, address: address_of(address)?, port, inode })
}

/// Addresses are printed as 32-bit words in the machine's byte order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes);
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(hex)?).into());
    }
    let mut bytes = [0; 16];
    for (index, chunk) in bytes.chunks_mut(4).enumerate() {
        chunk.copy_from_slice(&word(hex.get(index * 8..index * 8 + 8)?)?);
    }
    // A socket that speaks both and is bound to one address of IPv4.
    (hex.len() == 32).then(|| Ipv6Addr::from(bytes).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1661 1 00000000cc07dde6 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1700 1 00000000cc07dde6 100 0 0 10 0
   2: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 1800 1 00000000cc07dde6 20 4 30 10 -1
  broken line
";
    const UDP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1234: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 42 2 0000000000000000 0
";

    #[cfg(target_endian = "little")]
    #[test]
    fn listening_sockets_are_read_and_connections_are_not() {
        let found: Vec<_> =
            rows(TCP, Protocol::Tcp).map(|row| (row.address.to_string(), row.port, row.inode)).collect();
        assert_eq!(found, [("127.0.0.1".into(), 8080, 1661), ("0.0.0.0".into(), 80, 1700)]);
        let found: Vec<_> =
            rows(UDP6, Protocol::Udp).map(|row| (row.address.to_string(), row.port, row.inode)).collect();
        assert_eq!(found, [("::1".into(), 53, 42)]);
        assert_eq!(rows(UDP6, Protocol::Tcp).count(), 0);
        let mapped = UDP6.replace("00000000000000000000000001000000", "0000000000000000FFFF00000100007F");
        let found: Vec<_> = rows(&mapped, Protocol::Udp).map(|row| row.address.to_string()).collect();
        assert_eq!(found, ["127.0.0.1"], "an address of IPv4, whoever speaks it");
    }
}
