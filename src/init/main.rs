//! `mill-init`: reads what it is to become, becomes it, and executes it.
//!
//! A container's own program replaces this one and is the container's first process, as if the runtime had executed it.
//! A program that is executed in a container beside that one (a health check, a shell) has it as its parent, which
//! ends it with whoever asked for it ([`guard`]).
//!
//! # Why
//! - **Root until it is somebody.** The file is root's alone; then everything is set as runc sets it, in its order
//!   ([`identity`]), so that a program can't tell the difference.
//! - **Nobody looks in meanwhile.** It isn't dumpable, so nothing in the container can trace it, read its memory or
//!   have its core written.
//! - **One thread, few calls.** What is done here is done between a container's start and its program's.

#[expect(unreachable_pub, reason = "the library shares this file, and there it is reached")]
mod format;
mod guard;
mod identity;
mod search;
mod system;

use std::ffi::CString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use format::{FOLDER, Failed, Kind, LEASE, PROGRAM_PATH, Run, TOLD};
use guard::Lease;

fn main() -> ExitCode {
    let mut told = None;
    match run(&mut told) {
        Ok(code) => ExitCode::from(code),
        Err(failed) => {
            // Nobody is left to tell when even this can't be written.
            drop(writeln!(std::io::stderr(), "mill: {}", failed.said));
            if let Some(mut told) = told {
                drop(told.write_all(&failed.to_bytes()));
            }
            ExitCode::from(failed.kind.code())
        }
    }
}

/// Answers only for a program that has a guard: its exit code.
fn run(told: &mut Option<File>) -> Result<u8, Failed> {
    system::hide().map_err(unprepared("hide its memory"))?;
    let mut arguments = std::env::args_os().skip(1);
    let (Some(id), None) = (arguments.next(), arguments.next()) else {
        return Err(because(format!("{PROGRAM_PATH} is Mill's, and for no one else to run")));
    };
    let file = Path::new(FOLDER).join(id);
    // Whoever listens has opened it before. If nobody does, nobody has to be told.
    *told = system::open_for_writing(&beside(&file, TOLD)).ok();
    let bytes = std::fs::read(&file).map_err(unprepared("read what to run"))?;
    let run =
        Run::decode(&bytes).map_err(|garbled| because(format!("what to run can't be read: {garbled}")))?;
    match run.leased {
        false => Err(execute(&run)),
        true => {
            let lease = Lease::take(&beside(&file, LEASE)).map_err(unprepared("find whoever asked"))?;
            guard::run(&run, told, lease)
        }
    }
}

/// Becomes what the program is to be, and executes it: answers only why not.
fn execute(run: &Run) -> Failed {
    match identity::take(run) {
        Ok(()) => search::execute(run),
        Err(failed) => failed,
    }
}

/// The path of a pipe beside a file.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

fn because(said: String) -> Failed {
    Failed { kind: Kind::Unprepared, said }
}

/// A step on the way that failed.
fn unprepared<E: std::fmt::Display>(doing: &str) -> impl FnOnce(E) -> Failed {
    move |error| because(format!("failed to {doing}: {error}"))
}

/// A text as the kernel takes it. Files of ours have no NUL in their texts.
fn c_text(text: &[u8]) -> Result<CString, Failed> {
    CString::new(text).map_err(unprepared("write a text for the kernel"))
}

/// A path as the kernel takes it.
fn c_path(path: &Path) -> Result<CString, Failed> {
    c_text(path.as_os_str().as_bytes())
}
