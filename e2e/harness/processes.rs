//! Processes of the story's machine: `/proc` shows no others.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

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

/// Processes of `program` with `argument` among their arguments.
pub fn of(program: &Path, argument: &str) -> Vec<Process> {
    let is_it = |process: &Process| {
        let called = fs::read_link(format!("/proc/{}/exe", process.pid)).ok();
        called.as_deref() == Some(program) && process.args.iter().skip(1).any(|arg| arg == argument)
    };
    all().into_iter().filter(is_it).collect()
}

/// `kill -9`.
///
/// # Errors
/// There is no such process.
pub fn kill_9(pid: i32) -> Result<(), Failed> {
    let pid = Pid::from_raw(pid).or_fail("a process id")?;
    kill_process(pid, Signal::KILL).or_fail(format_args!("kill -9 {pid:?}"))
}

/// Processor time that a process has used so far.
///
/// # Errors
/// There is no such process.
pub fn processor_time(pid: u32) -> Result<Duration, Failed> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).or_fail(format_args!("process {pid}"))?;
    // the second field is a name in brackets and may hold blanks; user and system time are fields 14 and 15
    let (_, rest) = stat.rsplit_once(')').or_fail("a name in /proc/PID/stat")?;
    let jiffies =
        rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or_default());
    Ok(Duration::from_millis(jiffies.sum::<u64>() * 1000 / JIFFIES_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_finds_itself() {
        let own = i32::try_from(std::process::id()).unwrap();
        let found = all().into_iter().find(|process| process.pid == own).unwrap();
        assert_eq!(found.args, std::env::args().collect::<Vec<_>>());
        assert!(of(Path::new("/no/such/program"), "x").is_empty());
    }

    #[test]
    fn processor_time_grows_with_work() {
        let before = processor_time(std::process::id()).unwrap();
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(200) {
            std::hint::black_box(begun.elapsed());
        }
        let used = processor_time(std::process::id()).unwrap() - before;
        assert!(used >= Duration::from_millis(50), "{used:?}");
    }
}
