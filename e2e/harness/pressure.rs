//! A bound on all that a node and its containers use, as a small machine has: the kernel then takes memory back, and ends
//! processes where it can't.

use std::fs;
use std::path::PathBuf;

use super::{Context as _, Failed, space};

/// Where hierarchies of cgroup v1 have memory.
const MEMORY: &str = "/sys/fs/cgroup/memory";

/// The bound; gone with its value.
pub struct Pressure {
    group: PathBuf,
    /// Where the node's own processes came from.
    home: PathBuf,
    pids: Vec<u32>,
}

impl Pressure {
    /// Puts the node's own processes to their containers, and bounds all together to what they use now and `more` bytes.
    ///
    /// # Errors
    /// The machine has no cgroup v1 hierarchy for memory, as those have that stories were tried on: with v2 a group
    /// that has groups below it holds no processes.
    pub fn put_on(pids: &[u32], more: u64) -> Result<Self, Failed> {
        let group = PathBuf::from(format!("{MEMORY}{}", space::cgroup_parent()?));
        let of_it = fs::read_to_string("/proc/self/cgroup").or_fail("this story's cgroups")?;
        let home = of_it.lines().find_map(|line| line.split_once(":memory:").map(|(_, path)| path));
        let home = PathBuf::from(format!("{MEMORY}{}", home.or_fail("a hierarchy of cgroup v1 for memory")?));
        let pressure = Self { group, home, pids: pids.to_vec() };
        for pid in pids {
            write(&pressure.group.join("cgroup.procs"), &pid.to_string())?;
        }
        let used = read(&pressure.group.join("memory.usage_in_bytes"))?;
        write(&pressure.group.join("memory.limit_in_bytes"), &(used + more).to_string())?;
        Ok(pressure)
    }

    /// How often all together were at the bound.
    ///
    /// # Errors
    /// The kernel doesn't say.
    pub fn reached(&self) -> Result<u64, Failed> {
        read(&self.group.join("memory.failcnt"))
    }
}

impl Drop for Pressure {
    fn drop(&mut self) {
        let _ = write(&self.group.join("memory.limit_in_bytes"), "-1");
        for pid in &self.pids {
            let _ = write(&self.home.join("cgroup.procs"), &pid.to_string());
        }
    }
}

fn write(path: &std::path::Path, text: &str) -> Result<(), Failed> {
    fs::write(path, text).or_fail(path.display())
}

fn read(path: &std::path::Path) -> Result<u64, Failed> {
    let text = fs::read_to_string(path).or_fail(path.display())?;
    text.trim().parse().or_fail(path.display())
}
