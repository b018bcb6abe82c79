//! Running a program inside a container, for health checks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use containerd_client::services::v1 as api;
use containerd_client::types::v1::Status;
use mill_model::limits;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal as RawSignal;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::start::any;
use super::{Shared, not_found, text, told};
use crate::containerd::RuntimeError;
use crate::containers::oci::Spec;
use crate::containers::{ContainerError, ContainerName, ExecOutcome, Signal};
use crate::process;

/// Type of a process as containerd's own client names it.
const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// Reads that empty a FIFO of the usual size, a page at a time.
const PIPE_READS_MAX: usize = 32;

/// An executed program, while it runs.
struct Exec {
    name: ContainerName,
    argv: Vec<String>,
    id: String,
    fifo: Fifo,
    deadline: Instant,
}

/// How a program ended; nothing: not in time.
type Answer = oneshot::Sender<Option<Result<ExecOutcome, ContainerError>>>;

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

impl Shared {
    /// Runs a program in a task of its own: whoever waits may leave, and the program ends and is forgotten all the same.
    pub(super) async fn exec(
        self: &Arc<Self>,
        name: &ContainerName,
        argv: &[String],
        deadline: Duration,
    ) -> Result<ExecOutcome, ContainerError> {
        let end = Instant::now() + deadline;
        let command = argv.first().cloned().unwrap_or_default();
        let count = self.execs.fetch_add(1, Ordering::Relaxed);
        // Unique over restarts of Mill too: the task keeps those of its predecessor.
        let id = format!("check-{:x}-{count}", self.born.0);
        let (fifo, reader) = fifo(&self.fifos.join(format!("{name}-{id}")))?;
        let exec = Exec { name: name.clone(), argv: argv.to_vec(), id, fifo, deadline: end };
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(self);
        tokio::spawn(async move { shared.see_through(&exec, reader, answer).await });
        // Nothing else drops the answer than a runtime that shuts down, or a panic over there.
        let overdue = || ContainerError::ExecDeadline { command, after: deadline };
        answered.await.ok().flatten().unwrap_or_else(|| Err(overdue()))
    }

    /// From the program's making to its last trace. Answers nothing if its deadline came first.
    async fn see_through(&self, exec: &Exec, mut reader: pipe::Receiver, mut answer: Answer) {
        let made = self.make_exec(exec).await;
        let mut tail = Tail::default();
        let status = match made {
            Ok(()) => tokio::select! {
                status = self.run(exec) => Some(status),
                never = tail.read_from(&mut reader) => match never {},
                () = tokio::time::sleep_until(exec.deadline) => None,
                () = answer.closed() => None,
            },
            Err(error) => Some(Err(error)),
        };
        let is_alive = !matches!(status, Some(Ok(_)));
        let ended = self.end_exec(exec, is_alive).await;
        // What a program has written has arrived once it is deleted.
        tail.read_rest(&reader);
        let outcome = status.map(|status| {
            let code = u8::try_from(status?).unwrap_or(u8::MAX);
            Ok(ExecOutcome { code, output: tail.into_text() })
        });
        // Whoever asked may have left.
        let _ = answer.send(outcome);
        if let Err(error) = ended {
            self.end_exec_later(exec, is_alive, error).await;
        }
    }

    /// Has the program made, and not run yet. Never given up halfway: else it might be made after it was looked for.
    async fn make_exec(&self, exec: &Exec) -> Result<(), ContainerError> {
        let process = self.process(&exec.name, &exec.argv).await?;
        let stdout = text(&exec.fifo.path);
        let request = api::ExecProcessRequest {
            container_id: exec.name.to_string(),
            stderr: stdout.clone(),
            stdout,
            spec: Some(any(PROCESS_TYPE, &process)),
            exec_id: exec.id.clone(),
            ..Default::default()
        };
        let made = self.containerd.call("execute a program", self.containerd.tasks().exec(request)).await;
        made.map(drop).map_err(|error| not_found(&exec.name, error))
    }

    /// Starts the program and waits for its end.
    async fn run(&self, exec: &Exec) -> Result<u32, ContainerError> {
        let container_id = exec.name.to_string();
        let mut tasks = self.containerd.tasks();
        let start = api::StartRequest { container_id: container_id.clone(), exec_id: exec.id.clone() };
        let started = self.containerd.call("start a program", tasks.start(start)).await;
        started.map_err(|error| match told::missing_command(error.words()) {
            Some(_) => {
                ContainerError::NoSuchCommand { command: exec.argv.first().cloned().unwrap_or_default() }
            }
            None => not_found(&exec.name, error),
        })?;
        let wait = api::WaitRequest { container_id, exec_id: exec.id.clone() };
        let ended = tasks.wait(wait).await.map_err(|status| RuntimeError::told("wait for a program", status));
        Ok(ended.map_err(|error| not_found(&exec.name, error))?.into_inner().exit_status)
    }

    /// The container's own process with other arguments: the same user, environment and rights.
    async fn process(&self, name: &ContainerName, argv: &[String]) -> Result<Spec, ContainerError> {
        let asked = "tell of a container";
        let record = self.record(name).await?;
        let spec = record.spec.ok_or(RuntimeError::Malformed { asked })?;
        let mut spec: Value =
            serde_json::from_slice(&spec.value).map_err(|_| RuntimeError::Malformed { asked })?;
        let mut process = spec.get_mut("process").map(Value::take).unwrap_or_default();
        let fields = process.as_object_mut().ok_or(RuntimeError::Malformed { asked })?;
        fields.insert("args".to_owned(), json!(argv));
        Ok(Spec(process))
    }

    /// Has the program forgotten, killed before that if it may be alive.
    async fn end_exec(&self, exec: &Exec, is_alive: bool) -> Result<(), RuntimeError> {
        if is_alive {
            self.kill_exec(exec).await;
        }
        self.delete_exec(exec).await
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

    /// Kills the program and what it started, if it runs, and waits for its end.
    async fn kill_exec(&self, exec: &Exec) {
        let container_id = exec.name.to_string();
        let mut tasks = self.containerd.tasks();
        let get = api::GetRequest { container_id: container_id.clone(), exec_id: exec.id.clone() };
        let found = self.containerd.call("tell of a program", tasks.get(get)).await;
        let process = found.ok().and_then(|found| found.process);
        // Only then its number is its own: that of one that has ended may be anybody's.
        if let Some(process) = process.filter(|process| process.status() == Status::Running) {
            kill_descendants(process.pid);
        }
        let kill = api::KillRequest {
            container_id: container_id.clone(),
            exec_id: exec.id.clone(),
            signal: u32::from(Signal::KILL.number()),
            all: false,
        };
        // One that was never started, or has just ended, can't be killed; it can be deleted.
        if self.containerd.call("kill a program", tasks.kill(kill)).await.is_ok() {
            let wait = api::WaitRequest { container_id, exec_id: exec.id.clone() };
            // If that fails so does its deletion, and all of it is tried again.
            let _ = self.containerd.call("wait for a program", tasks.wait(wait)).await;
        }
    }

    async fn delete_exec(&self, exec: &Exec) -> Result<(), RuntimeError> {
        let request =
            api::DeleteProcessRequest { container_id: exec.name.to_string(), exec_id: exec.id.clone() };
        let mut tasks = self.containerd.tasks();
        let deleted = self.containerd.call("delete a program", tasks.delete_process(request)).await;
        RuntimeError::unless_not_found(deleted).map(drop)
    }
}

/// Kills the processes below this one, the youngest first. It itself is left to the shim, which waits for it.
fn kill_descendants(parent: u32) {
    for child in children(parent) {
        // Held first, so that what is killed is the child that is seen afterwards.
        process::signal_if(child, RawSignal::KILL, || {
            let is_child = children(parent).contains(&child);
            if is_child {
                kill_descendants(child);
            }
            is_child
        });
    }
}

/// Children of all threads of a process; none where the kernel doesn't tell (`CONFIG_PROC_CHILDREN`).
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return vec![] };
    let lists =
        threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

/// Makes a FIFO and opens it for reading, before anybody writes: a shim waits for its reader.
fn fifo(path: &Path) -> Result<(Fifo, pipe::Receiver), ContainerError> {
    let failed = |source: io::Error| ContainerError::Fifo { path: path.to_owned(), source: Arc::new(source) };
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).map_err(|errno| failed(errno.into()))?;
    let fifo = Fifo { path: path.to_owned() };
    let reader = pipe::OpenOptions::new().open_receiver(path).map_err(failed)?;
    Ok((fifo, reader))
}

/// Removes what a dead Mill left, and makes the directory.
pub(super) fn empty(files: &Path) -> Result<(), ContainerError> {
    let failed =
        |source: io::Error| ContainerError::Fifo { path: files.to_owned(), source: Arc::new(source) };
    match std::fs::remove_dir_all(files) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    std::fs::create_dir_all(files).map_err(failed)
}

/// The last bytes of a stream.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
}

enum Never {}

impl Tail {
    /// Reads for as long as it is polled: the end of the stream isn't the end of the program.
    async fn read_from(&mut self, reader: &mut pipe::Receiver) -> Never {
        let mut buffer = vec![0; limits::EXEC_OUTPUT_BYTES_MAX];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            self.push(buffer.get(..count).unwrap_or_default());
        }
        std::future::pending().await
    }

    /// Reads what lies ready.
    fn read_rest(&mut self, reader: &pipe::Receiver) {
        let mut buffer = vec![0; limits::EXEC_OUTPUT_BYTES_MAX];
        // A FIFO holds 64 KiB: this ends, whoever still writes.
        for _ in 0..PIPE_READS_MAX {
            let Ok(count @ 1..) = reader.try_read(&mut buffer) else { return };
            self.push(buffer.get(..count).unwrap_or_default());
        }
    }

    fn push(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
        let excess = self.bytes.len().saturating_sub(limits::EXEC_OUTPUT_BYTES_MAX);
        self.bytes.drain(..excess);
    }

    fn into_text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_end() {
        let mut tail = Tail::default();
        tail.push(&[b'a'; limits::EXEC_OUTPUT_BYTES_MAX]);
        tail.push(b"end");
        assert_eq!(tail.bytes.len(), limits::EXEC_OUTPUT_BYTES_MAX);
        assert!(tail.into_text().ends_with("aaend"));
    }
}
