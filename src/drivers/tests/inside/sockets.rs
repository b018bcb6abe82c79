//! A program that does with sockets what it reads: one order a line, one answer each.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{
    Timeout, set_ipv6_v6only, set_socket_reuseaddr, set_socket_reuseport, set_socket_timeout,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, accept, bind, connect,
    getpeername, getsockname, ipproto, listen, recvfrom, sendto, socket_with,
};

use super::ANSWER;

/// What takes longer isn't going to come.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads orders until there are none:
///
/// - `bind NAME KIND ADDRESS`, where a kind is `tcp`, `mptcp`, `udp`, with `only` (IPv6 alone) or `shared` (its port)
///   after a comma: binds and listens; where the socket believes itself to be
/// - `socket NAME KIND ADDRESS`: makes one of the address' family; `listen NAME`
/// - `connect NAME KIND ADDRESS`: where it believes the other end to be
/// - `accept NAME AS`: where it believes its own end to be
/// - `send NAME ADDRESS`, `receive NAME`: a datagram; where it came from
/// - `local NAME`, `peer NAME`, `close NAME`
pub(super) fn obey() {
    let (mut sockets, mut output) = (BTreeMap::new(), std::io::stdout());
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match carry_out(&mut sockets, &words) {
            Ok(answer) => answer,
            Err(errno) => format!("{:?}", std::io::Error::from(errno).kind()),
        };
        writeln!(output, "\n{ANSWER}{answer}").unwrap();
    }
}

fn carry_out(sockets: &mut BTreeMap<String, OwnedFd>, words: &[&str]) -> Result<String, Errno> {
    match words {
        ["bind", name, kind, address] => {
            let address: SocketAddr = address.parse().unwrap();
            let socket = make(kind, address)?;
            bind(&socket, &address)?;
            if !kind.starts_with("udp") {
                listen(&socket, 8)?;
            }
            let local = text(getsockname(&socket)?);
            sockets.insert((*name).to_owned(), socket);
            Ok(local)
        }
        ["socket", name, kind, address] => {
            sockets.insert((*name).to_owned(), make(kind, address.parse().unwrap())?);
            Ok("made".to_owned())
        }
        ["listen", name] => {
            listen(&sockets[*name], 8)?;
            Ok(text(getsockname(&sockets[*name])?))
        }
        ["connect", name, kind, address] => {
            let address: SocketAddr = address.parse().unwrap();
            let socket = make(kind, address)?;
            connect(&socket, &address)?;
            let peer = getpeername(&socket)?.unwrap();
            sockets.insert((*name).to_owned(), socket);
            Ok(text(peer))
        }
        ["accept", name, of] => {
            let socket = accept(&sockets[*name])?;
            let local = text(getsockname(&socket)?);
            sockets.insert((*of).to_owned(), socket);
            Ok(local)
        }
        ["send", name, address] => {
            let address: SocketAddr = address.parse().unwrap();
            sendto(&sockets[*name], b"hello", SendFlags::empty(), &address)?;
            Ok("sent".to_owned())
        }
        ["receive", name] => {
            let mut buffer = [0; 16];
            let (_, _, from) = recvfrom(&sockets[*name], buffer.as_mut_slice(), RecvFlags::empty())?;
            Ok(text(from.unwrap()))
        }
        ["local", name] => Ok(text(getsockname(&sockets[*name])?)),
        ["peer", name] => Ok(text(getpeername(&sockets[*name])?.unwrap())),
        ["close", name] => {
            sockets.remove(*name).unwrap();
            Ok("closed".to_owned())
        }
        _ => panic!("no such order: {words:?}"),
    }
}

fn make(kind: &str, address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, option) = kind.split_once(',').unwrap_or((kind, ""));
    let (of, protocol) = match kind {
        "tcp" => (SocketType::STREAM, ipproto::TCP),
        "mptcp" => (SocketType::STREAM, ipproto::MPTCP),
        "udp" => (SocketType::DGRAM, ipproto::UDP),
        _ => panic!("no such kind: {kind}"),
    };
    let socket = socket_with(family, of, SocketFlags::CLOEXEC, Some(protocol))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    if family == AddressFamily::INET6 {
        set_ipv6_v6only(&socket, option == "only")?;
    }
    if of == SocketType::STREAM {
        // As servers do: connections that linger are no other listener.
        set_socket_reuseaddr(&socket, true)?;
    }
    if option == "shared" {
        set_socket_reuseport(&socket, true)?;
    }
    Ok(socket)
}

fn text(address: SocketAddrAny) -> String {
    SocketAddr::try_from(address).unwrap().to_string()
}
