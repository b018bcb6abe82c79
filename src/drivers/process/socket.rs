//! A Unix socket that only root reaches, from its first moment on.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{Mode, fchmod};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen as start_listening,
    socket_with,
};
use tokio::net::UnixListener;

use super::{ProcessError, failed};

/// Connections that wait to be accepted. Root's own tools: a handful.
const BACKLOG: i32 = 64;

/// Listens at `path`, mode 0600; what an earlier process left there is removed, unless one answers. Whoever calls
/// holds a [`super::Lock`] that says there is no other.
///
/// # Errors
/// The kernel's, and a path of more than 107 bytes.
pub fn listen(path: &Path) -> Result<UnixListener, ProcessError> {
    bound(path).map_err(failed("listen at", path))
}

/// The process that listens at `path`, as the kernel noted it (`SO_PEERCRED`, unix(7)); `None`: nobody does, or it
/// has hung and its queue of connections is full.
pub fn listener(path: &Path) -> Option<u32> {
    listens(path)?
}

/// As [`listener`], and `Some(None)` where somebody listens who can't be asked who it is, since it has hung.
pub(crate) fn listens(path: &Path) -> Option<Option<u32>> {
    match connected(path) {
        Ok(socket) => Some(
            rustix::net::sockopt::socket_peercred(socket)
                .ok()
                .and_then(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()).ok()),
        ),
        Err(full) if full.kind() == io::ErrorKind::WouldBlock => Some(None),
        Err(_) => None,
    }
}

/// A connection to whoever listens at `path`. Never waits: one whose queue is full is [`io::ErrorKind::WouldBlock`]
/// (unix(7): a blocking one would wait until it accepts, which may be never).
fn connected(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket()?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

fn bound(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    // A lock is one home's, a path can be given to two.
    if listens(path).is_some() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = socket()?;
    // Before there is a name: a bound socket takes its mode from here (unix(7)), and nobody gets in between.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    start_listening(&socket, BACKLOG)?;
    UnixListener::from_std(socket.into())
}
