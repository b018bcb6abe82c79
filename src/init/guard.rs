//! The parent of a program that is executed beside a container's own: it ends it with whoever asked for it.
//!
//! # Why
//! The runtime forgets who asked: a program whose asker was killed would run on until its container ends. So the asker
//! holds a pipe open, and the kernel tells this process when nobody does any more. It is a subreaper: whatever the
//! program has started and let go of is its child in the end, and none of it can hide in a session of its own.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::format::{Failed, Run};
use crate::system::{self, Fork, Heard, Signals, Status};
use crate::{identity, search, unprepared};

/// SIGHUP and SIGCHLD, of x86 and ARM.
const HANGUP: i32 = 1;
const CHILD: i32 = 17;

/// 128 + SIGKILL, as a shell says that a program was killed.
const KILLED: u8 = 137;

/// Whoever asked, as long as they are there.
pub(crate) struct Lease(File);

impl Lease {
    /// Opens the pipe that whoever asked holds open.
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        let mut lease = Self(system::open_for_reading(path)?);
        match lease.is_over() {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => Ok(lease),
        }
    }

    /// Whether nobody holds it any more. Nothing is ever written to it.
    fn is_over(&mut self) -> bool {
        !matches!(self.0.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Runs the program as a child, and answers how it ended.
pub(crate) fn run(run: &Run, told: &mut Option<File>, mut lease: Lease) -> Result<u8, Failed> {
    system::adopt_orphans().map_err(unprepared("adopt orphans"))?;
    let signals = Signals::block().map_err(unprepared("block signals"))?;
    let child = match system::fork().map_err(unprepared("make a process"))? {
        Fork::Child { parent } => return Err(child(run, parent)),
        Fork::Parent { child } => child,
    };
    // Its streams and its word are the child's now: who waits for their end waits for the program's.
    *told = None;
    system::close_streams();
    // All that is left to do is to end others, whoever they have become.
    system::only_kill().map_err(unprepared("let go of capabilities"))?;
    loop {
        system::wait(&signals, &lease.0).map_err(unprepared("wait"))?;
        if lease.is_over() {
            kill_all(child);
            return Ok(KILLED);
        }
        while let Some(heard) = signals.next() {
            match heard {
                Heard { signal: CHILD, .. } => {}
                // What the terminal says to all in the foreground the child hears by itself; only that the terminal is
                // gone is said to its session's leader alone.
                Heard { signal, by_terminal } if !by_terminal || signal == HANGUP => {
                    system::kill(child, signal);
                }
                Heard { .. } => {}
            }
        }
        while let Some((ended, status)) = system::reap(false) {
            match status {
                _ if ended != child => {}
                Status::Exited(code) => return Ok(code),
                Status::Signalled(signal) => return Ok(signal.saturating_add(128)),
            }
        }
    }
}

/// The child's own part: answers only why there is no program.
fn child(run: &Run, parent: i32) -> Failed {
    if let Err(failed) = identity::take(run) {
        return failed;
    }
    // Only now: the kernel forgets it when a process becomes somebody.
    match system::die_with(parent) {
        Ok(()) => search::execute(run),
        Err(error) => unprepared("end with its parent")(error),
    }
}

/// Ends everything that came of the program. Orphans become children of this process, so there are fewer each time.
fn kill_all(child: i32) {
    system::kill(child, system::SIGKILL);
    loop {
        for orphan in system::children() {
            system::kill(orphan, system::SIGKILL);
        }
        if system::reap(true).is_none() {
            return;
        }
    }
}
