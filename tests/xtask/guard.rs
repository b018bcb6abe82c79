//! Cleans up after a demo that was interrupted, whatever interrupted it.
//!
//! # Why
//!
//! std alone can't catch Ctrl-C, and nothing catches kill -9. So the demo starts this program once more, out of the
//! terminal's process group, with a pipe that only the demo holds open. When the pipe ends, the demo has: if it had
//! not written [`KEEP`] by then, what it started is taken down.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Command, Stdio};

use crate::demo;
use crate::house::House;
use crate::shell::{Trouble, say};

/// The argument that starts the guard.
pub(crate) const COMMAND: &str = "demo-guard";

/// The word that means that all went well.
const KEEP: u8 = b'k';

/// The demo's end of the pipe.
pub(crate) struct Guard(ChildStdin);

impl Guard {
    /// From now on an end without [`Guard::keep`] takes the demo down.
    pub(crate) fn begin() -> Result<Self, Trouble> {
        let cant_run = |source| Trouble::CantRun { program: COMMAND.to_owned(), source };
        let this = std::env::current_exe().map_err(|_| Trouble::Lost)?;
        let mut command = Command::new(this);
        let child = command.arg(COMMAND).stdin(Stdio::piped()).process_group(0).spawn();
        child.map_err(cant_run)?.stdin.take().map(Self).ok_or(Trouble::Lost)
    }

    /// The demo is complete and stays.
    pub(crate) fn keep(mut self) {
        let _ = self.0.write_all(&[KEEP]);
    }
}

/// What the guard does.
pub(crate) fn watch(house: &House) -> Result<(), Trouble> {
    let mut said = vec![];
    let ended = io::stdin().read_to_end(&mut said);
    if ended.is_ok() && said.contains(&KEEP) {
        return Ok(());
    }
    say("\nthe demo didn't come to its end: taking down what it started");
    demo::stop(house)
}
