//! All that could leak, counted: what a node holds of its machine, of containerd, of its own disk and in its own
//! processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::json::Fields as _;
use super::leaks::Held;
use super::processes::{self, Memory};
use super::tool::Tool;
use super::{Context as _, Failed, Look, World, until};

/// Where the kernel keeps what maps ports.
const PINS: &str = "/sys/fs/bpf/mill";

/// How long what ended may take to be gone: the node forgets once a second and looks for leftovers once a minute, which
/// nothing may have to wait for.
const GONE_WITHIN: Duration = Duration::from_secs(40);

/// How many there are, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// What containers have, to the last one: as many, or something leaks.
    pub held: BTreeMap<&'static str, usize>,
    /// What daemon and plane have open: a few more or fewer while a request is answered.
    pub open: BTreeMap<&'static str, usize>,
    /// Their memory that belongs to no file, in bytes.
    pub anonymous: u64,
}

impl Census {
    /// Counts now.
    ///
    /// # Errors
    /// Somebody who is asked doesn't answer; or directories of allocs and what the node knows of them differ.
    pub fn now(world: &World) -> Result<Self, Failed> {
        let data = world.node.data();
        collect_garbage()?;
        let mut held = Held::now(data)?.counts();
        let [entries, ports] = ["entries", "ports"].map(mapped);
        held.extend([
            ("BPF entries", entries?),
            ("BPF ports", ports?),
            ("pinned files", files(Path::new(PINS)).len()),
            ("shims", shims()),
            ("network namespaces", network_namespaces()),
            ("committed snapshots", committed(&super::containerd::ctr(&["snapshots", "ls"])?)),
            ("blobs", super::containerd::ctr(&["content", "ls", "--quiet"])?.lines().count()),
            ("volumes", entries_of(&data.join("scratch")).len()),
        ]);
        let (daemon, plane) = (world.node.daemon(), world.node.plane()?);
        let open = BTreeMap::from([
            ("descriptors of the daemon", entries_of(&of(daemon, "fd")).len()),
            ("descriptors of the plane", entries_of(&of(plane, "fd")).len()),
            ("threads of the daemon", entries_of(&of(daemon, "task")).len()),
            ("threads of the plane", entries_of(&of(plane, "task")).len()),
            ("inotify watches", watches(daemon) + watches(plane)),
            (
                "processes below the daemon",
                processes::below(i32::try_from(daemon).or_fail("a process")?).len(),
            ),
        ]);
        let anonymous = Memory::of(daemon)?.and(Memory::of(plane)?).anonymous;
        Ok(Self { held, open, anonymous })
    }

    /// Waits until as much is held as `wanted`, to the last one, and no more is open; and until the disk holds of allocs
    /// what the node knows of them. Answers what was counted then.
    ///
    /// # Errors
    /// It doesn't come to that: says what differs.
    pub fn comes_to(world: &World, wanted: &Self, when: &str) -> Result<Self, Failed> {
        until(&format!("nothing is left behind {when}"), GONE_WITHIN, || {
            let now = Self::now(world)?;
            let mut differences = wanted.differences(&now);
            differences.extend(of_the_disk(world)?);
            Ok(if differences.is_empty() { Look::Yes(now) } else { Look::No(differences.join("\n    ")) })
        })
    }

    /// What is held with `count` allocs, if `self` is held with none and `full` with `of` of them.
    ///
    /// # Errors
    /// Something isn't so many times as much as one alloc has.
    pub fn with(&self, count: usize, full: &Self, of: usize) -> Result<Self, Failed> {
        let each = self.held.iter().map(|(kind, none)| {
            let all = full.held.get(kind).copied().unwrap_or_default();
            let more = all.checked_sub(*none).filter(|more| more.is_multiple_of(of));
            let more = more.or_fail(format_args!("{all} {kind} with {of} allocs, {none} with none"))?;
            Ok((*kind, none + more / of * count))
        });
        Ok(Self { held: each.collect::<Result<_, Failed>>()?, open: full.open.clone(), anonymous: 0 })
    }

    fn differences(&self, now: &Self) -> Vec<String> {
        let kinds: BTreeSet<&str> = self.held.keys().chain(now.held.keys()).copied().collect();
        let held = kinds.into_iter().map(|kind| (kind, count(&now.held, kind), count(&self.held, kind)));
        let held = held.filter(|(_, now, wanted)| now != wanted);
        let open = now.open.iter().map(|(kind, now)| (*kind, *now, count(&self.open, kind)));
        let open = open.filter(|(_, now, wanted)| now > wanted);
        held.chain(open).map(|(kind, now, wanted)| format!("{now} {kind}, not {wanted}")).collect()
    }
}

/// Has containerd let go of what nothing refers to, which it does when it comes to it, and waits for that.
fn collect_garbage() -> Result<(), Failed> {
    let lease = super::containerd::ctr(&["leases", "create"])?;
    super::containerd::ctr(&["leases", "delete", "--sync", lease.trim()]).map(drop)
}

fn count(kinds: &BTreeMap<&'static str, usize>, kind: &str) -> usize {
    kinds.get(kind).copied().unwrap_or_default()
}

/// Where the disk holds something else of allocs than the node knows of, in sentences.
fn of_the_disk(world: &World) -> Result<Vec<String>, Failed> {
    let listed = world.mill.json(&["allocs", "--all"])?;
    let known: BTreeSet<String> = listed
        .list("")?
        .iter()
        .map(|alloc| alloc.text("/id").map(str::to_owned))
        .collect::<Result<_, _>>()?;
    let there: BTreeSet<String> = entries_of(&world.node.data().join("allocs"))
        .iter()
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .collect();
    let unknown =
        there.difference(&known).map(|id| format!("a directory of {id}, which the node doesn't know"));
    let lost = known.difference(&there).map(|id| format!("no directory of {id}, which the node knows"));
    Ok(unknown.chain(lost).collect())
}

fn of(pid: u32, what: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{what}"))
}

fn entries_of(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
}

/// Files below a folder, however deep.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (folders, mut found): (Vec<_>, Vec<_>) =
        entries_of(folder).into_iter().partition(|path| path.is_dir());
    found.extend(folders.iter().flat_map(|folder| files(folder)));
    found
}

/// Bytes of all files below a folder.
pub fn bytes_below(folder: &Path) -> u64 {
    files(folder).iter().filter_map(|path| fs::metadata(path).ok()).map(|about| about.len()).sum()
}

/// Entries of a map of the kernel.
fn mapped(map: &str) -> Result<usize, Failed> {
    let is_it = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(&format!("_{map}")))
    };
    let pin = files(Path::new(PINS)).into_iter().find(is_it).or_fail(format_args!("the map {map}"))?;
    let dumped = Tool::new("bpftool").args(["--json", "map", "dump", "pinned"]).args([pin]).run()?;
    let dumped: Value = serde_json::from_str(&dumped).or_fail(format_args!("bpftool's words of {map}"))?;
    Ok(dumped.list("")?.len())
}

fn shims() -> usize {
    let of_mill = |args: &[String]| args.windows(2).any(|two| two == ["-namespace", "mill"]);
    processes::all().iter().filter(|process| of_mill(&process.args)).count()
}

/// Network namespaces that any process is in.
fn network_namespaces() -> usize {
    let inside = |process: &processes::Process| fs::read_link(format!("/proc/{}/ns/net", process.pid)).ok();
    processes::all().iter().filter_map(inside).collect::<BTreeSet<_>>().len()
}

fn committed(listing: &str) -> usize {
    listing.lines().filter(|line| line.trim_end().ends_with("Committed")).count()
}

/// Watches of files, as proc_pid_fdinfo(5) tells them.
fn watches(pid: u32) -> usize {
    let lines = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|line| line.starts_with("inotify ")).count()
    };
    entries_of(&of(pid, "fdinfo")).iter().map(lines).sum()
}
