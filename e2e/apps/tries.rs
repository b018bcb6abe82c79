//! What a program can be told to try with sockets, and what came of it.

use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Mutex;

/// What was bound stays bound.
static BOUND: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());

/// The answer to `bind/ADDRESS`, `connect/ADDRESS` or `echo/ADDRESS`; `None`: that is nothing to try.
pub(crate) fn answer(path: &str) -> Option<String> {
    let (what, address) = path.split_once('/')?;
    let tried = match what {
        "bind" => bind(address),
        "connect" => TcpStream::connect(address).and_then(|stream| stream.peer_addr()),
        "echo" => echo(address),
        _ => return None,
    };
    Some(match tried {
        Ok(address) => address.to_string(),
        Err(error) => format!("{:?}", error.kind()),
    })
}

fn bind(address: &str) -> io::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let local = listener.local_addr();
    BOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(listener);
    local
}

/// Sends a datagram; where its echo came from.
fn echo(address: &str) -> io::Result<std::net::SocketAddr> {
    let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(std::time::Duration::from_secs(2)))?;
    socket.send_to(b"echo", address)?;
    socket.recv_from(&mut [0; 16]).map(|(_, from)| from)
}
