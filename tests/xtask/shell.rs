//! Running other programs, and what can be wrong with them.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

/// Why a command of ours ends early.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It was called wrongly.
    Usage(&'static str),
    /// It doesn't know where it is.
    Lost,
    /// A program couldn't be started.
    CantRun { program: String, source: io::Error },
    /// A program ended with an error.
    Ended { program: String, status: ExitStatus },
    /// A file or directory couldn't be read or written.
    File { path: PathBuf, source: io::Error },
    /// Only root may do this.
    NotRoot,
    /// Programs are missing, and there is no apt-get to install them.
    NoPackages { programs: Vec<&'static str> },
    /// Something didn't come up; its log may say why.
    NotUp { what: &'static str, log: PathBuf },
    /// A demo's answer wasn't what it should be.
    Unexpected { what: &'static str, seen: String },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(usage) => f.write_str(usage),
            Self::Lost => f.write_str("this program isn't where cargo put it; run it by `cargo xtask`"),
            Self::CantRun { program, source } => write!(f, "can't run `{program}`: {source}"),
            Self::Ended { program, status } => write!(f, "`{program}` ended with {status}"),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::NotRoot => f.write_str("this needs root: containers, namespaces and packages are root's"),
            Self::NoPackages { programs } => {
                write!(f, "missing, and there is no apt-get to install them: {}", programs.join(", "))
            }
            Self::NotUp { what, log } => write!(f, "{what} didn't come up; see {}", log.display()),
            Self::Unexpected { what, seen } => write!(f, "expected {what}, saw: {seen}"),
        }
    }
}

/// Says what a file error is about.
pub(crate) trait About<T> {
    fn about(self, path: &Path) -> Result<T, Trouble>;
}

impl<T> About<T> for io::Result<T> {
    fn about(self, path: &Path) -> Result<T, Trouble> {
        self.map_err(|source| Trouble::File { path: path.to_owned(), source })
    }
}

/// A line for the person who watches.
#[expect(
    clippy::print_stdout,
    reason = "what a test prints this way is captured, and not counted as a summary"
)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Whether cargo says with it which package it runs. Build scripts of dependencies ask for some of these (ring's), and
/// are built anew with all that needs them whenever they change: between `cargo build` and `cargo demo`, say.
fn is_of_this_package(name: &str) -> bool {
    ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// A program with its arguments.
pub(crate) struct Shell {
    command: Command,
    shown: String,
}

impl Shell {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(&program);
        command.stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_of_this_package) {
                command.env_remove(name);
            }
        }
        let name = Path::new(&program).file_name().unwrap_or(program.as_ref());
        Self { command, shown: name.to_string_lossy().into_owned() }
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        for arg in args {
            self.shown.push(' ');
            self.shown.push_str(&arg.as_ref().to_string_lossy());
            self.command.arg(arg);
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// How it reads on a command line.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// The command itself, for those who start it by themselves.
    pub(crate) fn command(self) -> Command {
        self.command
    }

    fn cant_run(shown: &str) -> impl FnOnce(io::Error) -> Trouble + use<> {
        let program = shown.to_owned();
        move |source| Trouble::CantRun { program, source }
    }

    /// Runs it to its end; its output goes where ours goes.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let shown = self.shown.clone();
        let status = self.status()?;
        if status.success() { Ok(()) } else { Err(Trouble::Ended { program: shown, status }) }
    }

    /// As [`Shell::run`], and any end of it will do.
    pub(crate) fn status(mut self) -> Result<ExitStatus, Trouble> {
        self.command.status().map_err(Self::cant_run(&self.shown))
    }

    /// Runs it to its end; answers what it printed.
    pub(crate) fn read(mut self) -> Result<String, Trouble> {
        let output = self.command.stderr(Stdio::inherit()).output().map_err(Self::cant_run(&self.shown))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(Trouble::Ended { program: self.shown, status: output.status }),
        }
    }

    /// Whether it can be run and succeeds, without a word.
    pub(crate) fn succeeds(mut self) -> bool {
        let status = self.command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    /// Runs it to its end, shows each line of either output as it comes, and answers them all.
    pub(crate) fn watch(mut self) -> Result<(ExitStatus, Vec<String>), Trouble> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(Self::cant_run(&self.shown))?;
        let (lines, seen) = mpsc::channel();
        let outputs: [Option<Box<dyn io::Read + Send>>; 2] = [
            child.stdout.take().map(|out| Box::new(out) as _),
            child.stderr.take().map(|err| Box::new(err) as _),
        ];
        for output in outputs.into_iter().flatten() {
            let lines = lines.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    let _ = lines.send(String::from_utf8_lossy(&line).into_owned());
                }
            });
        }
        drop(lines);
        let seen: Vec<String> = seen.into_iter().inspect(|line| say(line)).collect();
        let status = child.wait().map_err(Self::cant_run(&self.shown))?;
        Ok((status, seen))
    }
}
