//! What containers use, looked at again and again.
//!
//! # Why
//! The file that tells idle page cache from the rest (`memory.stat`) costs as much to read as the others together: the
//! kernel adds up some fifty counters for it. Idle cache changes slowly, so with many containers that file is read of some
//! of them at each look, in turn; the others' is what it was. And a file is opened below its group's folder, not from the
//! root of the file system: half of the rest was finding it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mill_model::Bytes;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{CgroupError, Cgroups, Hierarchy, Usage, below, children};

/// Containers whose idle page cache is read at one look, beside those of which it isn't known: at a look a second that of
/// 1,000 containers is at most 8 s old.
const IDLE_READS_MAX: usize = 128;
/// Longer than any of the files: that of v1 has some 1,500 bytes.
const FILE_BYTES_MAX: usize = 8 << 10;

/// What is remembered between looks.
#[derive(Debug, Default)]
pub struct Account {
    looks: u64,
    idle: BTreeMap<String, Idle>,
}

/// Page cache that hasn't been touched lately, and at which look that was read.
#[derive(Debug, Clone, Copy)]
struct Idle {
    bytes: u64,
    look: u64,
}

/// Where the numbers are in a layout.
struct Files {
    cpu: &'static str,
    /// The key of the processor time in `cpu`; `None`: the file is the number.
    cpu_key: Option<&'static str>,
    /// How much a number of `cpu` is, in nanoseconds.
    cpu_unit: u64,
    memory: &'static str,
    idle_key: &'static str,
}

impl Files {
    const V1: Self = Self {
        cpu: "cpuacct.usage",
        cpu_key: None,
        cpu_unit: 1,
        memory: "memory.usage_in_bytes",
        idle_key: "total_inactive_file",
    };
    const V2: Self = Self {
        cpu: "cpu.stat",
        cpu_key: Some("usage_usec"),
        cpu_unit: 1000,
        memory: "memory.current",
        idle_key: "inactive_file",
    };
}

/// The folder of all containers' groups in one hierarchy.
struct Folder {
    path: PathBuf,
    open: OwnedFd,
}

impl Account {
    /// What each container uses, by name. One that ends meanwhile is left out.
    ///
    /// # Errors
    /// A group can't be read.
    pub fn look(&mut self, cgroups: &Cgroups) -> Result<BTreeMap<String, Usage>, CgroupError> {
        let (files, cpu) = match cgroups.hierarchy() {
            Hierarchy::V2 => (Files::V2, "cpu"),
            Hierarchy::V1 | Hierarchy::Hybrid => (Files::V1, "cpuacct"),
        };
        let parent = |controller| Ok(below(cgroups.root(controller)?, &cgroups.parent));
        let memory: PathBuf = parent("memory")?;
        let names: BTreeSet<String> = children(&memory)?.into_iter().collect();
        self.idle.retain(|name, _| names.contains(name));
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.looks += 1;
        let (memory, cpu) = (Folder::open(memory)?, Folder::open(parent(cpu)?)?);
        let due = self.due();
        let mut all = BTreeMap::new();
        for name in names {
            match self.of(&name, &files, (&memory, &cpu), due.contains(&name)) {
                Ok(usage) => drop(all.insert(name, usage)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Those whose idle cache was read longest ago.
    fn due(&self) -> BTreeSet<String> {
        let mut known: Vec<(u64, &String)> = self.idle.iter().map(|(name, idle)| (idle.look, name)).collect();
        if known.len() > IDLE_READS_MAX {
            known.select_nth_unstable(IDLE_READS_MAX);
        }
        known.into_iter().take(IDLE_READS_MAX).map(|(_, name)| name.clone()).collect()
    }

    fn of(
        &mut self,
        name: &str,
        files: &Files,
        (memory, cpu): (&Folder, &Folder),
        is_due: bool,
    ) -> Result<Usage, CgroupError> {
        let spent = cpu.number(name, files.cpu, files.cpu_key)?;
        let used = memory.number(name, files.memory, None)?;
        let known = self.idle.get(name).filter(|idle| !is_due && idle.bytes < used);
        let idle = match known {
            Some(idle) => idle.bytes,
            None => {
                let bytes = memory.number(name, "memory.stat", Some(files.idle_key))?;
                self.idle.insert(name.to_owned(), Idle { bytes, look: self.looks });
                bytes
            }
        };
        let cpu_time = Duration::from_nanos(spent.saturating_mul(files.cpu_unit));
        Ok(Usage { cpu_time, memory: Bytes(used.saturating_sub(idle)) })
    }
}

impl Folder {
    fn open(path: PathBuf) -> Result<Self, CgroupError> {
        match File::open(&path) {
            Ok(open) => Ok(Self { path, open: open.into() }),
            Err(source) => Err(CgroupError::Read { path, source: Arc::new(source) }),
        }
    }

    /// The number in a file of a group, or that behind a key of it.
    fn number(&self, group: &str, file: &str, key: Option<&str>) -> Result<u64, CgroupError> {
        let path = || self.path.join(group).join(file);
        let failed = |errno: Errno| CgroupError::Read { path: path(), source: Arc::new(errno.into()) };
        let mut bytes = [0; FILE_BYTES_MAX];
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let open = rustix::fs::openat(self.open.as_fd(), format!("{group}/{file}"), flags, Mode::empty());
        let open = open.map_err(failed)?;
        // The kernel gives such a file in one piece to whoever has room for it.
        let length = rustix::io::read(&open, &mut bytes).map_err(failed)?;
        let text = bytes.get(..length).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default();
        let value = match key {
            None => Some(text.trim()),
            Some(key) => {
                let mut lines = text.lines().filter_map(|line| line.split_once(' '));
                lines.find(|(found, _)| *found == key).map(|(_, value)| value.trim())
            }
        };
        value.and_then(|value| value.parse().ok()).ok_or_else(|| CgroupError::Malformed { path: path() })
    }
}
