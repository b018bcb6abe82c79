//! Mill as its users have it: the command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Context as _, Failed, Running};

/// The binary, and the home in which it keeps its contexts.
#[derive(Debug, Clone)]
pub struct Mill {
    binary: PathBuf,
    home: PathBuf,
    env: Vec<(String, String)>,
}

/// A finished command.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; 255 when a signal ended it.
    pub code: i32,
    /// Data.
    pub out: String,
    /// Talk.
    pub err: String,
    /// How long it ran.
    pub took: Duration,
}

impl Ran {
    fn of(output: &Output, begun: Instant) -> Self {
        Self {
            code: output.status.code().unwrap_or(255),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: begun.elapsed(),
        }
    }

    fn succeeded(self, args: &[&str]) -> Result<Self, Failed> {
        match self.code {
            0 => Ok(self),
            code => {
                Err(Failed::because(format!("`mill {}` ended with {code}:\n{}", args.join(" "), self.all())))
            }
        }
    }

    /// Both outputs.
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

impl Mill {
    /// The binary at `binary`.
    pub fn new(binary: &Path, home: &Path) -> Self {
        Self { binary: binary.to_owned(), home: home.to_owned(), env: vec![] }
    }

    /// The same binary for somebody else, who has nothing yet.
    ///
    /// # Errors
    /// There is no room for a home.
    pub fn of_another(&self, home: &Path) -> Result<Self, Failed> {
        std::fs::create_dir_all(home).or_fail("another home")?;
        Ok(Self::new(&self.binary, home))
    }

    /// The same with a variable in its environment.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where it keeps its contexts.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Where it is.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A command of it, not started yet: nothing to read, no colours, a home of its own.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).stdin(Stdio::null()).env("HOME", &self.home).env("NO_COLOR", "1");
        command.env_remove("XDG_CONFIG_HOME").current_dir(&self.home);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end, whatever its code.
    ///
    /// # Errors
    /// It can't be started.
    pub fn run(&self, args: &[&str]) -> Result<Ran, Failed> {
        let begun = Instant::now();
        let output = self.command(args).output().or_fail("can't run mill")?;
        Ok(Ran::of(&output, begun))
    }

    /// Runs a command that must succeed.
    ///
    /// # Errors
    /// It doesn't: says its outputs.
    pub fn ok(&self, args: &[&str]) -> Result<Ran, Failed> {
        self.run(args)?.succeeded(args)
    }

    /// Runs a command that must succeed, with something on its standard input, which no file and no command line holds.
    ///
    /// # Errors
    /// It doesn't: says its outputs.
    pub fn feed(&self, args: &[&str], input: &str) -> Result<Ran, Failed> {
        let begun = Instant::now();
        let piped = |command: &mut Command| {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        };
        let mut child = piped(&mut self.command(args)).or_fail("can't run mill")?;
        let mut stdin = child.stdin.take().or_fail("its standard input")?;
        stdin.write_all(input.as_bytes()).or_fail("writing to its standard input")?;
        drop(stdin);
        let output = child.wait_with_output().or_fail("waiting for mill")?;
        Ran::of(&output, begun).succeeded(args)
    }

    /// Runs a command with `--json` that must succeed; answers its document.
    ///
    /// # Errors
    /// It fails, or what it prints is no JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value, Failed> {
        let ran = self.ok(&[args, &["--json"]].concat())?;
        serde_json::from_str(&ran.out).or_fail(format_args!("`mill {} --json`: {}", args.join(" "), ran.out))
    }

    /// Runs a streaming command with `--json` that must succeed; answers one document per line.
    ///
    /// # Errors
    /// It fails, or a line is no JSON.
    pub fn json_lines(&self, args: &[&str]) -> Result<Vec<Value>, Failed> {
        let ran = self.ok(&[args, &["--json"]].concat())?;
        let lines = ran.out.lines().filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_str(line).or_fail(format_args!("no JSON: {line}"))).collect()
    }

    /// Starts a command that is looked at while it runs.
    ///
    /// # Errors
    /// It can't be started.
    pub fn begin(&self, args: &[&str]) -> Result<Running, Failed> {
        Running::start(self.command(args))
    }

    /// Starts a command and leaves it running; its outputs are dropped.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(&self, args: &[&str]) -> Result<Child, Failed> {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().or_fail("can't run mill")
    }
}
