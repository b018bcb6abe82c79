//! A Unix socket that only root reaches, from its first moment on.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{Mode, fchmod};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen as start_listening, socket_with,
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

/// The process that listens at `path`, as the kernel noted it (`SO_PEERCRED`, unix(7)); `None`: nobody does.
pub fn listener(path: &Path) -> Option<u32> {
    let stream = std::os::unix::net::UnixStream::connect(path).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
}

fn bound(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    // A lock is one home's, a path can be given to two.
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before there is a name: a bound socket takes its mode from here (unix(7)), and nobody gets in between.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    start_listening(&socket, BACKLOG)?;
    UnixListener::from_std(socket.into())
}
