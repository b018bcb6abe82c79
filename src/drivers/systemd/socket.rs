//! Where a service manager listens.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, sendmsg_addr, socket_with,
};

/// A word waits this long for room in the service manager's queue. It empties it between two of its own deeds; one that
/// takes longer has more trouble than a missed word.
const WAITS: Duration = Duration::from_secs(1);

/// A service manager's socket.
#[derive(Debug)]
pub(super) struct Socket(SocketAddrUnix);

impl Socket {
    /// At an address as `NOTIFY_SOCKET` has it: a path, or a name in the abstract namespace after an `@`.
    pub(super) fn at(address: &OsStr) -> Option<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            path @ [b'/', ..] => SocketAddrUnix::new(path),
            _ => return None,
        };
        address.ok().map(Self)
    }

    /// Sends a word and perhaps a descriptor. A socket for each: the service manager may have been replaced since the
    /// last one (`systemctl daemon-reexec`).
    pub(super) fn send(&self, said: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Send, Some(WAITS))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        let words = [IoSlice::new(said.as_bytes())];
        sendmsg_addr(&socket, &self.0, &words, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}
