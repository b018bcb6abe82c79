//! A person in front of a terminal: a pseudo terminal on whose other side a command runs.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use super::{Context as _, Failed, Look, until};

/// How long a program may take to say what is waited for.
const WITHIN: Duration = Duration::from_secs(30);

/// The person's side.
pub struct Terminal {
    keys: File,
    line: File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Opens one of 80 columns and 24 rows.
    ///
    /// # Errors
    /// The system has none to give.
    pub fn open() -> Result<Self, Failed> {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .or_fail("a pseudo terminal")?;
        grantpt(&person).or_fail("a pseudo terminal")?;
        unlockpt(&person).or_fail("a pseudo terminal")?;
        let name = ptsname(&person, vec![]).or_fail("its name")?;
        let name = name.to_str().or_fail("its name")?;
        let line = OpenOptions::new().read(true).write(true).open(name).or_fail("its other side")?;
        let size = Winsize { ws_col: 80, ws_row: 24, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&line, size).or_fail("its size")?;
        let keys = File::from(person);
        let mut screen = keys.try_clone().or_fail("its screen")?;
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Arc::clone(&shown);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                let text = buffer.get(..count).unwrap_or_default();
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(text);
            }
        });
        Ok(Self { keys, line, shown })
    }

    /// Runs a command on the other side, in a session of its own that this is the terminal of.
    ///
    /// # Errors
    /// It can't be started.
    pub fn run(&self, command: &Command) -> Result<Child, Failed> {
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            session.current_dir(folder);
        }
        let line = || self.line.try_clone().map(OwnedFd::from).or_fail("the terminal");
        session.stdin(line()?).stdout(line()?).stderr(line()?);
        session.spawn().or_fail(format_args!("can't run {session:?}"))
    }

    /// Types.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn type_keys(&mut self, keys: &str) -> Result<(), Failed> {
        self.keys.write_all(keys.as_bytes()).or_fail("typing")
    }

    /// Waits until this is shown.
    ///
    /// # Errors
    /// It isn't: says what is.
    pub fn shows(&self, what: &str) -> Result<(), Failed> {
        until(&format!("the terminal shows `{what}`"), WITHIN, || {
            let shown = self.shown();
            Ok(Look::at(shown.contains(what), shown))
        })
    }

    /// All that was shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// How it is set: echo, lines, keys that make signals.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn settings(&self) -> Result<String, Failed> {
        let settings = tcgetattr(&self.line).or_fail("the terminal's settings")?;
        Ok(format!("{:?} {:?} {:?}", settings.input_modes, settings.output_modes, settings.local_modes))
    }
}
