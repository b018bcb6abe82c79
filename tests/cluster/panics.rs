//! A defect in any room: it panics, once; also in the middle of a deploy, where it looks at the clock.

use mill_actors::kit::Status;
use mill_api::deploys::DeployState;

use super::machine::{Machine, WEB};
use super::{pass, secs, until};

#[tokio::test(start_paused = true)]
async fn each_actor_panics_in_turn_and_no_container_is_restarted() {
    let machine = Machine::with_cluster("node-1", 1).await;
    machine.deploy(WEB).await;
    let started = machine.fakes.containers.started().len();
    let tree = machine.actors().tree().await;
    let paths: Vec<String> = tree.flat().iter().map(|actor| actor.path.to_string()).collect();
    assert!(paths.len() > 10, "{paths:?}");
    for path in &paths {
        let lives = machine.actors().tree().await.find(path).unwrap().restarts;
        machine.actors().panic(path).unwrap();
        until("it is back, and everyone runs", async || {
            let tree = machine.actors().tree().await;
            let down = tree.flat().into_iter().any(|actor| actor.status != Status::Running);
            let again = tree.find(path).is_some_and(|actor| actor.restarts == lives + 1);
            if again && !down { Ok(()) } else { Err(format!("{path}: {tree:#?}")) }
        })
        .await;
        machine.settles().await;
        assert_eq!(machine.fakes.containers.started().len(), started, "{path} panicked");
    }
    machine.deploy(&WEB.replace("v1", "v2")).await;
    assert_eq!(machine.tags(), ["v2", "v2"]);
}

#[tokio::test(start_paused = true)]
async fn a_room_that_panics_in_the_middle_of_a_deploy_is_started_again_and_it_ends_well() {
    let machine = Machine::with_cluster("node-1", 1).await;
    machine.deploy(WEB).await;
    let clock = &machine.fakes.clock;
    let before = clock.looks();
    machine.deploy(&WEB.replace("v1", "v2")).await;
    let looks = clock.looks() - before;
    assert!(looks > 40, "a deploy takes {looks} looks");
    for (number, look) in (0..looks).enumerate() {
        if number % 4 == 0 {
            // So that no room's budget of crashes in a row is ever used up.
            pass(secs(61)).await;
        }
        clock.panic_at(clock.looks() + look);
        let tag = format!("v{}", number + 3);
        let begun = machine.begin(&WEB.replace("v1", &tag)).await;
        let ended = machine.end_of(begun.id).await;
        assert_eq!(ended.state, DeployState::Succeeded, "look {look} panicked: {ended:#?}");
        machine.settles().await;
        assert_eq!(machine.tags(), [tag.clone(), tag], "look {look} panicked");
    }
    let tree = machine.actors().tree().await;
    for room in ["daemon/raft", "daemon/agent"] {
        assert!(tree.find(room).unwrap().restarts > 0, "{room} hasn't panicked");
    }
    assert_eq!(tree.restarts, 0, "the root has crashed");
}
