//! Tasks over a whole node: run once, killed, and timed out by the node however often its daemon dies.

use mill_api::tasks::{SpawnRequest, Task, TaskState};
use mill_drivers::clock::Clock as _;
use mill_drivers::containers::ContainerName;
use mill_model::Incarnation;

use super::machine::Machine;
use super::{pass, secs, until};

fn job(timeout: &str) -> SpawnRequest {
    SpawnRequest {
        image: "registry.test/job:v1".parse().ok(),
        timeout: Some(timeout.to_owned()),
        ..SpawnRequest::default()
    }
}

async fn reaches(machine: &Machine, task: &Task, state: TaskState) -> Task {
    until("the task gets there", async || match machine.api().task(task.id.as_str()).await {
        Ok(task) if task.state == state => Ok(task),
        other => Err(format!("{other:?}")),
    })
    .await
}

fn container(task: &Task) -> ContainerName {
    ContainerName { alloc: task.id.clone(), incarnation: Incarnation(1) }
}

#[tokio::test(start_paused = true)]
async fn a_task_runs_once_and_its_exit_code_is_kept() {
    let mut machine = Machine::with_cluster("node-1", 1).await;
    for (code, state) in [(0, TaskState::Succeeded), (7, TaskState::Failed)] {
        let task = machine.api().spawn(&job("10m")).await.unwrap();
        reaches(&machine, &task, TaskState::Running).await;
        machine.fakes.containers.end(&container(&task), code);
        let ended = reaches(&machine, &task, state).await;
        assert_eq!(ended.exit_code, Some(code));
        machine.kill().await;
        machine.start().await;
        pass(secs(30)).await;
        assert_eq!(
            reaches(&machine, &task, state).await.exit_code,
            Some(code),
            "it is kept, and never started again"
        );
    }
    assert_eq!(machine.fakes.containers.started().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_timeout_goes_on_while_the_daemon_is_dead() {
    let mut machine = Machine::with_cluster("node-1", 1).await;
    let task = machine.api().spawn(&job("60s")).await.unwrap();
    reaches(&machine, &task, TaskState::Running).await;
    let begun = machine.fakes.clock.now();
    for _ in 0..3 {
        machine.kill().await;
        pass(secs(10)).await;
        machine.start().await;
        reaches(&machine, &task, TaskState::Running).await;
    }
    let ended = reaches(&machine, &task, TaskState::TimedOut).await;
    assert_eq!((ended.exit_code, machine.fakes.containers.running().len()), (Some(124), 0));
    let took = machine.fakes.clock.now().since(begun);
    assert!(took >= secs(60) && took < secs(80), "{took:?}");
    // One whose time passed while nobody was there ends as soon as somebody is.
    let late = machine.api().spawn(&job("30s")).await.unwrap();
    reaches(&machine, &late, TaskState::Running).await;
    machine.kill().await;
    pass(secs(300)).await;
    machine.start().await;
    reaches(&machine, &late, TaskState::TimedOut).await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_task_ends_and_stays_ended() {
    let mut machine = Machine::with_cluster("node-1", 1).await;
    let task = machine.api().spawn(&job("10m")).await.unwrap();
    reaches(&machine, &task, TaskState::Running).await;
    machine.api().kill(task.id.as_str()).await.unwrap();
    machine.kill().await;
    machine.start().await;
    let ended = reaches(&machine, &task, TaskState::Killed).await;
    assert_eq!((ended.exit_code, machine.fakes.containers.running().len()), (Some(143), 0));
}
