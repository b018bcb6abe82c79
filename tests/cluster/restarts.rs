//! Each actor of the tree in turn is started again, also in the middle of something: nobody outside notices.

use mill_actors::kit::Status;

use super::machine::{Machine, WEB};
use super::{ms, pass, secs, until};

impl Machine {
    /// Every actor of the daemon, parents first.
    async fn paths(&self) -> Vec<String> {
        let tree = self.actors().tree().await;
        tree.flat().iter().map(|actor| actor.path.to_string()).collect()
    }

    /// Waits until every actor runs.
    async fn is_up(&self) {
        until("every actor runs", async || {
            let tree = self.actors().tree().await;
            let down = tree.flat().into_iter().find(|actor| actor.status != Status::Running);
            down.map_or(Ok(()), |actor| Err(format!("{} is {:?}", actor.path, actor.status)))
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_actor_is_restarted_in_turn_and_no_container_is() {
    let machine = Machine::with_cluster("node-1", 1).await;
    machine.deploy(WEB).await;
    let paths = machine.paths().await;
    for (number, path) in paths.iter().enumerate() {
        let (before, started) =
            (machine.fakes.containers.running(), machine.fakes.containers.started().len());
        // An alloc of an earlier round may be gone.
        if machine.actors().restart(path).await.is_err() {
            assert!(path.starts_with("daemon/agent/"), "{path} wasn't restarted");
            continue;
        }
        pass(secs(5)).await;
        machine.is_up().await;
        machine.settles().await;
        let after = (machine.fakes.containers.running(), machine.fakes.containers.started().len());
        assert_eq!(after, (before, started), "{path} was restarted");
        // It works: what is deployed now runs.
        let tag = format!("v{}", number + 2);
        machine.deploy(&WEB.replace("v1", &tag)).await;
        assert_eq!(machine.tags(), [tag.clone(), tag], "{path} was restarted");
    }
}

#[tokio::test(start_paused = true)]
async fn each_actor_is_restarted_in_the_middle_of_a_deploy_and_it_ends_well() {
    let machine = Machine::with_cluster("node-1", 1).await;
    machine.deploy(WEB).await;
    let mut number = 1;
    for (index, path) in machine.paths().await.iter().enumerate() {
        for moment in [0, 400, 1300] {
            number += 1;
            let tag = format!("v{number}");
            let begun = machine.begin(&WEB.replace("v1", &tag)).await;
            pass(ms(moment + 17 * u64::try_from(index).unwrap())).await;
            // Allocs come and go.
            let restarted = machine.actors().restart(path).await;
            assert!(restarted.is_ok() || path.starts_with("daemon/agent/"), "{path}: {restarted:?}");
            let ended = machine.end_of(begun.id).await;
            assert_eq!(ended.state.as_str(), "succeeded", "{path} was restarted: {ended:#?}");
            machine.settles().await;
            assert_eq!(machine.tags(), [tag.clone(), tag], "{path} was restarted after {moment} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_plane_that_is_killed_is_started_again_and_knows_every_stream() {
    let machine = Machine::with_cluster("node-1", 1).await;
    machine.deploy(WEB).await;
    let captured = async || {
        until("both outputs are captured", async || {
            let captured = machine.logs.captured();
            if captured.len() == 4 { Ok(captured) } else { Err(format!("{captured:?}")) }
        })
        .await
    };
    let before = captured().await;
    machine.planes.kill();
    until("nothing is captured", async || {
        let captured = machine.logs.captured();
        if captured.is_empty() { Ok(()) } else { Err(format!("{captured:?}")) }
    })
    .await;
    assert_eq!(captured().await, before);
}
