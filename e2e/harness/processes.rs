//! Processes of the story's machine: `/proc` shows no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

use super::{Context as _, Failed};

/// Jiffies a second in `/proc/PID/stat` (proc(5)): 100 on every architecture that Linux shows to programs.
const JIFFIES_PER_SECOND: u64 = 100;

/// A process and how it was called.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its arguments, the program first.
    pub args: Vec<String>,
}

/// Every process that isn't a zombie.
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some(Process { pid, args: args_of(pid)? })).collect()
}

fn args_of(pid: i32) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|bytes| !bytes.is_empty())?;
    let args = bytes.split(|byte| *byte == 0).filter(|arg| !arg.is_empty());
    Some(args.map(|arg| String::from_utf8_lossy(arg).into_owned()).collect())
}

/// Processes of containers that run the test program `name` and nothing else.
pub fn apps(name: &str) -> BTreeSet<i32> {
    let is_it = |process: &Process| process.args == ["/apps", name];
    all().into_iter().filter(is_it).map(|process| process.pid).collect()
}

/// Processes of `program` with `argument` among their arguments.
pub fn of(program: &Path, argument: &str) -> Vec<Process> {
    let is_it = |process: &Process| {
        let called = fs::read_link(format!("/proc/{}/exe", process.pid)).ok();
        called.as_deref() == Some(program) && process.args.iter().skip(1).any(|arg| arg == argument)
    };
    all().into_iter().filter(is_it).collect()
}

/// The parent of a process, while both live.
pub fn parent(child: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
    // the second field is a name in brackets and may hold blanks; the parent is the fourth
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The processes that `pid` is the parent of.
pub fn children(pid: i32) -> Vec<i32> {
    all().into_iter().map(|process| process.pid).filter(|child| parent(*child) == Some(pid)).collect()
}

/// Those below `pid`, however deep.
pub fn below(pid: i32) -> Vec<i32> {
    let mut found = children(pid);
    let mut at = 0;
    while let Some(next) = found.get(at).copied() {
        found.extend(children(next));
        at += 1;
    }
    found
}

/// `kill -9`.
///
/// # Errors
/// There is no such process.
pub fn kill_9(pid: i32) -> Result<(), Failed> {
    let pid = Pid::from_raw(pid).or_fail("a process id")?;
    kill_process(pid, Signal::KILL).or_fail(format_args!("kill -9 {pid:?}"))
}

/// Asks it to end.
///
/// # Errors
/// There is no such process.
pub fn terminate(pid: i32) -> Result<(), Failed> {
    let pid = Pid::from_raw(pid).or_fail("a process id")?;
    kill_process(pid, Signal::TERM).or_fail(format_args!("kill {pid:?}"))
}

/// Ctrl-C.
///
/// # Errors
/// There is no such process.
pub fn interrupt(pid: i32) -> Result<(), Failed> {
    let pid = Pid::from_raw(pid).or_fail("a process id")?;
    kill_process(pid, Signal::INT).or_fail(format_args!("kill -INT {pid:?}"))
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// All that is resident, what it shares with others counted in full.
    pub rss: u64,
    /// The same, what it shares divided among those that do.
    pub pss: u64,
    /// What belongs to no file: heap and stacks.
    pub anonymous: u64,
}

impl Memory {
    /// Of a process, now.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> Result<Self, Failed> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
        let rollup = rollup.or_fail(format_args!("process {pid}"))?;
        let bytes = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kilobytes.map(|kilobytes| kilobytes << 10).or_fail(format_args!("no {name} in {rollup}"))
        };
        Ok(Self { rss: bytes("Rss")?, pss: bytes("Pss")?, anonymous: bytes("Anonymous")? })
    }

    /// Of two processes.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            rss: self.rss + other.rss,
            pss: self.pss + other.pss,
            anonymous: self.anonymous + other.anonymous,
        }
    }
}

/// Processor time that a process has used so far.
///
/// # Errors
/// There is no such process.
pub fn processor_time(pid: u32) -> Result<Duration, Failed> {
    // user and system time
    Ok(stat(pid, 14)? + stat(pid, 15)?)
}

/// When a process was made, as time since the machine's start, to a hundredth of a second.
///
/// # Errors
/// There is no such process.
pub fn made_at(pid: u32) -> Result<Duration, Failed> {
    stat(pid, 22)
}

/// Time since the machine's start, as [`made_at`] tells it.
pub fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let fine = Duration::try_from(now).unwrap_or_default();
    Duration::from_millis(u64::try_from(fine.as_millis()).unwrap_or_default() / 10 * 10)
}

/// A field of `/proc/PID/stat` that is a time in jiffies (proc(5)), counted from 1 as there.
fn stat(pid: u32, field: usize) -> Result<Duration, Failed> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).or_fail(format_args!("process {pid}"))?;
    // the second field is a name in brackets and may hold blanks
    let (_, rest) = stat.rsplit_once(')').or_fail("a name in /proc/PID/stat")?;
    let jiffies = rest.split_whitespace().nth(field.saturating_sub(3)).and_then(|field| field.parse().ok());
    let jiffies: u64 = jiffies.or_fail(format_args!("field {field} of {stat}"))?;
    Ok(Duration::from_millis(jiffies * 1000 / JIFFIES_PER_SECOND))
}

/// Processor time that the threads of a process have used so far which live now, to the nanosecond: for stretches that
/// are short beside [`processor_time`]'s hundredths of a second.
///
/// # Errors
/// There is no such process.
pub fn threads_time(pid: u32) -> Result<Duration, Failed> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).or_fail(format_args!("process {pid}"))?;
    // the first field is the time on a processor (the kernel's scheduler/sched-stats.rst); a thread may have just ended
    let spent = |thread: fs::DirEntry| {
        fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
    };
    Ok(Duration::from_nanos(threads.filter_map(Result::ok).filter_map(spent).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_was_made_between_what_was_before_and_what_is_after() {
        let before = now();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let made = made_at(child.id());
        let after = now();
        child.kill().unwrap();
        child.wait().unwrap();
        let made = made.unwrap();
        assert!(before <= made && made <= after, "{before:?} {made:?} {after:?}");
        assert!(made_at(child.id()).is_err(), "it is gone");
    }

    #[test]
    fn a_process_finds_itself() {
        let own = i32::try_from(std::process::id()).unwrap();
        let found = all().into_iter().find(|process| process.pid == own).unwrap();
        assert_eq!(found.args, std::env::args().collect::<Vec<_>>());
        assert!(of(Path::new("/no/such/program"), "x").is_empty());
    }

    #[test]
    fn memory_that_is_used_is_counted() {
        let before = Memory::of(std::process::id()).unwrap();
        let filled = std::hint::black_box(vec![7_u8; 32 << 20]);
        let after = Memory::of(std::process::id()).unwrap();
        assert!(after.rss >= before.rss + (24 << 20) && after.anonymous >= 24 << 20, "{before:?} {after:?}");
        assert!(after.pss <= after.rss, "{after:?}");
        assert_eq!(filled.len(), 32 << 20);
    }

    #[test]
    fn processor_time_grows_with_work() {
        let before = processor_time(std::process::id()).unwrap();
        let begun = std::time::Instant::now();
        let used = || processor_time(std::process::id()).unwrap() - before;
        let finely_before = threads_time(std::process::id()).unwrap();
        let finely = || threads_time(std::process::id()).unwrap().saturating_sub(finely_before);
        while used() < Duration::from_millis(50) || finely() < Duration::from_millis(40) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?} {:?}", used(), finely());
        }
    }
}
