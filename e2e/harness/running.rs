//! A command that is looked at while it runs: what it has said so far, Ctrl-C, its end.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::cli::Ran;
use super::{Context as _, Failed, Look, processes, until};

/// How long a command may take to say what is waited for, and to end when it should.
const WITHIN: Duration = Duration::from_secs(60);

/// One that was started; killed when dropped.
pub struct Running {
    child: Child,
    begun: Instant,
    out: Said,
    err: Said,
}

/// What came from an output so far, and who reads it.
struct Said {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Running {
    /// Starts `command` and keeps both its outputs.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(mut command: Command) -> Result<Self, Failed> {
        let begun = Instant::now();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().or_fail("can't run mill")?;
        let out = Said::read(child.stdout.take().or_fail("its standard output")?);
        let err = Said::read(child.stderr.take().or_fail("its standard error")?);
        Ok(Self { child, begun, out, err })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has said this, on either output.
    ///
    /// # Errors
    /// It doesn't: says what it did say.
    pub fn says(&self, what: &str) -> Result<(), Failed> {
        until(&format!("it says `{what}`"), WITHIN, || {
            let said = self.said();
            Ok(Look::at(said.contains(what), said))
        })
    }

    /// What it has said so far, data first.
    pub fn said(&self) -> String {
        format!("{}{}", self.out.so_far(), self.err.so_far())
    }

    /// Ctrl-C.
    ///
    /// # Errors
    /// It has ended.
    pub fn interrupt(&self) -> Result<(), Failed> {
        processes::interrupt(i32::try_from(self.pid()).or_fail("a process id")?)
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// The system's own.
    pub fn has_ended(&mut self) -> Result<bool, Failed> {
        Ok(self.child.try_wait().or_fail("waiting for mill")?.is_some())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It doesn't end: says what it said until then.
    pub fn ended(mut self) -> Result<Ran, Failed> {
        let status = until("the command ends", WITHIN, || {
            let ended = self.child.try_wait().or_fail("waiting for mill")?;
            Ok(ended.map_or_else(|| Look::No(self.said()), Look::Yes))
        })?;
        let took = self.begun.elapsed();
        Ok(Ran { code: status.code().unwrap_or(255), out: self.out.all()?, err: self.err.all()?, took })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    fn read(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// All of it: its writer has ended.
    fn all(&mut self) -> Result<String, Failed> {
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| Failed::because("a reader panicked"))?;
        }
        Ok(self.so_far())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        Running::start(command).unwrap()
    }

    #[test]
    fn what_it_says_is_seen_before_it_ends_and_kept_after() {
        let running = shell("trap 'echo bye; exit 3' INT; echo hi >&2; while :; do sleep 0.01; done");
        running.says("hi").unwrap();
        running.interrupt().unwrap();
        let ran = running.ended().unwrap();
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (3, "bye\n", "hi\n"));
    }
}
