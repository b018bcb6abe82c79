//! The daemon dies in the middle of something, at many points, and starts again on the same machine.

use std::collections::BTreeSet;

use mill_api::daemon::{DaemonState, InitRequest};
use mill_api::deploys::DeployState;

use super::machine::{Machine, WEB};
use super::{ms, pass, secs};

/// What happens to a daemon.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Blow {
    /// Its process is killed.
    Kill,
    /// Its machine loses power.
    PowerLoss,
}

impl Machine {
    async fn suffer(&mut self, blow: Blow) {
        match blow {
            Blow::Kill => self.kill().await,
            Blow::PowerLoss => self.lose_power().await,
        }
        self.start().await;
    }
}

/// Lets a node go on by this many steps: most of them one turn of its tasks, some of them a bit of time.
async fn steps(count: u32) {
    for step in 0..count {
        match step % 8 {
            7 => pass(ms(5)).await,
            _ => tokio::task::yield_now().await,
        }
    }
}

/// Strikes a daemon after each `every`-th step of a deploy, from `first` on, until deploys are over by then.
async fn strike_at_each(blow: Blow, first: u32, every: usize) {
    let mut machine = Machine::with_cluster("node-1", u64::from(first)).await;
    machine.deploy(WEB).await;
    let mut struck = 0;
    for (number, at) in (first..).step_by(every).enumerate() {
        let tag = format!("v{}", number + 2);
        let begun = machine.begin(&WEB.replace("v1", &tag)).await;
        steps(at).await;
        let is_over = |deploy: &std::sync::Arc<mill_fsm::Deploy>| deploy.outcome.is_some();
        if machine.cluster().deploys.get(&begun.id).is_none_or(is_over) {
            break;
        }
        struck += 1;
        machine.suffer(blow).await;
        let ended = machine.end_of(begun.id).await;
        machine.settles().await;
        let tags = machine.tags();
        match ended.state {
            DeployState::Succeeded => assert_eq!(tags, [tag.clone(), tag], "{blow:?} after {at} steps"),
            // What it had started is gone with the power.
            DeployState::Failed if blow == Blow::PowerLoss => assert!(!tags.contains(&tag), "{tags:?}"),
            _ => panic!("{blow:?} after {at} steps: {ended:#?}"),
        }
    }
    assert!(struck > 20, "only {struck} times");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_killed_in_the_middle_of_a_deploy_goes_on_with_it() {
    strike_at_each(Blow::Kill, 0, 23).await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_power_in_the_middle_of_a_deploy_runs_what_is_wanted_when_it_is_back() {
    strike_at_each(Blow::PowerLoss, 13, 29).await;
}

#[tokio::test(start_paused = true)]
async fn a_daemon_killed_in_the_middle_of_init_becomes_a_cluster_by_another_init() {
    let mut left_as = BTreeSet::new();
    for at in (0..60).step_by(3) {
        let mut machine = Machine::new("node-1", u64::from(at));
        machine.start().await;
        let api = machine.api();
        let init = tokio::spawn(async move { api.init(&InitRequest::default()).await });
        steps(at).await;
        machine.kill().await;
        let _ = init.await.unwrap();
        machine.start().await;
        pass(secs(5)).await;
        let left = machine.api().daemon().await.unwrap().state;
        let answer = machine.api().init(&InitRequest::default()).await;
        match left {
            // Nobody was told of it, but it was made.
            DaemonState::Member => assert!(answer.is_err(), "killed after {at} steps: {answer:?}"),
            DaemonState::Idle | DaemonState::Starting => {
                assert!(answer.is_ok(), "killed after {at} steps, {left:?}: {answer:?}");
            }
        }
        left_as.insert(format!("{left:?}"));
        machine.deploy(WEB).await;
        assert_eq!(machine.tags(), ["v1", "v1"], "killed after {at} steps");
        assert!(machine.is_marked_as_member(), "killed after {at} steps");
    }
    assert_eq!(left_as.len(), 3, "no kill was in the middle: {left_as:?}");
}
