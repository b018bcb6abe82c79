//! What becomes of a small world whose leader decides.

mod spawns;
mod world;

use std::sync::Arc;

use mill_fsm::{DeployKind, Outcome};
use mill_model::spec::defaults;
use mill_model::{AllocStatus, Bytes, DeployId, Failure, Phase};

use super::*;

use world::task;
pub(crate) use world::{World, project, service};

#[test]
fn a_first_deploy_starts_everything_and_the_same_again_changes_nothing() {
    let mut world = World::new();
    let target = project("shop", vec![service("web", "web1", 3, &[])], vec![]);
    let first = world.begin(&target, DeployKind::Deploy);
    world.settle("shop/web");
    assert_eq!(world.outcome(first), Outcome::Succeeded);
    let running = world.healthy("shop/web");
    assert_eq!(running.len(), 3);

    let second = world.begin(&target, DeployKind::Deploy);
    world.settle("shop/web");
    assert_eq!(world.outcome(second), Outcome::Succeeded);
    assert_eq!(world.healthy("shop/web"), running);
    assert_eq!(world.cluster.projects[&target.name].history.len(), 2);
}

#[test]
fn a_new_version_replaces_the_old_one_without_a_gap() {
    let mut world = World::new();
    world.begin(&project("shop", vec![service("web", "web1", 3, &[])], vec![]), DeployKind::Deploy);
    world.settle("shop/web");
    let id = world.begin(&project("shop", vec![service("web", "web2", 3, &[])], vec![]), DeployKind::Deploy);
    let fewest = world.settle("shop/web");
    assert_eq!(world.outcome(id), Outcome::Succeeded);
    assert_eq!(world.images("shop/web"), ["web2"; 3]);
    assert_eq!(fewest, 3);
}

#[test]
fn a_failing_version_is_rolled_back_and_the_old_one_keeps_its_full_count() {
    for failure in
        [Failure::Exited { code: 1 }, Failure::NoSuchCommand { command: "x".into() }, Failure::OutOfMemory]
    {
        let mut world = World::new();
        world.begin(&project("shop", vec![service("web", "web1", 3, &[])], vec![]), DeployKind::Deploy);
        world.settle("shop/web");
        let before = world.healthy("shop/web");
        world.fails = vec![("web2", failure)];
        let id =
            world.begin(&project("shop", vec![service("web", "web2", 3, &[])], vec![]), DeployKind::Deploy);
        let fewest = world.settle("shop/web");
        assert_eq!((world.outcome(id), world.state(id, "web")), (Outcome::Failed, StepState::RolledBack));
        assert_eq!(fewest, 3);
        assert_eq!(world.healthy("shop/web"), before);
    }
}

#[test]
fn what_depends_on_a_failure_is_not_started_and_the_rest_goes_on() {
    let mut world = World::new();
    world.fails = vec![("db1", Failure::Exited { code: 3 })];
    let services = vec![
        service("web", "web1", 1, &["db"]),
        service("db", "db1", 1, &[]),
        service("other", "other1", 1, &[]),
    ];
    let id = world.begin(&project("shop", services, vec![]), DeployKind::Deploy);
    world.settle("shop/other");
    assert_eq!(world.outcome(id), Outcome::Failed);
    let states = ["web", "db", "other"].map(|name| world.state(id, name));
    assert_eq!(states, [StepState::Skipped, StepState::RolledBack, StepState::Done]);
    assert_eq!(world.healthy("shop/other").len(), 1);
    assert!(world.cluster.allocs.values().all(|alloc| alloc.workload.name.as_str() != "web"));
}

#[test]
fn what_left_the_file_is_kept_while_others_are_as_before() {
    let mut world = World::new();
    world.fails = vec![("web2", Failure::Exited { code: 3 })];
    let services = vec![service("web", "web1", 1, &[]), service("db", "db1", 1, &[])];
    world.begin(&project("shop", services, vec![]), DeployKind::Deploy);
    world.settle("shop/db");
    let id = world.begin(&project("shop", vec![service("web", "web2", 1, &[])], vec![]), DeployKind::Deploy);
    world.settle("shop/db");
    assert_eq!((world.outcome(id), world.state(id, "db")), (Outcome::Failed, StepState::Skipped));
    let reason = world.deploy(id).steps[&"db".parse::<mill_model::WorkloadName>().unwrap()].reason.clone();
    assert_eq!(reason, Some(mill_fsm::StepReason::StillUsed { name: "web".parse().unwrap() }));
    assert_eq!(
        (world.images("shop/web"), world.images("shop/db")),
        (vec!["web1".into()], vec!["db1".into()])
    );
}

#[test]
fn a_task_runs_before_what_depends_on_it_again_when_that_changes_and_not_on_a_rollback() {
    let mut world = World::new();
    let target =
        |image| project("shop", vec![service("web", image, 1, &["migrate"])], vec![task("migrate", "m1")]);
    let runs = |world: &World| {
        let migrations = |alloc: &&Arc<mill_fsm::Alloc>| alloc.is_task;
        world.cluster.allocs.values().filter(migrations).count()
    };
    world.begin(&target("web1"), DeployKind::Deploy);
    while world.healthy("shop/web").is_empty() {
        world.decide();
        let migrated = world.cluster.allocs.values().any(|a| a.is_task && a.status.phase == Phase::Stopped);
        let web = world.cluster.allocs.values().any(|alloc| !alloc.is_task);
        assert!(migrated || !web, "web was placed before its migration had ended");
        world.work();
    }
    world.settle("shop/web");
    assert_eq!(runs(&world), 1);
    for (kind, image, expected) in [
        (DeployKind::Deploy, "web1", 1),
        (DeployKind::Deploy, "web2", 2),
        (DeployKind::Rollback { to: DeployId(1) }, "web1", 2),
    ] {
        let id = world.begin(&target(image), kind.clone());
        world.settle("shop/web");
        assert_eq!(world.outcome(id), Outcome::Succeeded);
        assert_eq!(runs(&world), expected, "{kind:?} {image}");
    }
}

#[test]
fn a_failed_migration_leaves_the_old_version_alone() {
    let mut world = World::new();
    let target = |image, migration| {
        project("shop", vec![service("web", image, 2, &["migrate"])], vec![task("migrate", migration)])
    };
    world.begin(&target("web1", "m1"), DeployKind::Deploy);
    world.settle("shop/web");
    world.fails = vec![("m2", Failure::Exited { code: 9 })];
    let id = world.begin(&target("web2", "m2"), DeployKind::Deploy);
    assert_eq!(world.settle("shop/web"), 2);
    assert_eq!(world.outcome(id), Outcome::Failed);
    assert_eq!(world.images("shop/web"), ["web1"; 2]);
}

#[test]
fn services_that_left_the_file_stop_and_other_projects_stay() {
    let mut world = World::new();
    let both = vec![service("web", "web1", 1, &[]), service("old", "old1", 2, &[])];
    world.begin(&project("shop", both, vec![]), DeployKind::Deploy);
    world.begin(&project("blog", vec![service("web", "blog1", 1, &[])], vec![]), DeployKind::Deploy);
    world.settle("shop/web");
    let blog = world.healthy("blog/web");
    let id = world.begin(&project("shop", vec![service("web", "web1", 1, &[])], vec![]), DeployKind::Deploy);
    world.settle("shop/web");
    assert_eq!(world.outcome(id), Outcome::Succeeded);
    assert_eq!((world.healthy("shop/old").len(), world.healthy("shop/web").len()), (0, 1));
    assert_eq!(world.healthy("blog/web"), blog);

    let id = world.begin(&project("shop", vec![], vec![]), DeployKind::Undeploy);
    world.settle("blog/web");
    assert_eq!(world.outcome(id), Outcome::Succeeded);
    assert!(world.healthy("shop/web").is_empty());
    assert_eq!(world.healthy("blog/web"), blog);
}

#[test]
fn a_second_deploy_waits_and_one_that_replaces_rolls_the_first_back() {
    let mut world = World::new();
    let target = |image| project("shop", vec![service("web", image, 2, &[])], vec![]);
    let first = world.begin(&target("web1"), DeployKind::Deploy);
    let second = world.begin(&target("web2"), DeployKind::Deploy);
    world.decide();
    assert!(world.deploy(second).is_waiting());
    world.settle("shop/web");
    assert_eq!((world.outcome(first), world.outcome(second)), (Outcome::Succeeded, Outcome::Succeeded));

    let third = world.begin(&target("web3"), DeployKind::Deploy);
    world.decide();
    world.decide();
    let fourth = world.begin_replacing(&target("web4"), DeployKind::Deploy, true);
    assert_eq!(world.settle("shop/web"), 2);
    assert_eq!((world.outcome(third), world.outcome(fourth)), (Outcome::Replaced, Outcome::Succeeded));
    assert_eq!(world.images("shop/web"), ["web4"; 2]);
}

#[test]
fn a_cancelled_deploy_takes_back_what_it_had_done() {
    let mut world = World::new();
    let target = |a, b| project("shop", vec![service("a", a, 1, &[]), service("b", b, 1, &["a"])], vec![]);
    world.begin(&target("a1", "b1"), DeployKind::Deploy);
    world.settle("shop/a");
    world.fails = vec![("b2", Failure::PullFailed { detail: "slow".into() })];
    let id = world.begin(&target("a2", "b2"), DeployKind::Deploy);
    while world.state(id, "b") != StepState::Rolling {
        world.decide();
        world.work();
    }
    assert_eq!(world.state(id, "a"), StepState::Done);
    world.apply(Command::CancelDeploy { deploy: id, outcome: Outcome::Cancelled }).unwrap();
    world.settle("shop/a");
    assert_eq!(world.outcome(id), Outcome::Cancelled);
    assert_eq!(
        (world.images("shop/a"), world.images("shop/b")),
        (vec!["a1".to_owned()], vec!["b1".to_owned()])
    );
}

#[test]
fn a_rollback_keeps_as_many_serving_as_there_were() {
    let mut world = World::new();
    let target = |a, b| project("shop", vec![service("a", a, 4, &[]), service("b", b, 1, &["a"])], vec![]);
    world.begin(&target("a1", "b1"), DeployKind::Deploy);
    world.settle("shop/a");
    world.fails = vec![("b2", Failure::PullFailed { detail: "slow".into() })];
    let id = world.begin(&target("a2", "b2"), DeployKind::Deploy);
    while world.state(id, "b") != StepState::Rolling {
        world.decide();
        world.work();
    }
    world.apply(Command::CancelDeploy { deploy: id, outcome: Outcome::Cancelled }).unwrap();
    assert_eq!(world.settle("shop/a"), 4);
    assert_eq!(world.images("shop/a"), ["a1"; 4]);
}

#[test]
fn a_deploy_that_takes_too_long_is_rolled_back() {
    let mut world = World::new();
    let mut big = service("web", "web1", 1, &[]);
    big.container.resources.memory = Bytes(8 << 30);
    let id = world.begin(&project("shop", vec![big], vec![]), DeployKind::Deploy);
    world.settle("shop/web");
    assert!(world.deploy(id).is_active(), "no node fits: it waits");
    world.now = world.now.after(defaults::UPDATE_DEADLINE);
    world.settle("shop/web");
    assert_eq!(world.outcome(id), Outcome::Failed);
}

#[test]
fn a_task_that_finds_no_room_fails_its_deploy_in_the_end() {
    let mut world = World::new();
    let mut big = task("migrate", "m1");
    big.container.resources.memory = Bytes(8 << 30);
    let id = world
        .begin(&project("shop", vec![service("web", "w", 1, &["migrate"])], vec![big]), DeployKind::Deploy);
    world.settle("shop/web");
    assert!(world.deploy(id).is_active(), "it waits");
    world.now = world.now.after(defaults::UPDATE_DEADLINE);
    world.settle("shop/web");
    assert_eq!((world.outcome(id), world.state(id, "web")), (Outcome::Failed, StepState::Skipped));
}

#[test]
fn what_serves_after_a_rollback_that_took_too_long_is_kept_until_others_do() {
    let mut world = World::new();
    let target = |a, b| project("shop", vec![service("a", a, 2, &[]), service("b", b, 1, &["a"])], vec![]);
    world.begin(&target("a1", "b1"), DeployKind::Deploy);
    world.settle("shop/a");
    world.fails = vec![("a1", Failure::OutOfMemory), ("b2", Failure::PullFailed { detail: "slow".into() })];
    let id = world.begin(&target("a2", "b2"), DeployKind::Deploy);
    while world.state(id, "b") != StepState::Rolling {
        world.decide();
        world.work();
    }
    world.apply(Command::CancelDeploy { deploy: id, outcome: Outcome::Cancelled }).unwrap();
    for past_the_deadline in [false, true] {
        for _ in 0..20 {
            world.decide();
            world.work();
            assert_eq!(world.images("shop/a"), ["a2"; 2], "the old version doesn't come back");
        }
        assert_eq!(world.deploy(id).outcome.is_some(), past_the_deadline);
        world.now = world.now.after(defaults::UPDATE_DEADLINE);
    }
    assert_eq!(world.outcome(id), Outcome::Cancelled);
    // Now the old version gets well.
    world.fails.clear();
    let waiting: Vec<AllocStatus> = world.cluster.allocs.values().map(|alloc| alloc.status.clone()).collect();
    let well = |status: AllocStatus| AllocStatus {
        phase: Phase::Healthy,
        revision: status.revision + 1,
        failures: 0,
        ..status
    };
    let well = waiting.into_iter().filter(|status| status.phase == Phase::Waiting).map(well).collect();
    world.apply(Command::ReportAllocs { node: NodeId(1), statuses: well }).unwrap();
    assert_eq!(world.settle("shop/a"), 2);
    assert_eq!(world.images("shop/a"), ["a1"; 2]);
}

#[test]
fn one_that_its_node_starts_again_is_not_replaced_meanwhile() {
    let mut world = World::new();
    world.begin(&project("shop", vec![service("web", "w1", 2, &[])], vec![]), DeployKind::Deploy);
    world.settle("shop/web");
    for (phase, failures) in [(Phase::Unhealthy, 0), (Phase::Stopping, 0), (Phase::Waiting, 1)] {
        let mut status = world.cluster.allocs.values().next().unwrap().status.clone();
        (status.phase, status.failures) = (phase, failures);
        status.revision += 1;
        world.apply(Command::ReportAllocs { node: NodeId(1), statuses: vec![status] }).unwrap();
        assert!(!world.decide(), "{phase:?}");
    }
}

#[test]
fn ended_allocs_and_empty_projects_are_forgotten_in_the_end() {
    let mut world = World::new();
    for image in ["w1", "w2", "w3", "w4", "w5", "w6", "w7", "w8"] {
        world.begin(&project("shop", vec![service("web", image, 1, &[])], vec![]), DeployKind::Deploy);
        world.settle("shop/web");
    }
    assert_eq!(world.cluster.allocs.len(), 1 + mill_model::limits::ENDED_ALLOCS_KEPT);
    world.begin(&project("shop", vec![], vec![]), DeployKind::Undeploy);
    world.settle("shop/web");
    world.now = world.now.after(Tempo::default().ended_kept);
    world.settle("shop/web");
    assert_eq!((world.cluster.allocs.len(), world.cluster.projects.len()), (0, 0));
    assert_eq!((world.cluster.runnables.len(), world.cluster.deploys.len()), (0, 0));
}
