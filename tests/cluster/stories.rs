//! What a user does, and what a node does by itself.

use std::time::Duration;

use mill_api::deploys::{DeployState, ServiceOutcome};
use mill_drivers::clock::Clock as _;
use mill_drivers::containers::{ContainerName, Script};
use mill_model::{Incarnation, Phase};

use super::machine::{Machine, WEB};
use super::{ms, pass, secs, until};

impl Machine {
    /// The container of the one alloc that there is.
    async fn only(&self) -> ContainerName {
        self.settles().await;
        let running = self.fakes.containers.running();
        assert_eq!(running.len(), 1, "{running:?}");
        running.into_iter().next().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_becomes_a_cluster_registers_itself_and_runs_what_is_deployed() {
    let mut machine = Machine::with_cluster("node-1", 1).await;
    let nodes = machine.api().nodes().await.unwrap();
    assert_eq!((nodes.len(), nodes[0].name.as_str(), nodes[0].version.as_str()), (1, "node-1", "0.1.0"));
    machine.deploy(WEB).await;
    assert_eq!(machine.tags(), ["v1", "v1"]);

    machine.stop().await;
    machine.version = "0.2.0";
    machine.start().await;
    until("the node has said that its version is another", async || {
        let nodes = machine.api().nodes().await.map_err(|error| error.to_string())?;
        if nodes[0].version == "0.2.0" { Ok(()) } else { Err(nodes[0].version.clone()) }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_nodes_of_one_process_know_nothing_of_each_other() {
    let (one, other) = (Machine::with_cluster("one", 1).await, Machine::with_cluster("other", 2).await);
    assert_ne!(one.cluster().id, other.cluster().id);
    one.deploy(WEB).await;
    assert_eq!((one.tags().len(), other.tags().len()), (2, 0));
    other.deploy(&WEB.replace("v1", "v2")).await;
    assert_eq!((one.tags(), other.tags()), (vec!["v1".to_owned(); 2], vec!["v2".to_owned(); 2]));
}

/// Ends a container with an error; how long it takes until the alloc's next one is started.
async fn pause_after_a_crash_of(machine: &Machine, name: &ContainerName) -> Duration {
    let (started, ended) = (machine.fakes.containers.starts().len(), machine.fakes.clock.now());
    machine.fakes.containers.end(name, 3);
    let (_, again) = until("it is started again", async || {
        machine.fakes.containers.starts().get(started).cloned().ok_or_else(|| "nothing".to_owned())
    })
    .await;
    again.since(ended)
}

#[tokio::test(start_paused = true)]
async fn a_crashing_service_waits_1_5_30_and_60_seconds_and_is_forgiven_after_ten_minutes() {
    let machine = Machine::with_cluster("node-1", 1).await;
    machine.deploy(&WEB.replace("replicas 2", "")).await;
    for wait in [1, 5, 30, 60, 60] {
        let pause = pause_after_a_crash_of(&machine, &machine.only().await).await;
        assert!((secs(wait)..secs(wait) + ms(100)).contains(&pause), "{pause:?} instead of {wait} s");
    }
    let last = machine.only().await;
    pass(secs(595)).await;
    let pause = pause_after_a_crash_of(&machine, &last).await;
    assert_eq!(pause.as_secs(), 60, "nearly ten minutes of health are none");
    let last = machine.only().await;
    pass(secs(605)).await;
    let pause = pause_after_a_crash_of(&machine, &last).await;
    assert_eq!(pause.as_secs(), 1, "ten minutes of health are forgiveness");
    assert_eq!(machine.only().await.incarnation, Incarnation(8));
}

#[tokio::test(start_paused = true)]
async fn a_bad_version_is_rolled_back_with_its_reason() {
    let machine = Machine::with_cluster("node-1", 1).await;
    machine.deploy(WEB).await;
    let before = machine.fakes.containers.running();
    machine.fakes.containers.script("bad", Script { ends: Some((ms(100), 3)), ..Script::default() });
    let begun = machine.begin(&WEB.replace("web:v1", "bad:v2")).await;
    let ended = machine.end_of(begun.id).await;
    assert_eq!(ended.state, DeployState::Failed);
    let ServiceOutcome::RolledBack { reason } = &ended.services[0].outcome else { panic!("{ended:#?}") };
    assert!(reason.contains("exited with code 3"), "{reason}");
    machine.settles().await;
    assert_eq!(machine.fakes.containers.running(), before);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_daemon_leaves_containers_running_and_the_next_adopts_them() {
    let mut machine = Machine::with_cluster("node-1", 1).await;
    machine.deploy(WEB).await;
    let running = machine.fakes.containers.running();
    machine.stop().await;
    pass(secs(60)).await;
    assert_eq!(machine.fakes.containers.running(), running);
    machine.start().await;
    machine.settles().await;
    pass(secs(60)).await;
    machine.settles().await;
    assert_eq!(machine.fakes.containers.running(), running);
    assert_eq!(machine.fakes.containers.started().len(), 2);
    // And they are looked after again.
    let crashed = running.first().unwrap();
    machine.fakes.containers.end(crashed, 9);
    let next = ContainerName { alloc: crashed.alloc.clone(), incarnation: Incarnation(2) };
    until("it runs again", async || {
        let running = machine.fakes.containers.running();
        if running.contains(&next) { Ok(()) } else { Err(format!("{running:?}")) }
    })
    .await;
    machine.settles().await;
    assert!(machine.cluster().allocs.values().all(|alloc| alloc.status.phase == Phase::Healthy));
}
