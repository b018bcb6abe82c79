//! A bound on all that a node and its containers use, as a small machine has: the kernel then takes memory back, and ends
//! processes where it can't.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Context as _, Failed, space};

/// How a layout of control groups calls what is needed of it.
struct Layout {
    root: &'static str,
    /// What names a process' group, in `/proc/self/cgroup`.
    mark: &'static str,
    used: &'static str,
    bound: &'static str,
    unbound: &'static str,
}

/// A hierarchy for memory alone.
const V1: Layout = Layout {
    root: "/sys/fs/cgroup/memory",
    mark: ":memory:",
    used: "memory.usage_in_bytes",
    bound: "memory.limit_in_bytes",
    unbound: "-1",
};
/// The only hierarchy there is.
const V2: Layout = Layout {
    root: "/sys/fs/cgroup",
    mark: "0::",
    used: "memory.current",
    bound: "memory.max",
    unbound: "max",
};

/// The bound; gone with its value.
pub struct Pressure {
    layout: &'static Layout,
    /// All of the story's containers are below it.
    group: PathBuf,
    /// Where the node's own processes came from.
    home: PathBuf,
    pids: Vec<u32>,
}

impl Pressure {
    /// Puts the node's own processes to their containers, and bounds all together to what they use now and `more` bytes.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn put_on(pids: &[u32], more: u64) -> Result<Self, Failed> {
        let layout = if Path::new(V1.root).exists() { &V1 } else { &V2 };
        let group = PathBuf::from(format!("{}{}", layout.root, space::cgroup_parent()?));
        let of_it = fs::read_to_string("/proc/self/cgroup").or_fail("this story's cgroups")?;
        let home = of_it.lines().find_map(|line| line.split_once(layout.mark).map(|(_, path)| path));
        let home = PathBuf::from(format!("{}{}", layout.root, home.or_fail("a group for memory")?));
        let pressure = Self { layout, group, home, pids: pids.to_vec() };
        let with_them = pressure.node_group();
        fs::create_dir_all(&with_them).or_fail(with_them.display())?;
        for pid in pids {
            write(&with_them.join("cgroup.procs"), &pid.to_string())?;
        }
        let used = read(&pressure.group.join(layout.used))?;
        write(&pressure.group.join(layout.bound), &(used + more).to_string())?;
        Ok(pressure)
    }

    /// The node's own: with v2 a group that has groups below it holds no processes.
    fn node_group(&self) -> PathBuf {
        if self.layout.root == V1.root { self.group.clone() } else { self.group.join("node") }
    }

    /// How often all together were at the bound.
    ///
    /// # Errors
    /// The kernel doesn't say.
    pub fn reached(&self) -> Result<u64, Failed> {
        if self.layout.root == V1.root {
            return read(&self.group.join("memory.failcnt"));
        }
        let events = fs::read_to_string(self.group.join("memory.events")).or_fail("memory.events")?;
        let at_bound = events.lines().find_map(|line| line.strip_prefix("max "));
        at_bound.or_fail("a count of that")?.parse().or_fail("a count of that")
    }
}

impl Drop for Pressure {
    fn drop(&mut self) {
        let _ = write(&self.group.join(self.layout.bound), self.layout.unbound);
        for pid in &self.pids {
            let _ = write(&self.home.join("cgroup.procs"), &pid.to_string());
        }
        let _ = fs::remove_dir(self.group.join("node"));
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failed> {
    fs::write(path, text).or_fail(path.display())
}

fn read(path: &Path) -> Result<u64, Failed> {
    let text = fs::read_to_string(path).or_fail(path.display())?;
    text.trim().parse().or_fail(path.display())
}
