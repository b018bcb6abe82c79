//! A machine for one story, made of namespaces.
//!
//! The runner starts itself again under `unshare`: own network with a loopback only, own mounts with an empty
//! `/run` and no BPF file system yet, own process ids. The first process there starts the story proper and reaps
//! what is orphaned, as an init does. When it ends, or when the runner is killed, the kernel kills all the rest:
//! daemons, shims, containers. Mounts and interfaces go with them. Cgroups are the only thing that stays: each story
//! has a parent of its own for them, and [`sweep_cgroups`] takes it away.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{WaitOptions, wait};

use super::tool::Tool;
use super::{Context as _, Failed};

/// Where the kernel shows its cgroups: v1 hierarchies side by side, or v2 alone.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Where BPF's objects are pinned.
const BPF: &str = "/sys/fs/bpf";

/// Where the story's own cgroup is said: to Mill, which reads it as one of its settings, and to the harness.
const CGROUP_PARENT: &str = "MILL_CGROUP_PARENT";

/// The argument with which the runner starts itself as the first process of a machine.
pub const INIT: &str = "init-of-a-story";
/// The argument with which that process starts the story.
pub const TELL: &str = "tell-a-story";

/// Runs this program again with `args`, as the first process of a machine of its own, whose containers' cgroups are
/// below `parent`.
///
/// # Errors
/// `unshare` can't be started.
pub fn run_inside(args: &[String], parent: &str, log: fs::File) -> Result<ExitStatus, Failed> {
    let this = std::env::current_exe().or_fail("this program's own path")?;
    // The death signal is tied to the thread that spawns: the runner does so from its first.
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork"])
        .args(["--kill-child=KILL", "--mount-proc", "--"])
        .arg(this)
        .arg(INIT)
        .args(args)
        .env(CGROUP_PARENT, parent)
        .stdin(Stdio::null())
        .stdout(log.try_clone().or_fail("the story's log")?)
        .stderr(log)
        .status()
        .or_fail("can't run setpriv and unshare (util-linux)")
}

/// What the first process does: prepares the machine, starts the story, reaps until it ends. Answers its code.
///
/// # Errors
/// The machine can't be prepared.
pub fn init(args: &[String]) -> Result<u8, Failed> {
    Tool::new("ip").args(["link", "set", "lo", "up"]).run()?;
    Tool::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"]).run()?;
    // Not the machine's, where what a story pins would stay: Mill mounts its own. Where there is none, none goes.
    let _ = unmount(BPF, UnmountFlags::DETACH);
    let this = std::env::current_exe().or_fail("this program's own path")?;
    let story = Command::new(this).arg(TELL).args(args).spawn().or_fail("can't start the story")?;
    let story = i32::try_from(story.id()).or_fail("a process id")?;
    loop {
        let ended = wait(WaitOptions::empty()).or_fail("waiting for children")?;
        if let Some((pid, status)) = ended
            && pid.as_raw_nonzero().get() == story
        {
            let code = status.exit_status().unwrap_or(255);
            return u8::try_from(code).or_fail("an exit code");
        }
    }
}

/// The cgroup of this story's containers, from a hierarchy's root.
///
/// # Errors
/// This isn't a story.
pub fn cgroup_parent() -> Result<String, Failed> {
    std::env::var(CGROUP_PARENT).or_fail(CGROUP_PARENT)
}

/// Every cgroup below `parent`, in every hierarchy.
pub fn cgroups(parent: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    roots(parent).for_each(|root| walk(&root, &mut found));
    found
}

fn roots(parent: &str) -> impl Iterator<Item = PathBuf> {
    let parent = parent.trim_matches('/').to_owned();
    let hierarchies = entries(Path::new(CGROUPS)).into_iter().chain([PathBuf::from(CGROUPS)]);
    hierarchies.map(move |hierarchy| hierarchy.join(&parent)).filter(|root| root.is_dir())
}

fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for path in entries(folder).into_iter().filter(|path| path.is_dir()) {
        walk(&path, found);
        found.insert(path);
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
}

/// Removes what a story left below `parent`, and that as well. Its processes are dead.
pub fn sweep_cgroups(parent: &str) {
    // inner ones first
    for path in cgroups(parent).iter().rev().cloned().chain(roots(parent)) {
        let _ = fs::remove_dir(path);
    }
}
