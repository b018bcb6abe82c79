//! Foreign programs, run to their end.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Context as _, Failed};

/// A program and its arguments.
pub struct Tool(Command);

impl Tool {
    /// A program found in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self(command)
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.0.args(args);
        self
    }

    /// Runs it in a folder, where what it leaves belongs.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// Runs it; answers its standard output.
    ///
    /// # Errors
    /// It can't be started, or ends with another code than 0: says both outputs.
    pub fn run(mut self) -> Result<String, Failed> {
        let shown = format!("{:?}", self.0);
        let output = self.0.output().or_fail(format!("can't run {shown}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(Failed::because(format!(
                "{shown} ended with {}:\n{}{}",
                output.status,
                text(&output.stdout),
                text(&output.stderr)
            ))),
        }
    }
}
