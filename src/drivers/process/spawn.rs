//! Another process of Mill's own program, in a session of its own: it outlives this one.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::process::Command;
use tokio::sync::Notify;

use super::{ProcessError, append_to, failed, keep_small};
use crate::systemd;

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// As the kernel tells it.
    Status(ExitStatus),
    /// It was a test's.
    Fake,
    /// Somebody else starts it.
    Elsewhere,
}

/// Another process that can be started.
pub trait Other: Clone + Send + Sync + 'static {
    /// Starts it and waits for its end. Dropped, the waiting ends and the process goes on.
    fn run(&self) -> impl Future<Output = Result<Ended, ProcessError>> + Send;

    /// Keeps what it says within bounds, whoever started it. To be called now and then.
    ///
    /// # Errors
    /// The file can't be read or written.
    fn keep_small(&self) -> impl Future<Output = Result<(), ProcessError>> + Send;
}

/// A program with arguments; what it says goes to a file.
#[derive(Debug, Clone)]
pub struct OtherProcess {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Standard output and error, appended.
    pub output: PathBuf,
}

impl OtherProcess {
    /// This very program with other arguments.
    ///
    /// # Errors
    /// The kernel doesn't tell what runs here.
    pub fn myself(arguments: Vec<OsString>, output: PathBuf) -> Result<Self, ProcessError> {
        // The link, not what it points to: after an upgrade the old file is gone, the running one is still there.
        let link = PathBuf::from("/proc/self/exe");
        let program = std::env::current_exe().map_err(failed("read", link.clone()))?;
        let program = if program.exists() { program } else { link };
        Ok(Self { program, arguments, output })
    }
}

impl Other for OtherProcess {
    async fn run(&self) -> Result<Ended, ProcessError> {
        let output = append_to(&self.output).map_err(failed("open", &self.output))?;
        let errors = output.try_clone().map_err(failed("open", &self.output))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(output).stderr(errors).current_dir("/");
        for name in systemd::VARIABLES {
            command.env_remove(name);
        }
        own_session(&mut command);
        let mut child = command.spawn().map_err(failed("start", &self.program))?;
        let status = child.wait().await.map_err(failed("wait for", &self.program))?;
        Ok(Ended::Status(status))
    }

    async fn keep_small(&self) -> Result<(), ProcessError> {
        keep_small(&self.output).await
    }
}

/// Who starts another process.
#[derive(Debug, Clone)]
pub enum Starter {
    /// This one.
    Here(OtherProcess),
    /// The service manager, as a unit of its own.
    Unit,
}

impl Other for Starter {
    async fn run(&self) -> Result<Ended, ProcessError> {
        match self {
            Self::Here(process) => process.run().await,
            Self::Unit => Ok(Ended::Elsewhere),
        }
    }

    async fn keep_small(&self) -> Result<(), ProcessError> {
        match self {
            Self::Here(process) => process.keep_small().await,
            // The journal keeps itself small.
            Self::Unit => Ok(()),
        }
    }
}

/// A session of its own: no signal to our terminal or our group reaches it.
#[expect(unsafe_code, reason = "there is no safe way to a new session")]
fn own_session(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; setsid(2) is one, and making an error of
    // its number allocates nothing.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
    }
}

/// A process that does nothing but be counted, for tests.
#[derive(Debug, Clone, Default)]
pub struct FakeOther {
    started: Arc<AtomicUsize>,
    end: Arc<Notify>,
}

impl FakeOther {
    /// How often it was started.
    pub fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    /// Ends those that run.
    pub fn end(&self) {
        self.end.notify_waiters();
    }
}

impl Other for FakeOther {
    async fn run(&self) -> Result<Ended, ProcessError> {
        let end = self.end.notified();
        self.started.fetch_add(1, Ordering::SeqCst);
        end.await;
        Ok(Ended::Fake)
    }

    async fn keep_small(&self) -> Result<(), ProcessError> {
        Ok(())
    }
}
