//! What a process owes to those beside it: one of a kind per directory, a socket for root alone, a state that is
//! replaced whole, and the starting of another process that outlives this one.

mod kept;
mod lock;
mod said;
mod socket;
mod spawn;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use thiserror::Error;

pub use kept::Kept;
pub use lock::Lock;
pub use said::{SAID_BYTES_MAX, append_to, keep_small, older};
pub(crate) use socket::listens;
pub use socket::{listen, listener};
pub use spawn::{Ended, FakeOther, Other, OtherProcess, Starter};

/// Sends a signal to a process if it is the one that is meant. It is held before `is_it` looks, so that its number
/// can't become another's in between. One that has ended already is as good.
pub(crate) fn signal_if(pid: u32, signal: Signal, is_it: impl FnOnce() -> bool) {
    let held =
        i32::try_from(pid).ok().and_then(Pid::from_raw).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    if let Some(Ok(process)) = held.filter(|_| pid > 1)
        && is_it()
    {
        let _ = pidfd_send_signal(process, signal);
    }
}

/// Why something between processes failed.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// Another process has the lock.
    #[error("another process holds {}", path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// The disk or the kernel refuses.
    #[error("failed to {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file isn't what was written: its checksum says so.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
}

fn failed(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> ProcessError {
    let path = path.into();
    move |source| ProcessError::Io { doing, path, source }
}
