//! The service manager that started this process: told how it is, and trusted with what must outlive it.
//!
//! # Why
//!
//! - The protocol is a line or two in a datagram (sd_notify(3)). The crates that speak it look the socket up in the
//!   environment at every word; here it is looked up once, so that a test can be the service manager.
//! - Descriptors that lie in the service manager's store stay open when this process is killed, whoever else is dead
//!   at that moment. For the pipes of containers' output that closes the last gap in which bytes are lost
//!   ([`crate::logs`]): daemon and plane both dead while a container ends.
//! - Without a service manager all of this does nothing, and nobody needs to ask.

mod socket;
mod store;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use socket::Socket;
pub use store::FdStore;

/// What is said to a process by its environment: not for those that it starts.
pub(crate) const VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// This process does what it is there for.
    Ready,
    /// It still does. Unsaid for [`Manager::watchdog`], the process is killed and started again.
    Alive,
    /// It is about to end, as it was told to.
    Stopping,
    /// A line for `systemctl status`.
    Status(String),
}

/// The service manager, or nobody.
#[derive(Debug, Clone, Default)]
pub struct Manager {
    socket: Option<Arc<Socket>>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that this process's environment tells of.
    pub fn found() -> Self {
        Self::of(&|name| std::env::var_os(name), std::process::id())
    }

    /// The one that an environment tells process `pid` of.
    fn of(env: &dyn Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let Some(socket) = env("NOTIFY_SOCKET").and_then(|path| Socket::at(&path)) else {
            return Self::default();
        };
        let number = |name| env(name)?.to_str()?.parse::<u64>().ok();
        let mine = number("WATCHDOG_PID").is_none_or(|whose| whose == u64::from(pid));
        let limit = number("WATCHDOG_USEC").filter(|limit| mine && *limit > 0);
        Self { socket: Some(Arc::new(socket)), watchdog: limit.map(Duration::from_micros) }
    }

    /// One that listens at this path, and waits so long for a sign of life.
    pub fn at(path: &Path, watchdog: Option<Duration>) -> Self {
        Self { socket: Socket::at(path.as_os_str()).map(Arc::new), watchdog }
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// How long it waits for [`News::Alive`]; `None`: it doesn't.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells it. That it can't be told is logged: a service manager that counts on the word says the rest.
    pub fn tell(&self, news: &News) {
        let said = match news {
            News::Ready => "READY=1".to_owned(),
            News::Alive => "WATCHDOG=1".to_owned(),
            News::Stopping => "STOPPING=1".to_owned(),
            // One line is one word of the protocol.
            News::Status(status) => format!("STATUS={}", status.replace(['\n', '\r'], " ")),
        };
        self.say(&said, None);
    }

    fn say(&self, said: &str, descriptor: Option<std::os::fd::BorrowedFd<'_>>) -> bool {
        let Some(socket) = &self.socket else { return false };
        let sent = socket.send(said, descriptor);
        if let Err(error) = &sent {
            warn!(%error, said, "the service manager can't be told");
        }
        sent.is_ok()
    }
}

/// The service that a process belongs to, as `mill.service`: killed, it is started again.
pub fn service_of(pid: u32) -> Option<String> {
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    service_in(&cgroups)
}

/// The service in a text like `/proc/PID/cgroup` (cgroups(7)): in systemd's own hierarchy, or in the only one.
fn service_in(cgroups: &str) -> Option<String> {
    let paths = cgroups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let mut own = paths.filter(|(hierarchy, _)| hierarchy.is_empty() || *hierarchy == "name=systemd");
    let service = |path: &str| path.rsplit('/').find(|part| part.ends_with(".service")).map(str::to_owned);
    own.find_map(|(_, path)| service(path))
}
