//! Tasks that somebody had run: placed when they fit, once; killed wherever they are; forgotten in time.

use std::time::Duration;

use mill_fsm::Rejected;
use mill_model::{AllocId, limits};

use super::*;

fn ask(world: &mut World, id: &str, spec: &mill_model::TaskSpec) -> Result<mill_fsm::Done, Rejected> {
    let (id, project) = (id.parse().unwrap(), "shop".parse().unwrap());
    let (spec, by) = (Arc::new(spec.clone()), "ann".to_owned());
    world.apply(Command::SpawnTask { id, project, spec, by })
}

fn sized(cpu: u32) -> mill_model::TaskSpec {
    let mut spec = task("job", &format!("job{cpu}"));
    spec.container.resources.cpu = mill_model::Millicores(cpu);
    spec
}

fn phase(world: &World, id: &str) -> Option<Phase> {
    world.cluster.allocs.get(&id.parse::<AllocId>().unwrap()).map(|alloc| alloc.status.phase)
}

#[test]
fn what_is_asked_for_first_is_placed_first_and_the_rest_when_it_fits() {
    let mut world = World::new();
    for id in ["job-aaaa", "job-bbbb"] {
        ask(&mut world, id, &sized(3000)).unwrap();
        world.pass(Duration::from_secs(1));
    }
    ask(&mut world, "job-cccc", &sized(500)).unwrap();
    world.decide();
    assert!(phase(&world, "job-aaaa").is_some() && phase(&world, "job-bbbb").is_none());
    assert!(phase(&world, "job-cccc").is_some(), "a small one needn't wait for a large one");
    let spawn = world.cluster.spawns[&"job-bbbb".parse::<AllocId>().unwrap()].clone();
    assert!(explain_spawn(&world.cluster, &spawn).unwrap().to_string().contains("cpu free"));
    world.settle("shop/job");
    for id in ["job-aaaa", "job-bbbb", "job-cccc"] {
        assert_eq!(phase(&world, id), Some(Phase::Stopped), "{id}");
    }
}

#[test]
fn the_same_question_again_is_no_second_task_and_another_of_its_id_is_refused() {
    let mut world = World::new();
    ask(&mut world, "job-aaaa", &sized(100)).unwrap();
    let before = world.cluster.clone();
    ask(&mut world, "job-aaaa", &sized(100)).unwrap();
    assert_eq!(world.cluster, before);
    assert!(matches!(ask(&mut world, "job-aaaa", &sized(200)), Err(Rejected::AllocExists(_))));
    world.settle("shop/job");
    ask(&mut world, "job-aaaa", &sized(100)).unwrap();
    assert!(!world.decide(), "it has run, and does not again");
}

#[test]
fn a_task_is_killed_wherever_it_is() {
    let mut world = World::new();
    for id in ["job-aaaa", "job-bbbb"] {
        ask(&mut world, id, &sized(3000)).unwrap();
    }
    world.decide();
    let (placed, waits) = match phase(&world, "job-aaaa") {
        Some(_) => ("job-aaaa", "job-bbbb"),
        None => ("job-bbbb", "job-aaaa"),
    };
    for id in [waits, placed, placed, waits] {
        world.apply(Command::KillTask(id.parse().unwrap())).unwrap();
    }
    assert!(matches!(
        world.apply(Command::KillTask("job-zzzz".parse().unwrap())),
        Err(Rejected::NoSuchTask(_))
    ));
    world.settle("shop/job");
    assert_eq!((phase(&world, placed), phase(&world, waits)), (Some(Phase::Stopped), None));
    assert!(world.cluster.spawns[&waits.parse::<AllocId>().unwrap()].called_off_at.is_some());
    world.pass(Tempo::default().ended_kept);
    world.settle("shop/job");
    assert!(
        world.cluster.spawns.is_empty() && world.cluster.runnables.is_empty(),
        "a day later they are forgotten"
    );
}

#[test]
fn a_project_has_so_many_tasks_and_no_more_until_some_have_ended() {
    let mut world = World::new();
    let mut spec = sized(100);
    spec.container.resources = mill_model::Resources::default();
    for number in 0..limits::TASKS_PER_PROJECT_MAX {
        let id = AllocId::derive(&spec.name, number as u64 * 97);
        ask(&mut world, id.as_str(), &spec).unwrap();
    }
    assert!(matches!(ask(&mut world, "job-aaaa", &spec), Err(Rejected::TooManyTasks { .. })));
    world.settle("shop/job");
    ask(&mut world, "job-aaaa", &spec).unwrap();
}

#[test]
fn a_service_and_a_task_are_never_taken_for_each_other() {
    let mut world = World::new();
    ask(&mut world, "web-aaaa", &task("web", "m1")).unwrap();
    world.decide();
    let deploy =
        world.begin(&project("shop", vec![service("web", "w1", 2, &[])], vec![]), DeployKind::Deploy);
    world.settle("shop/web");
    assert_eq!((world.outcome(deploy), world.healthy("shop/web").len()), (Outcome::Succeeded, 2));
    assert!(matches!(ask(&mut world, "web-bbbb", &task("web", "m1")), Err(Rejected::NotATask(_))));
    let replica = world.healthy("shop/web").remove(0);
    assert!(matches!(world.apply(Command::KillTask(replica)), Err(Rejected::Replica(_))));
}

#[test]
fn an_undeploy_ends_what_was_spawned_too() {
    let mut world = World::new();
    world.begin(&project("shop", vec![service("web", "w1", 1, &[])], vec![]), DeployKind::Deploy);
    world.settle("shop/web");
    ask(&mut world, "job-aaaa", &sized(3000)).unwrap();
    world.decide();
    ask(&mut world, "job-bbbb", &sized(3000)).unwrap();
    world.begin(&project("shop", vec![], vec![]), DeployKind::Undeploy);
    world.settle("shop/web");
    assert_eq!(phase(&world, "job-aaaa"), Some(Phase::Stopped));
    assert_eq!(phase(&world, "job-bbbb"), None);
    assert_eq!(world.cluster.waiting_spawns().count(), 0);
}

#[test]
fn a_task_of_a_deploy_that_is_killed_has_not_succeeded() {
    let mut world = World::new();
    let target = project("shop", vec![service("web", "w1", 1, &["migrate"])], vec![task("migrate", "m1")]);
    let deploy = world.begin(&target, DeployKind::Deploy);
    while world.cluster.allocs.is_empty() {
        world.decide();
    }
    let id = world.cluster.allocs.keys().next().unwrap().clone();
    world.apply(Command::KillTask(id)).unwrap();
    world.settle("shop/web");
    assert_eq!(world.outcome(deploy), Outcome::Failed);
}
