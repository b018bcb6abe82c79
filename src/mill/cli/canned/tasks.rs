//! Tasks.

use mill_api::plan::NodeRefusal;
use mill_api::tasks::{Task, TaskState};
use mill_model::{DeployId, Phase, Timestamp};

use super::NOW;

/// One of each kind.
pub(crate) fn tasks() -> Vec<Task> {
    let ago = |seconds: u64| Timestamp(NOW.0 - seconds * 1000);
    let running = Task {
        id: "import-7k2f".parse().unwrap(),
        workload: super::workload("shop", "import"),
        state: TaskState::Running,
        phase: Phase::Running,
        since: ago(59),
        asked_at: ago(60),
        by: Some("ann".to_owned()),
        deploy: None,
        node: "node-1".parse().ok(),
        image: "registry.example.com/import:v3".parse().ok(),
        timeout_ms: Some(3_600_000),
        ended_at: None,
        exit_code: None,
        reason: None,
        nodes: vec![],
        pulling: None,
    };
    let failed = Task {
        id: "migrate-2b2b".parse().unwrap(),
        workload: super::workload("shop", "migrate"),
        state: TaskState::Failed,
        phase: Phase::Failed,
        asked_at: ago(300),
        since: ago(290),
        ended_at: Some(ago(290)),
        exit_code: Some(3),
        reason: Some("exited with code 3".to_owned()),
        ..running.clone()
    };
    let waiting = Task {
        id: "huge-9x9x".parse().unwrap(),
        workload: super::workload("default", "huge"),
        state: TaskState::Waiting,
        phase: Phase::Pending,
        asked_at: ago(5),
        node: None,
        reason: Some("no node can take it: node-1: 1.5 cpu free, 3 cpu wanted".to_owned()),
        nodes: vec![NodeRefusal {
            node: "node-1".parse().unwrap(),
            reason: "1.5 cpu free, 3 cpu wanted".to_owned(),
        }],
        ..running.clone()
    };
    let done = Task {
        id: "migrate-7m3a".parse().unwrap(),
        state: TaskState::Succeeded,
        phase: Phase::Stopped,
        exit_code: Some(0),
        reason: None,
        by: None,
        deploy: Some(DeployId(14)),
        ..failed.clone()
    };
    vec![running, failed, waiting, done]
}
