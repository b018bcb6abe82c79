//! The time of day as a node sees it, set while it runs. The machine's own stays as it is: other programs on it have theirs
//! from the same clock, and time namespaces know only the monotonic ones.
//!
//! A small library of the harness's own is loaded before the system's (`LD_PRELOAD`, ld.so(8)) and answers clock_gettime(2),
//! gettimeofday(2) and time(2) with so many seconds more, a number in a file that all processes of the node have mapped.
//! Daemon, plane and command line are seen to jump; containerd, which is linked statically, and what runs in containers
//! aren't. A machine that is the story's alone ([`super::vm`]) has its own clock set, and everything on it jumps.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, clock_gettime, clock_settime};

use super::cli::Mill;
use super::tool::Tool;
use super::{Context as _, Failed};

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static const volatile long long *ahead;
__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("MILL_E2E_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) ahead = mapped;
}
int clock_gettime(clockid_t which, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, which, now);
    if (!failed && ahead && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead;
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec fine;
    if (clock_gettime(CLOCK_REALTIME, &fine)) return -1;
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *into) {
    struct timespec fine;
    if (clock_gettime(CLOCK_REALTIME, &fine)) return -1;
    if (into) *into = fine.tv_sec;
    return fine.tv_sec;
}
"#;

/// In the environment of what runs on a machine that is its own.
pub const OWN: &str = "MILL_E2E_OWN_MACHINE";

/// A clock that may be set.
pub struct Clock(Whose);

enum Whose {
    /// All processes'; so many seconds ahead of what it was.
    Machines { ahead: Cell<i64> },
    /// The node's.
    Nodes { library: PathBuf, ahead: PathBuf },
}

impl Clock {
    /// One that is right.
    ///
    /// # Errors
    /// There is no C compiler, or no room.
    pub fn right(folder: &Path) -> Result<Self, Failed> {
        if std::env::var_os(OWN).is_some() {
            return Ok(Self(Whose::Machines { ahead: Cell::new(0) }));
        }
        Self::of_a_node(folder)
    }

    fn of_a_node(folder: &Path) -> Result<Self, Failed> {
        let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
        fs::write(&source, SOURCE).or_fail("a clock")?;
        Tool::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).run()?;
        let ahead = folder.join("clock");
        fs::write(&ahead, 0_i64.to_ne_bytes()).or_fail("a clock")?;
        Ok(Self(Whose::Nodes { library, ahead }))
    }

    /// The same command line, by this clock; so is the node that is started with it.
    ///
    /// # Errors
    /// A path is no text.
    pub fn on(&self, mill: &Mill) -> Result<Mill, Failed> {
        let Whose::Nodes { library, ahead } = &self.0 else { return Ok(mill.clone()) };
        let text = |path: &PathBuf| path.to_str().map(str::to_owned).or_fail("a path that is text");
        let mill = mill.clone().with_env("LD_PRELOAD", &text(library)?);
        Ok(mill.with_env("MILL_E2E_CLOCK", &text(ahead)?))
    }

    /// Sets it so many seconds before the right time; negative: behind.
    ///
    /// # Errors
    /// The disk's, the kernel's.
    pub fn set(&self, ahead: i64) -> Result<(), Failed> {
        match &self.0 {
            Whose::Machines { ahead: was } => {
                let mut now = clock_gettime(ClockId::Realtime);
                now.tv_sec += ahead - was.replace(ahead);
                clock_settime(ClockId::Realtime, now).or_fail("the machine's clock")
            }
            Whose::Nodes { ahead: file, .. } => {
                let file = fs::OpenOptions::new().write(true).open(file).or_fail("a clock")?;
                file.write_all_at(&ahead.to_ne_bytes(), 0).or_fail("a clock")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_program_sees_the_time_that_was_set() {
        let folder = std::env::temp_dir().join(format!("mill-e2e-clock-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let clock = Clock::of_a_node(&folder).unwrap();
        let Whose::Nodes { library, ahead } = &clock.0 else { panic!("it is a node's") };
        let now = || -> i64 {
            let mut date = Command::new("date");
            date.arg("+%s").env("LD_PRELOAD", library).env("MILL_E2E_CLOCK", ahead);
            let date = date.output().unwrap();
            String::from_utf8_lossy(&date.stdout).trim().parse().unwrap()
        };
        let before = now();
        clock.set(-86_400).unwrap();
        let set_back = now();
        clock.set(86_400).unwrap();
        let set_forward = now();
        fs::remove_dir_all(&folder).unwrap();
        assert!((-86_400..-86_300).contains(&(set_back - before)), "{before} {set_back}");
        assert!((86_400..86_500).contains(&(set_forward - before)), "{before} {set_forward}");
    }
}
