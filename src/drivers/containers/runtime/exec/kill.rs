//! Ending a program that is executed in a container, with all that it started.

use containerd_client::services::v1 as api;
use containerd_client::types::v1::Status;
use rustix::process::Signal as RawSignal;

use super::Shared;
use crate::containers::{ContainerName, Signal};
use crate::process;

impl Shared {
    /// Kills the program and what it started, if it runs, and waits for its end.
    pub(super) async fn kill_exec(&self, name: &ContainerName, id: &str) {
        let container_id = name.to_string();
        let mut tasks = self.containerd.tasks();
        let get = api::GetRequest { container_id: container_id.clone(), exec_id: id.to_owned() };
        let found = self.containerd.call("tell of a program", tasks.get(get)).await;
        let process = found.ok().and_then(|found| found.process);
        // Only then its number is its own: that of one that has ended may be anybody's.
        if let Some(process) = process.filter(|process| process.status() == Status::Running) {
            kill_descendants(process.pid);
        }
        if self.signal_exec(name, id, Signal::KILL).await {
            let wait = api::WaitRequest { container_id, exec_id: id.to_owned() };
            // If that fails so does its deletion, and all of it is tried again.
            let _ = self.containerd.call("wait for a program", tasks.wait(wait)).await;
        }
    }

    /// Sends a signal to the program's parent, which passes on what it doesn't have to obey. Whether it was there.
    pub(super) async fn signal_exec(&self, name: &ContainerName, id: &str, signal: Signal) -> bool {
        let kill = api::KillRequest {
            container_id: name.to_string(),
            exec_id: id.to_owned(),
            signal: u32::from(signal.number()),
            all: false,
        };
        // One that was never started, or has just ended, can't be killed; it can be deleted.
        self.containerd.call("signal a program", self.containerd.tasks().kill(kill)).await.is_ok()
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
