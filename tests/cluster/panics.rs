//! A defect in any room that looks at the clock: it panics, once, in the middle of a deploy.

use mill_api::deploys::DeployState;

use super::machine::{Machine, WEB};
use super::{pass, secs};

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
