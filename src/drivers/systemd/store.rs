//! Descriptors that the service manager keeps open for this process and its successors (sd_pid_notify_with_fds(3),
//! `FileDescriptorStoreMax=`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::fstat;
use rustix::io::{FdFlags, fcntl_setfd};
use tracing::{info, warn};

use super::Manager;

/// The first descriptor that is passed (sd_listen_fds(3)).
const FIRST: RawFd = 3;

/// Which file a descriptor is of: device and inode.
type File = (u64, u64);

/// The store. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct FdStore {
    manager: Manager,
    /// What is in it, by name.
    kept: Arc<Mutex<BTreeMap<String, File>>>,
}

impl FdStore {
    /// The store that `manager` keeps for this process, with what an earlier one left in it.
    ///
    /// To be called once, before anything else opens a descriptor: those that were passed are taken here.
    pub fn found(manager: &Manager) -> Self {
        let store = Self { manager: manager.clone(), ..Self::default() };
        let passed = passed(&|name| std::env::var_os(name), std::process::id());
        if !passed.is_empty() {
            info!(count = passed.len(), "descriptors found that an earlier process left");
        }
        for (descriptor, name) in passed {
            // The service manager has its own copy: this one was for looking.
            let held = owned(descriptor);
            match file(&held) {
                Some(file) => drop(store.kept().insert(name, file)),
                None => warn!(name, "a descriptor was passed that can't be used"),
            }
        }
        store
    }

    /// The store of a manager, empty.
    #[cfg(test)]
    pub(super) fn empty(manager: &Manager) -> Self {
        Self { manager: manager.clone(), ..Self::default() }
    }

    /// Keeps a descriptor open under `name` until [`FdStore::keep_only`] lets go of it. One of another file under the
    /// same name is replaced.
    pub fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) {
        let Some(file) = fstat(descriptor).ok().map(|stat| (stat.st_dev, stat.st_ino)) else { return };
        if !self.manager.is_there() || self.kept().get(name) == Some(&file) {
            return;
        }
        if self.kept().remove(name).is_some() {
            self.let_go(name);
        }
        // Not polled: that a pipe has come to its end is this process's affair.
        let word = format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0");
        if self.manager.say(&word, Some(descriptor)) {
            self.kept().insert(name.to_owned(), file);
        }
    }

    /// Lets go of all descriptors but those that are `wanted`.
    pub fn keep_only(&self, wanted: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self.kept().keys().filter(|name| !wanted(name)).cloned().collect();
        for name in gone {
            self.kept().remove(&name);
            self.let_go(&name);
        }
    }

    /// Names of what is in it.
    pub fn names(&self) -> Vec<String> {
        self.kept().keys().cloned().collect()
    }

    fn let_go(&self, name: &str) {
        self.manager.say(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None);
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, File>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file(descriptor: &OwnedFd) -> Option<File> {
    fcntl_setfd(descriptor, FdFlags::CLOEXEC).ok()?;
    fstat(descriptor).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// Descriptors that were passed to process `pid`, and their names.
pub(super) fn passed(env: &dyn Fn(&str) -> Option<OsString>, pid: u32) -> Vec<(RawFd, String)> {
    let number = |name| env(name)?.to_str()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(pid) {
        return vec![];
    }
    let count = number("LISTEN_FDS").and_then(|count| RawFd::try_from(count).ok()).unwrap_or_default();
    let names = env("LISTEN_FDNAMES").and_then(|names| names.into_string().ok()).unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    (FIRST..FIRST.saturating_add(count)).map(|at| (at, names.next().unwrap_or_default())).collect()
}

#[expect(unsafe_code, reason = "a number in the environment is how descriptors are passed")]
fn owned(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the service manager opened descriptors 3 and up for this very process and says so by its id in
    // LISTEN_PID (sd_listen_fds(3)); nothing else in the process knows of them, and each number is taken once, when the
    // process starts.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
