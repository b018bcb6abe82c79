//! A machine for one story, made of namespaces.
//!
//! The runner starts itself again under `unshare`: own network with a loopback only, own mounts with an empty
//! `/run`, own process ids. The first process there starts the story proper and reaps what is orphaned, as an
//! init does. When it ends, or when the runner is killed, the kernel kills all the rest: daemons, shims,
//! containers. Mounts and interfaces go with them. Cgroups are the only thing that stays; [`sweep_cgroups`] takes
//! them away.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::{WaitOptions, wait};

use super::tool::Tool;
use super::{Context as _, Failed};

/// Where the kernel shows its cgroups: v1 hierarchies side by side, or v2 alone.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Name of the file with the cgroups that were there before.
const NOTE: &str = "cgroups";

/// The argument with which the runner starts itself as the first process of a machine.
pub const INIT: &str = "init-of-a-story";
/// The argument with which that process starts the story.
pub const TELL: &str = "tell-a-story";

/// Runs this program again with `args`, as the first process of a machine of its own.
///
/// # Errors
/// `unshare` can't be started.
pub fn run_inside(args: &[String], log: fs::File) -> Result<ExitStatus, Failed> {
    let this = std::env::current_exe().or_fail("this program's own path")?;
    // The death signal is tied to the thread that spawns: the runner does so from its first.
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork"])
        .args(["--kill-child=KILL", "--mount-proc", "--"])
        .arg(this)
        .arg(INIT)
        .args(args)
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

/// Every cgroup of Mill's containers, in every hierarchy.
pub fn cgroups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let hierarchies = entries(Path::new(CGROUPS)).into_iter().chain([PathBuf::from(CGROUPS)]);
    for root in hierarchies.flat_map(|hierarchy| [hierarchy.join("mill"), hierarchy.join("mill.slice")]) {
        walk(&root, &mut found);
    }
    found
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

/// Notes in `folder` which cgroups there are, so that [`sweep_cgroups`] knows, if need be in a later run.
///
/// # Errors
/// The disk's.
pub fn note_cgroups(folder: &Path) -> Result<(), Failed> {
    let paths = cgroups().iter().map(|path| format!("{}\n", path.display())).collect::<String>();
    fs::write(folder.join(NOTE), paths).or_fail("the list of cgroups")
}

/// Removes the cgroups that weren't there when [`note_cgroups`] was called on `folder`. The story's processes are
/// dead; a cgroup that isn't empty belongs to someone else, and the kernel refuses to remove it.
pub fn sweep_cgroups(folder: &Path) {
    let Ok(noted) = fs::read_to_string(folder.join(NOTE)) else { return };
    let before: BTreeSet<PathBuf> = noted.lines().map(PathBuf::from).collect();
    let left: Vec<PathBuf> = cgroups().difference(&before).cloned().collect();
    // inner ones first
    for path in left.iter().rev() {
        let _ = fs::remove_dir(path);
    }
}
