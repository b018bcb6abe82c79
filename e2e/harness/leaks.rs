//! What a node holds of its machine, counted (product.md P9).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::containerd::ctr;
use super::{Context as _, Failed, Look, processes, space, until};

/// Mill's pool of mapped ports (product.md §4).
const POOL: std::ops::RangeInclusive<u16> = 20_000..=29_999;

/// The node's own memory file system: it is there with the node, whatever that runs.
const MEMORY: &str = "/run/mill/containers/memory";

/// How long cleaning up may take: the node looks for leftovers once a minute, and what a deploy or a kill leaves
/// should not have to wait for that.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// Names of what is held, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held(BTreeMap<&'static str, BTreeSet<String>>);

impl Held {
    /// Counts now. `data` is the node's data directory.
    ///
    /// # Errors
    /// containerd doesn't answer.
    pub fn now(data: &Path) -> Result<Self, Failed> {
        let lines = |text: String| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        let mounts = fs::read_to_string("/proc/self/mountinfo").or_fail("/proc/self/mountinfo")?;
        let mount_point =
            |line: &str| line.split(' ').nth(4).filter(|point| *point != MEMORY).map(str::to_owned);
        let mut fifos = BTreeSet::new();
        for root in [data, Path::new("/run")] {
            find_fifos(root, &mut fifos);
        }
        let cgroups =
            space::cgroups(&space::cgroup_parent()?).into_iter().map(|path| path.display().to_string());
        Ok(Self(BTreeMap::from([
            ("containers", lines(ctr(&["containers", "ls", "--quiet"])?)),
            ("tasks", lines(ctr(&["tasks", "ls", "--quiet"])?)),
            ("snapshots", active_snapshots(&ctr(&["snapshots", "ls"])?)),
            ("leases", lines(ctr(&["leases", "ls", "--quiet"])?)),
            ("shims", shims()),
            ("cgroups", cgroups.collect()),
            ("mounts", mounts.lines().filter_map(mount_point).collect()),
            ("fifos", fifos),
            ("ports", listening()),
            ("private addresses", private_addresses()),
            ("loop devices", loop_devices(data)),
        ])))
    }

    /// How many are held of each kind.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.0.iter().map(|(kind, names)| (*kind, names.len())).collect()
    }

    /// What is held of this kind, by name.
    pub fn names(&self, kind: &str) -> Option<&BTreeSet<String>> {
        self.0.get(kind)
    }

    /// Waits until as much is held as `before`, kind by kind. Names may differ: a service that was started again
    /// has another container.
    ///
    /// # Errors
    /// Something is left, or gone: says what.
    pub fn comes_back(before: &Self, data: &Path) -> Result<(), Failed> {
        until("nothing is left behind", GONE_WITHIN, || {
            let before = before.still_there(data);
            let differences = before.differences(&Self::now(data)?);
            Ok(Look::at(differences.is_empty(), differences))
        })
    }

    /// Without the mounts that others of this machine made in temporary directories of theirs, and took away since: a
    /// mount goes in every mount namespace when its mount point is removed in one (mount_namespaces(7)).
    fn still_there(&self, data: &Path) -> Self {
        let (temporary, own) = (std::env::temp_dir(), data.parent().unwrap_or(data));
        let is_gone =
            |point: &Path| point.starts_with(&temporary) && !point.starts_with(own) && !point.exists();
        let mut kinds = self.0.clone();
        if let Some(mounts) = kinds.get_mut("mounts") {
            mounts.retain(|point| !is_gone(Path::new(point)));
        }
        Self(kinds)
    }

    /// Kinds of which more or fewer are held `now`, each in a sentence that begins with `NUMBER KIND, before`.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let kinds = self.0.iter().filter_map(|(kind, before)| {
            let now = now.0.get(kind)?;
            let new: Vec<&String> = now.difference(before).collect();
            let gone: Vec<&String> = before.difference(now).collect();
            (before.len() != now.len()).then(|| {
                format!("{} {kind}, before {}; new: {new:?}; gone: {gone:?}", now.len(), before.len())
            })
        });
        kinds.collect()
    }
}

/// The shims that run, by the container that each is told to look after.
fn shims() -> BTreeSet<String> {
    let is_shim = |process: &processes::Process| {
        process.args.first().is_some_and(|program| program.contains("containerd-shim"))
    };
    let id = |process: processes::Process| {
        let mut args = process.args.into_iter().skip_while(|arg| arg != "-id");
        args.nth(1).unwrap_or_default()
    };
    processes::all().into_iter().filter(is_shim).map(id).collect()
}

/// Snapshots that a container writes to. Those of images stay as long as the image does.
fn active_snapshots(listing: &str) -> BTreeSet<String> {
    let active = listing.lines().filter(|line| line.trim_end().ends_with("Active"));
    active.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn find_fifos(folder: &Path, found: &mut BTreeSet<String>) {
    use std::os::unix::fs::FileTypeExt as _;
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    for entry in entries {
        let Ok(kind) = entry.file_type() else { continue };
        match (kind.is_fifo(), kind.is_dir()) {
            (true, _) => drop(found.insert(entry.path().display().to_string())),
            // a container's root may be large, and its FIFOs are its own affair
            (_, true) if entry.file_name() != "rootfs" => find_fifos(&entry.path(), found),
            _ => {}
        }
    }
}

/// Mapped ports that someone listens on: state 0A in `/proc/net/tcp` (proc(5)).
fn listening() -> BTreeSet<String> {
    let tables =
        ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default());
    let ports = tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        (state == "0A" && POOL.contains(&port)).then(|| port.to_string())
    });
    ports.collect()
}

/// Addresses that Mill has put on the loopback device for containers: all of its own save the node's, which ends in 1.
fn private_addresses() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let words = table.lines().filter_map(|line| line.split(' ').next());
    let ours = words.filter(|word| word.starts_with("fd6d696c6c") && !word.ends_with("000000000001"));
    ours.map(str::to_owned).collect()
}

fn loop_devices(data: &Path) -> BTreeSet<String> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().filter_map(Result::ok);
    let backing =
        devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    backing.filter(|file| Path::new(file.trim()).starts_with(data)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(containers: &[&str]) -> Held {
        Held(BTreeMap::from([("containers", containers.iter().map(ToString::to_string).collect())]))
    }

    #[test]
    fn a_mount_that_went_with_somebody_elses_directory_is_not_missed() {
        let temporary = std::env::temp_dir();
        let own = temporary.join(format!("mill-e2e-own-{}", std::process::id()));
        let points = |paths: &[&Path]| paths.iter().map(|path| path.display().to_string()).collect();
        let (theirs, ours) = (temporary.join("mill-removed/memory"), own.join("removed"));
        let mounts: BTreeSet<String> = points(&[&theirs, &ours, &temporary]);
        let left = Held(BTreeMap::from([("mounts", mounts)])).still_there(&own.join("mill"));
        assert_eq!(left.0["mounts"], points(&[&ours, &temporary]));
    }

    #[test]
    fn another_name_is_no_leak_and_another_number_is() {
        let before = held(&["web-2222.1"]);
        assert!(before.differences(&held(&["web-3333.1"])).is_empty());
        let more = before.differences(&held(&["web-2222.1", "web-3333.1"]));
        assert!(more.concat().contains("web-3333.1"), "{more:?}");
        let less = before.differences(&held(&[]));
        assert!(less.concat().contains("gone: [\"web-2222.1\"]"), "{less:?}");
    }

    #[test]
    fn snapshots_of_images_do_not_count() {
        let listing = "KEY PARENT KIND\nsha256:1 Committed\nweb-2222.1 sha256:1 Active\n";
        assert_eq!(active_snapshots(listing), BTreeSet::from(["web-2222.1".to_owned()]));
    }

    #[test]
    fn a_listener_in_the_pool_and_a_fifo_are_seen() {
        let free =
            POOL.clone().find_map(|port| std::net::TcpListener::bind(("127.0.0.1", port)).ok()).unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        assert!(listening().contains(&port));
        let folder = std::env::temp_dir().join(format!("mill-e2e-fifo-{}", std::process::id()));
        fs::create_dir_all(folder.join("deep")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(folder.join("deep/out")).status().unwrap();
        assert!(made.success());
        let mut found = BTreeSet::new();
        find_fifos(&folder, &mut found);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
