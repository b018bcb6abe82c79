//! A container's end: waited for, brought about, cleaned up after.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use containerd_client::services::v1 as api;
use containerd_client::tonic::Code;

use super::{LEASE_PREFIX, Shared, not_found};
use crate::cgroups::CgroupError;
use crate::containerd::{NAMESPACE, RuntimeError, timestamp};
use crate::containers::{ContainerError, ContainerName, Exit, Signal};
use crate::datapath::Datapath as _;

/// How containerd says that its connection with a shim has ended.
const SHIM_CLOSED: &str = "ttrpc: closed";

impl Shared {
    pub(super) async fn wait(&self, name: &ContainerName) -> Result<Exit, ContainerError> {
        let asked = "wait for a task";
        let mut attempts = 0;
        loop {
            let request = api::WaitRequest { container_id: name.to_string(), exec_id: String::new() };
            // No deadline: a service runs for months.
            match self.containerd.tasks().wait(request).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    return Ok(self.exit(name, answer.exit_status, timestamp(answer.exited_at.as_ref())));
                }
                Err(status) => {
                    let error = RuntimeError::told(asked, status);
                    if !is_interrupted(&error) {
                        return Err(not_found(name, error));
                    }
                    attempts += 1;
                    tracing::debug!(container = %name, attempts, %error, "wait interrupted");
                    tokio::time::sleep(self.containerd.tempo().runtime_delay(attempts)).await;
                }
            }
        }
    }

    pub(super) async fn kill(
        &self,
        name: &ContainerName,
        signal: Signal,
        all: bool,
    ) -> Result<(), ContainerError> {
        let request = api::KillRequest {
            container_id: name.to_string(),
            exec_id: String::new(),
            signal: u32::from(signal.number()),
            all,
        };
        let result = self.containerd.call("signal a task", self.containerd.tasks().kill(request)).await;
        result.map(|_| ()).map_err(|error| not_found(name, error))
    }

    pub(super) async fn remove(&self, name: &ContainerName) -> Result<(), ContainerError> {
        self.remove_task(name).await?;
        let id = name.to_string();
        let request = api::DeleteContainerRequest { id: id.clone() };
        let deleted =
            self.containerd.call("delete a container", self.containerd.containers().delete(request)).await;
        RuntimeError::unless_not_found(deleted)?;
        // Its root is mounted here: before the snapshot.
        self.bundles.remove(&id)?;
        self.containerd.remove_snapshot(&id).await?;
        self.containerd.release(&format!("{LEASE_PREFIX}{id}"), false).await?;
        self.remove_cgroup(name).await?;
        self.unmap(name).await?;
        self.hosts.remove(name)?;
        self.memory.remove(name).map_err(self.in_state())?;
        self.remove_runc_state(name)
    }

    /// Entries outlive a kernel's willingness: where ports aren't mapped any more, one that stays is of a cgroup that is
    /// gone, and hurts nobody.
    async fn unmap(&self, name: &ContainerName) -> Result<(), ContainerError> {
        match self.datapath.remove(name).await {
            Err(error) if !self.datapath.mode().is_kernel() => {
                tracing::debug!(container = %name, %error, "what is left of mapped ports stays");
                Ok(())
            }
            removed => Ok(removed?),
        }
    }

    async fn remove_task(&self, name: &ContainerName) -> Result<(), ContainerError> {
        let id = name.to_string();
        let get = api::GetRequest { container_id: id.clone(), exec_id: String::new() };
        let found = self.containerd.call("tell of a task", self.containerd.tasks().get(get)).await;
        if RuntimeError::unless_not_found(found)?.is_some() {
            match self.kill(name, Signal::KILL, true).await {
                // "process already finished" comes as not found: then its end is known.
                Ok(()) | Err(ContainerError::NotFound { .. }) => self.await_killed(name).await?,
                // A task that was created and never started can't be killed by every shim; deleting it does.
                Err(error) => tracing::debug!(container = %name, %error, "kill refused"),
            }
        }
        // Also if there is none: a containerd that was killed between a task's deletion and its shim's end, or
        // before the task was made, keeps the shim and its directory until someone asks it to delete the task
        // (containerd issue 6860).
        match self.delete_task(&id).await {
            // Its shim is dead, as containerd notices just now: it has cleaned up and says so when asked again.
            Err(error) if error.words().contains(SHIM_CLOSED) => self.delete_task(&id).await?,
            deleted => deleted?,
        }
        Ok(())
    }

    async fn delete_task(&self, id: &str) -> Result<(), RuntimeError> {
        let delete = api::DeleteTaskRequest { container_id: id.to_owned() };
        let deleted = self.containerd.call("delete a task", self.containerd.tasks().delete(delete)).await;
        RuntimeError::unless_not_found(deleted).map(drop)
    }

    /// Waits for the end of a task that was killed. One that vanished meanwhile has ended.
    async fn await_killed(&self, name: &ContainerName) -> Result<(), ContainerError> {
        let after = self.containerd.tempo().runtime_deadline;
        match tokio::time::timeout(after, self.wait(name)).await {
            Ok(Ok(_) | Err(ContainerError::NotFound { .. })) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ContainerError::WontDie { name: name.clone(), after }),
        }
    }

    /// Names of what runc knows.
    pub(super) fn runc_states(&self) -> Result<Vec<String>, ContainerError> {
        names_in(self.runc_root.join(NAMESPACE))
    }

    /// runc removes it by itself, unless it was killed: then it would refuse the name for ever.
    fn remove_runc_state(&self, name: &ContainerName) -> Result<(), ContainerError> {
        let path = self.runc_root.join(NAMESPACE).join(name.to_string());
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ContainerError::State { path, source: Arc::new(error) })
            }
            _ => Ok(()),
        }
    }

    /// runc removes the cgroup with the task. What a dead runc left is killed and removed here.
    async fn remove_cgroup(&self, name: &ContainerName) -> Result<(), ContainerError> {
        let after = self.containerd.tempo().runtime_deadline;
        let gone = async {
            let mut attempts = 0;
            while !self.cgroups.remove(&name.to_string())? {
                attempts += 1;
                tokio::time::sleep(self.containerd.tempo().runtime_delay(attempts)).await;
            }
            Ok::<_, CgroupError>(())
        };
        match tokio::time::timeout(after, gone).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ContainerError::WontDie { name: name.clone(), after }),
        }
    }
}

/// Whether a wait broke off because containerd or its shim's connection did, not because of the container.
fn is_interrupted(error: &RuntimeError) -> bool {
    // A containerd that is told to stop closes its shims' connections before its own.
    let closing = [SHIM_CLOSED, "transport is closing", "context canceled", "server is shutting down"];
    error.is_unreachable()
        || error.has_code(Code::Unavailable)
        || error.has_code(Code::Cancelled)
        || closing.iter().any(|words| error.words().contains(words))
}

/// Names of the entries of a folder; none if there is no such folder.
pub(super) fn names_in(path: PathBuf) -> Result<Vec<String>, ContainerError> {
    match std::fs::read_dir(&path) {
        Ok(entries) => {
            Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        Err(source) => Err(ContainerError::State { path, source: Arc::new(source) }),
    }
}
