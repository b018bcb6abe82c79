//! Running a program inside a container, beside its own: for health checks, and for people.
//!
//! # Why
//! - **Its own first process.** What is executed is `mill-init`, called by a name; the arguments and the environment of
//!   the container wait for it in memory ([`super::memory`]), so neither containerd's nor runc's files have them. It
//!   stays as the program's parent.
//! - **A lease.** This process holds a pipe open for each program. When it is let go, by a kill -9 too, that parent
//!   ends the program and all that came of it. What then remains is a note in the shim, which the next Mill has
//!   forgotten by the name of the file that was laid down ([`Shared::forget_executed`]).
//! - **Seen through.** A task of its own goes from a program's making to its last trace, whether or not somebody waits.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use containerd_client::services::v1 as api;
use mill_init::{Failed, Kind, Run};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};
use tokio::net::unix::pipe;
use tokio::time::Instant;

use super::memory::Laid;
use super::start::any;
use super::{Shared, not_found, text};
use crate::containerd::RuntimeError;
use crate::containers::oci::{self, Spec};
use crate::containers::{ContainerError, ContainerName, Missing, Size};

mod attach;
mod check;
mod kill;

/// Type of a process as containerd's own client names it.
const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// What programs are told of a terminal whose kind the image doesn't name: what nearly all of today's understand.
const TERMINAL: &[u8] = b"TERM=xterm";

/// A program, while it runs.
struct Exec {
    name: ContainerName,
    argv: Vec<String>,
    id: String,
    fifos: Fifos,
}

/// What the shim reads from and writes to.
#[derive(Default)]
struct Fifos {
    input: Option<Fifo>,
    output: Option<Fifo>,
    errors: Option<Fifo>,
    terminal: Option<Size>,
}

/// A FIFO that is removed with its owner.
struct Fifo {
    path: PathBuf,
}

impl Drop for Fifo {
    fn drop(&mut self) {
        // The directory is emptied at the next start in any case.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Fifo {
    fn path(fifo: Option<&Self>) -> String {
        fifo.map(|fifo| text(&fifo.path)).unwrap_or_default()
    }
}

impl Shared {
    /// A name for a program: unique over restarts of Mill too, since the task keeps those of its predecessor.
    fn exec_id(&self) -> String {
        format!("{}{}", self.exec_prefix(), self.execs.fetch_add(1, Ordering::Relaxed))
    }

    /// How the names begin that this process gives.
    fn exec_prefix(&self) -> String {
        format!("exec-{:x}-", self.born.0)
    }

    /// Lays down what a program is to become: what the container itself became, with other arguments.
    fn lay(&self, exec: &Exec) -> Result<Laid, ContainerError> {
        let started_as = self.memory.started_as(&exec.name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ContainerError::NotFound { name: exec.name.clone() },
            _ => self.in_state()(error),
        })?;
        let argv = exec.argv.iter().map(|word| word.clone().into_bytes()).collect();
        let terminal = exec.fifos.terminal.map_or((0, 0), |size| (size.columns, size.rows));
        let mut run = Run { argv, terminal, leased: true, ..started_as };
        if exec.fifos.terminal.is_some() && !run.env.iter().any(|variable| variable.starts_with(b"TERM=")) {
            run.env.push(TERMINAL.to_vec());
        }
        self.memory.lay(&exec.name, &exec.id, &run).map_err(self.in_state())
    }

    /// Has the program made, and not run yet. Never given up halfway: else it might be made after it was looked for.
    async fn make_exec(&self, exec: &Exec) -> Result<Laid, ContainerError> {
        let process = self.process(exec).await?;
        let laid = self.lay(exec)?;
        let Fifos { input, output, errors, terminal } = &exec.fifos;
        let request = api::ExecProcessRequest {
            container_id: exec.name.to_string(),
            stdin: Fifo::path(input.as_ref()),
            stdout: Fifo::path(output.as_ref()),
            // With a stdout and no stderr containerd 1.6's shim panics; a terminal has one stream.
            stderr: if terminal.is_some() {
                String::new()
            } else {
                Fifo::path(errors.as_ref().or(output.as_ref()))
            },
            terminal: terminal.is_some(),
            spec: Some(any(PROCESS_TYPE, &process)),
            exec_id: exec.id.clone(),
        };
        let made = self.containerd.call("execute a program", self.containerd.tasks().exec(request)).await;
        made.map(|_| laid).map_err(|error| not_found(&exec.name, error))
    }

    async fn start_exec(&self, exec: &Exec) -> Result<(), ContainerError> {
        let start = api::StartRequest { container_id: exec.name.to_string(), exec_id: exec.id.clone() };
        let started = self.containerd.call("start a program", self.containerd.tasks().start(start)).await;
        started.map(drop).map_err(|error| not_found(&exec.name, error))
    }

    /// Waits for its end: a code as a shell would say it.
    async fn wait_exec(&self, exec: &Exec) -> Result<u32, ContainerError> {
        let wait = api::WaitRequest { container_id: exec.name.to_string(), exec_id: exec.id.clone() };
        let ended = self.containerd.tasks().wait(wait).await;
        let ended = ended.map_err(|status| RuntimeError::told("wait for a program", status));
        Ok(ended.map_err(|error| not_found(&exec.name, error))?.into_inner().exit_status)
    }

    /// The container's own first process, called by another name.
    async fn process(&self, exec: &Exec) -> Result<Spec, ContainerError> {
        let asked = "tell of a container";
        let record = self.record(&exec.name).await?;
        let spec = record.spec.ok_or(RuntimeError::Malformed { asked })?;
        let mut spec: Value =
            serde_json::from_slice(&spec.value).map_err(|_| RuntimeError::Malformed { asked })?;
        let mut process = spec.get_mut("process").map(Value::take).unwrap_or_default();
        let fields = process.as_object_mut().ok_or(RuntimeError::Malformed { asked })?;
        fields.insert("args".to_owned(), json!(oci::init_arguments(&exec.id)));
        fields.insert("terminal".to_owned(), json!(exec.fifos.terminal.is_some()));
        Ok(Spec(process))
    }

    /// Has the program forgotten, killed before that if it may be alive.
    async fn end_exec(&self, exec: &Exec, is_alive: bool) -> Result<(), RuntimeError> {
        if is_alive {
            self.kill_exec(&exec.name, &exec.id).await;
        }
        self.delete_exec(&exec.name, &exec.id).await
    }

    /// Tries again for longer than containerd is away when it restarts: one that was just being started could neither
    /// be killed nor deleted. What isn't forgotten then ends with the container.
    async fn end_exec_later(&self, exec: &Exec, is_alive: bool, mut error: RuntimeError) {
        let tempo = self.containerd.tempo();
        let end = Instant::now() + tempo.runtime_deadline * 2;
        let mut attempts = 0;
        while Instant::now() < end {
            attempts += 1;
            tracing::debug!(container = %exec.name, exec = %exec.id, %error, attempts, "program not forgotten");
            tokio::time::sleep(tempo.runtime_delay(attempts)).await;
            match self.end_exec(exec, is_alive).await {
                Ok(()) => return,
                Err(again) => error = again,
            }
        }
        tracing::warn!(container = %exec.name, exec = %exec.id, %error, "a program ends with its container only");
    }

    async fn delete_exec(&self, name: &ContainerName, id: &str) -> Result<(), RuntimeError> {
        let request = api::DeleteProcessRequest { container_id: name.to_string(), exec_id: id.to_owned() };
        let mut tasks = self.containerd.tasks();
        let deleted = self.containerd.call("delete a program", tasks.delete_process(request)).await;
        RuntimeError::unless_not_found(deleted).map(drop)
    }

    /// Has those programs forgotten that an earlier Mill executed in a container: it was killed before it could do that
    /// itself.
    pub(super) async fn forget_executed(&self, name: &ContainerName) -> Result<(), ContainerError> {
        // How the container began is nobody's any more to hear either.
        self.memory.take_away_unheard(name).map_err(self.in_state())?;
        let prefix = self.exec_prefix();
        for id in self.memory.executed(name).map_err(self.in_state())? {
            if id.starts_with(&prefix) {
                continue;
            }
            // It ended when its lease did, or is just about to.
            self.kill_exec(name, &id).await;
            match self.delete_exec(name, &id).await {
                Ok(()) => self.memory.take_away(name, &id).map_err(self.in_state())?,
                Err(error) => {
                    tracing::debug!(container = %name, exec = %id, %error, "an earlier program not forgotten");
                }
            }
        }
        Ok(())
    }
}

impl Exec {
    /// What a program comes to that couldn't be run.
    fn failed(&self, failed: Failed) -> ContainerError {
        let command = self.argv.first().cloned().unwrap_or_default();
        match failed.kind {
            Kind::NotFound => ContainerError::NoSuchCommand { command, reason: Missing::NotFound },
            Kind::NotExecutable => ContainerError::NoSuchCommand { command, reason: Missing::NotExecutable },
            Kind::Unprepared => ContainerError::Unprepared { command, said: failed.said },
        }
    }
}

/// Makes a FIFO.
fn fifo(path: PathBuf) -> Result<Fifo, ContainerError> {
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).map_err(|errno| failed(&path)(errno.into()))?;
    Ok(Fifo { path })
}

/// Makes a FIFO and opens it for reading, before anybody writes: a shim waits for its reader.
fn read_from(path: PathBuf) -> Result<(Fifo, pipe::Receiver), ContainerError> {
    let fifo = fifo(path)?;
    let reader = pipe::OpenOptions::new().open_receiver(&fifo.path).map_err(failed(&fifo.path))?;
    Ok((fifo, reader))
}

/// Makes a FIFO and opens it for writing, before anybody reads: which takes someone who reads, so this does as well.
fn write_to(path: PathBuf) -> Result<(Fifo, pipe::Sender), ContainerError> {
    let fifo = fifo(path)?;
    let writer =
        pipe::OpenOptions::new().read_write(true).open_sender(&fifo.path).map_err(failed(&fifo.path))?;
    Ok((fifo, writer))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ContainerError {
    move |source| ContainerError::Fifo { path: path.to_owned(), source: Arc::new(source) }
}

/// Removes what a dead Mill left, and makes the directory.
pub(super) fn empty(files: &Path) -> Result<(), ContainerError> {
    match std::fs::remove_dir_all(files) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(files)(error)),
        _ => {}
    }
    std::fs::create_dir_all(files).map_err(failed(files))
}
