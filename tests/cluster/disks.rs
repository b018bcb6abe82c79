//! A disk that is full, and one that fails.

use mill_api::ApiError;
use mill_api::client::ClientError;
use mill_api::deploys::{DeployState, ServiceOutcome};
use mill_drivers::disk::Fault;

use super::machine::{Machine, WEB};
use super::{pass, secs, until};

/// Tries to deploy until that is refused for this reason.
async fn refused_because(machine: &Machine, config: &str, reason: &str) -> ApiError {
    until("a deploy is refused with the reason", async || match machine.try_begin(config).await {
        Err(ClientError::Refused(refused)) if refused.reason.as_ref().is_some_and(|r| r.contains(reason)) => {
            Ok(*refused)
        }
        other => Err(format!("{other:?}")),
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_a_deploy_with_its_reason_and_room_mends_it() {
    let machine = Machine::with_cluster("node-1", 1).await;
    machine.deploy(WEB).await;
    let running = machine.fakes.containers.running();
    machine.disk.set_capacity(0);
    let v2 = WEB.replace("v1", "v2");
    let refused = refused_because(&machine, &v2, "no space left").await;
    assert!(refused.hint.is_some(), "{refused:?}");
    assert_eq!(machine.fakes.containers.running(), running);
    machine.disk.set_capacity(u64::MAX);
    let begun = machine.begin(&v2).await;
    assert_eq!(machine.end_of(begun.id).await.state, DeployState::Succeeded);
    machine.settles().await;
    assert_eq!(machine.tags(), ["v2", "v2"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_never_given_up_and_what_was_known_stays_known() {
    let mut machine = Machine::with_cluster("node-1", 1).await;
    machine.deploy(WEB).await;
    let running = machine.fakes.containers.running();
    machine.settles().await;
    let known = machine.cluster().to_snapshot();
    machine.disk.set_capacity(0);
    // Its first life has nothing to write until somebody wants something; a second one does.
    let _ = machine.try_begin(&WEB.replace("v1", "v2")).await;
    for life in 0..2 {
        // Far longer than the budget of an actor's crashes lasts.
        for _ in 0..3 {
            pass(secs(20)).await;
            // A daemon that was started over a full disk knows what its log knows to be committed.
            let knows = machine.cluster().to_snapshot() == known;
            assert!(knows || life == 1, "what was known is forgotten");
        }
        let status = machine.api().status().await.unwrap();
        let warning = status.warnings.iter().find(|warning| warning.contains("no space left"));
        assert!(warning.is_some(), "{:?}", status.warnings);
        refused_because(&machine, &WEB.replace("v1", "v2"), "no space left").await;
        let tree = machine.actors().tree().await;
        assert!(tree.find("daemon/raft").unwrap().restarts > 10, "{tree:#?}");
        assert_eq!(tree.restarts, 0, "the root has crashed");
        if life == 0 {
            machine.stop().await;
            machine.start().await;
        }
    }
    assert_eq!(machine.fakes.containers.running(), running);
    machine.disk.set_capacity(u64::MAX);
    machine.deploy(&WEB.replace("v1", "v3")).await;
    machine.settles().await;
    assert_eq!(machine.tags(), ["v3", "v3"]);
    let warnings = machine.api().status().await.unwrap().warnings;
    assert!(!warnings.iter().any(|warning| warning.contains("in trouble")), "{warnings:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_damaged_is_given_up_with_its_place() {
    let mut machine = Machine::with_cluster("node-1", 1).await;
    machine.deploy(WEB).await;
    machine.stop().await;
    let directory = machine.log_directory();
    let files = machine.disk.files(&directory);
    let (name, bytes) =
        files.iter().find(|(name, bytes)| name.ends_with(".log") && bytes.len() > 200).unwrap();
    machine.disk.flip(&directory, name, 100 * 8);
    assert_ne!(machine.disk.files(&directory).get(name), Some(bytes));
    machine.start().await;
    let reason = machine.gives_up().await;
    assert!(reason.contains("raft") && reason.contains("is damaged at byte"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_deploy_that_has_no_room_for_its_records_is_rolled_back_and_says_why() {
    let machine = Machine::with_cluster("node-1", 1).await;
    machine.deploy(WEB).await;
    let running = machine.fakes.containers.running();
    machine.fakes.records.be_full(true);
    let v2 = WEB.replace("v1", "v2");
    let begun = machine.begin(&v2).await;
    let ended = machine.end_of(begun.id).await;
    assert_eq!(ended.state, DeployState::Failed);
    let ServiceOutcome::RolledBack { reason } = &ended.services[0].outcome else { panic!("{ended:#?}") };
    assert!(reason.contains("its record can't be kept") && reason.contains("no storage space"), "{reason}");
    machine.settles().await;
    assert_eq!(machine.fakes.containers.running(), running);
    machine.fakes.records.be_full(false);
    machine.deploy(&v2).await;
    assert_eq!(machine.tags(), ["v2", "v2"]);
}

#[tokio::test(start_paused = true)]
async fn a_log_whose_disk_fails_once_in_a_deploy_recovers_and_the_deploy_ends_well() {
    let machine = Machine::with_cluster("node-1", 1).await;
    machine.deploy(WEB).await;
    let begun = machine.disk.ops();
    machine.deploy(&WEB.replace("v1", "v2")).await;
    let ops = machine.disk.ops() - begun;
    assert!(ops > 20, "a deploy takes {ops} writes and syncs");
    for (number, op) in (0..ops).step_by(5).enumerate() {
        // So that the budget of crashes in a row is never used up.
        pass(secs(61)).await;
        let fault = [Fault::Broken, Fault::Full][number % 2];
        machine.disk.fail_at(machine.disk.ops() + op, fault);
        let tag = format!("v{}", number + 3);
        // The one that was begun may be another, if the answer to the first got lost.
        let begun = machine.begin(&WEB.replace("v1", &tag)).await;
        let ended = machine.end_of(begun.id).await;
        assert_eq!(ended.state, DeployState::Succeeded, "{fault:?} after {op}: {ended:#?}");
        machine.settles().await;
        assert_eq!(machine.tags(), [tag.clone(), tag], "{fault:?} after {op}");
    }
    let tree = machine.actors().tree().await;
    let restarts = tree.find("daemon/raft").unwrap().restarts;
    assert!(restarts >= ops / 5, "the log was hit {restarts} times only");
    assert_eq!(tree.restarts, 0, "the root has crashed");
}
