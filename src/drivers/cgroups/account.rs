//! What containers use, looked at again and again.
//!
//! # Why
//! The file that tells idle page cache from the rest (`memory.stat`) costs as much to read as the others together: the
//! kernel adds up some fifty counters for it. Idle cache changes slowly, so with many containers that file is read of some
//! of them at each look, in turn; the others' is what it was. The two other files of a container stay open between looks:
//! to open one costs five times what it costs to read it. An open file keeps no group from being removed.

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

/// Containers whose files stay open: twice as many files, of the 65,536 that the daemon may have. Those beyond are opened
/// at each look.
const OPEN_MAX: usize = 4_000;

/// What is kept between looks.
#[derive(Debug, Default)]
pub struct Account {
    looks: u64,
    groups: BTreeMap<String, Group>,
}

/// A container's files, and its page cache that hadn't been touched lately at a look.
#[derive(Debug)]
struct Group {
    cpu: OwnedFd,
    memory: OwnedFd,
    idle: u64,
    idle_read_at: u64,
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
        self.groups.retain(|name, _| names.contains(name));
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
        let mut known: Vec<(u64, &String)> =
            self.groups.iter().map(|(name, group)| (group.idle_read_at, name)).collect();
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
        // Out of the map while it is read: one that can't be read is opened anew at the next look.
        let (mut group, is_new) = match self.groups.remove(name) {
            Some(group) => (group, false),
            None => {
                let (cpu, memory) = (cpu.file(name, files.cpu)?, memory.file(name, files.memory)?);
                (Group { cpu, memory, idle: 0, idle_read_at: 0 }, true)
            }
        };
        let spent = cpu.number(&group.cpu, (name, files.cpu), files.cpu_key)?;
        let used = memory.number(&group.memory, (name, files.memory), None)?;
        if is_new || is_due || group.idle >= used {
            let stat = "memory.stat";
            group.idle = memory.number(&memory.file(name, stat)?, (name, stat), Some(files.idle_key))?;
            group.idle_read_at = self.looks;
        }
        let cpu_time = Duration::from_nanos(spent.saturating_mul(files.cpu_unit));
        let usage = Usage { cpu_time, memory: Bytes(used.saturating_sub(group.idle)) };
        if self.groups.len() < OPEN_MAX {
            self.groups.insert(name.to_owned(), group);
        }
        Ok(usage)
    }
}

impl Folder {
    fn open(path: PathBuf) -> Result<Self, CgroupError> {
        match File::open(&path) {
            Ok(open) => Ok(Self { path, open: open.into() }),
            Err(source) => Err(CgroupError::Read { path, source: Arc::new(source) }),
        }
    }

    fn file(&self, group: &str, file: &str) -> Result<OwnedFd, CgroupError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let open = rustix::fs::openat(self.open.as_fd(), format!("{group}/{file}"), flags, Mode::empty());
        open.map_err(|errno| self.unread(group, file, errno))
    }

    fn unread(&self, group: &str, file: &str, errno: Errno) -> CgroupError {
        CgroupError::Read { path: self.path.join(group).join(file), source: Arc::new(errno.into()) }
    }

    /// The number in a group's file, or that behind a key of it.
    fn number(
        &self,
        open: &OwnedFd,
        (group, file): (&str, &str),
        key: Option<&str>,
    ) -> Result<u64, CgroupError> {
        let mut bytes = [0; FILE_BYTES_MAX];
        // The kernel gives such a file in one piece to whoever has room for it, and anew to whoever begins at its start.
        let length =
            rustix::io::pread(open, &mut bytes, 0).map_err(|errno| self.unread(group, file, errno))?;
        let text = bytes.get(..length).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default();
        let value = match key {
            None => Some(text.trim()),
            Some(key) => {
                let mut lines = text.lines().filter_map(|line| line.split_once(' '));
                lines.find(|(found, _)| *found == key).map(|(_, value)| value.trim())
            }
        };
        let malformed = || CgroupError::Malformed { path: self.path.join(group).join(file) };
        value.and_then(|value| value.parse().ok()).ok_or_else(malformed)
    }
}
