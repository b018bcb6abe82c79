//! A deploy's images come before its allocs, and before anything is stopped for them.

use std::time::Duration;

use mill_fsm::{Command, DeployKind, Outcome};
use mill_model::node::NodeFacts;
use mill_model::spec::defaults;
use mill_model::{Bytes, Failure, Millicores, Resources, ServiceSpec, TaskSpec};
use mill_scheduler::Failing;

use super::super::tests::{World, project, service};
use super::*;

fn stop_first(name: &str, image: &str, replicas: u32, depends_on: &[&str]) -> ServiceSpec {
    let mut spec = service(name, image, replicas, depends_on);
    spec.update.order = UpdateOrder::StopFirst;
    spec
}

fn failing(failures: u32, last: Failure) -> FetchState {
    FetchState::Failing(Failing { failures, last })
}

fn refused() -> Failure {
    Failure::PullFailed { detail: "refused".to_owned() }
}

fn missing() -> Failure {
    Failure::NoSuchImage { detail: "v404".to_owned() }
}

/// `web1` and `db1` run, stop-first, two replicas of `web`; then a deploy of these begins.
fn replacing(services: Vec<ServiceSpec>) -> (World, DeployId) {
    let mut world = World::new();
    let before = vec![stop_first("web", "web1", 2, &[]), stop_first("db", "db1", 1, &[])];
    world.begin(&project("shop", before, vec![]), DeployKind::Deploy);
    world.settle("shop/web");
    assert!(world.fetching.asked.is_empty(), "nothing is under way any more");
    let id = world.begin(&project("shop", services, vec![]), DeployKind::Deploy);
    (world, id)
}

fn web2() -> Vec<ServiceSpec> {
    vec![stop_first("web", "web2", 2, &[]), stop_first("db", "db1", 1, &[])]
}

/// Names of the images that a node is to fetch.
fn asked(world: &World, node: u64) -> Vec<String> {
    let asked = world.fetching.asked.get(&NodeId(node)).into_iter().flatten();
    asked.map(|(image, _)| image.repository.clone()).collect()
}

fn old_left(world: &World) -> usize {
    world.cluster.allocs.values().filter(|alloc| alloc.is_wanted() && alloc.deploy == DeployId(1)).count()
}

#[test]
fn all_images_of_a_deploy_are_fetched_from_its_beginning_each_until_its_step_ends() {
    let mut world = World::new();
    let services = vec![
        service("web", "web1", 2, &["db"]),
        service("db", "db1", 1, &["migrate"]),
        service("idle", "idle1", 0, &[]),
    ];
    let migrate: TaskSpec = TaskSpec::new("migrate".parse().unwrap(), "r.test/m1".parse().unwrap());
    let id = world.begin(&project("shop", services, vec![migrate]), DeployKind::Deploy);
    world.decide();
    assert_eq!(asked(&world, 1), ["db1", "m1", "web1"]);
    assert!(world.fetching.asked[&NodeId(1)].values().all(|deploy| *deploy == id));
    let mut seen = vec![asked(&world, 1)];
    while world.deploy(id).is_active() {
        world.decide();
        world.work();
        if seen.last() != Some(&asked(&world, 1)) {
            seen.push(asked(&world, 1));
        }
    }
    assert_eq!(seen, [vec!["db1", "m1", "web1"], vec!["db1", "web1"], vec!["web1"], vec![]]);
}

#[test]
fn a_stop_first_replica_is_stopped_only_once_its_successors_node_has_the_image() {
    let early = DeployId(1);
    for (state, said_for, stopped) in [
        (None, None, 0),
        (Some(FetchState::UnderWay), None, 0),
        (Some(failing(2, refused())), None, 0),
        (Some(FetchState::Here), Some(early), 0),
        (Some(failing(9, missing())), Some(early), 0),
        (Some(FetchState::Here), None, 1),
    ] {
        let (mut world, id) = replacing(web2());
        world.fetched = vec![("web2", state.clone().unwrap_or(FetchState::UnderWay))];
        world.decide();
        for _ in 0..20 {
            match (&state, said_for) {
                (None, _) => world.fetching.said.clear(),
                (_, Some(deploy)) => {
                    let said = world.fetching.said.values_mut().flat_map(BTreeMap::values_mut);
                    said.for_each(|fetch| fetch.deploy = deploy);
                }
                _ => {}
            }
            world.decide();
            assert_eq!(asked(&world, 1), ["web2"]);
        }
        assert_eq!(world.deploy(id).steps[&"web".parse::<WorkloadName>().unwrap()].reason, None);
        assert_eq!(3 - old_left(&world), stopped, "{state:?} of {said_for:?}");
    }
}

#[test]
fn a_fetch_that_fails_for_good_turns_a_stop_first_step_back_with_nothing_stopped() {
    for (failures, failure) in [(1, missing()), (3, refused())] {
        let (mut world, id) = replacing(web2());
        let before = world.healthy("shop/web");
        world.fetched = vec![("web2", failing(failures, failure.clone()))];
        assert_eq!(world.settle("shop/web"), 2, "no replica was ever missing");
        assert_eq!((world.outcome(id), world.healthy("shop/web")), (Outcome::Failed, before));
        let step = &world.deploy(id).steps[&"web".parse::<WorkloadName>().unwrap()];
        let node = "node-1".parse().unwrap();
        assert_eq!(step.reason, Some(StepReason::FetchFailed { node, failure }));
        assert!(world.fetching.asked.is_empty());
    }
}

#[test]
fn a_slow_fetch_ends_in_the_deadline_with_nothing_stopped() {
    let (mut world, id) = replacing(web2());
    let before = world.healthy("shop/web");
    world.fetched = vec![("web2", FetchState::UnderWay)];
    assert_eq!(world.settle("shop/web"), 2);
    assert!(world.deploy(id).is_active());
    world.pass(defaults::UPDATE_DEADLINE);
    assert_eq!(world.settle("shop/web"), 2);
    let step = &world.deploy(id).steps[&"web".parse::<WorkloadName>().unwrap()];
    assert!(matches!(step.reason, Some(StepReason::Deadline { .. })), "{step:?}");
    assert_eq!((world.outcome(id), world.healthy("shop/web")), (Outcome::Failed, before));
}

#[test]
fn what_needs_no_successor_and_what_starts_first_waits_for_no_fetch() {
    let start_first = vec![service("web", "web2", 2, &[]), stop_first("db", "db1", 1, &[])];
    let fewer = vec![stop_first("web", "web1", 1, &[]), stop_first("db", "db1", 1, &[])];
    let none = vec![stop_first("web", "web2", 0, &[]), stop_first("db", "db1", 1, &[])];
    for services in [start_first, fewer, none, vec![stop_first("db", "db1", 1, &[])]] {
        let (mut world, id) = replacing(services.clone());
        world.fetched = vec![("web1", failing(9, missing())), ("web2", failing(9, missing()))];
        world.settle("shop/web");
        assert_eq!(world.outcome(id), Outcome::Succeeded, "{services:?}");
    }
}

#[test]
fn a_deploy_that_is_cancelled_or_replaced_fetches_nothing_more() {
    for replace in [false, true] {
        let (mut world, id) = replacing(web2());
        world.fetched = vec![("web2", FetchState::UnderWay), ("web3", FetchState::UnderWay)];
        world.decide();
        assert_eq!(asked(&world, 1), ["web2"]);
        if replace {
            let services = vec![stop_first("web", "web3", 2, &[]), stop_first("db", "db1", 1, &[])];
            world.begin_replacing(&project("shop", services, vec![]), DeployKind::Deploy, true);
        } else {
            world.apply(Command::CancelDeploy { deploy: id, outcome: Outcome::Cancelled }).unwrap();
        }
        world.decide();
        assert_eq!(asked(&world, 1), Vec::<String>::new());
        world.settle("shop/web");
        let wanted: &[&str] = if replace { &["web3"] } else { &[] };
        assert_eq!(asked(&world, 1), wanted);
        assert_eq!(old_left(&world), 3);
    }
}

#[test]
fn a_later_deploy_asks_anew_for_what_an_earlier_one_waits_for_too() {
    let (mut world, first) = replacing(web2());
    world.fetched = vec![("web2", FetchState::UnderWay)];
    world.settle("shop/web");
    let blog = project("blog", vec![stop_first("blog", "web2", 1, &[])], vec![]);
    let second = world.begin(&blog, DeployKind::Deploy);
    world.decide();
    assert_eq!(world.fetching.asked[&NodeId(1)].values().copied().collect::<Vec<_>>(), [second]);
    world.fetched.clear();
    world.decide();
    assert_eq!(old_left(&world), 3, "what was said before it was there doesn't count");
    world.decide();
    assert_eq!(old_left(&world), 2, "and what was said for the later one does");
    world.settle("shop/web");
    assert_eq!((world.outcome(first), world.outcome(second)), (Outcome::Succeeded, Outcome::Succeeded));
}

/// A second node with room for so many MiB.
fn join(world: &mut World, mib: u64) {
    let node = NodeFacts {
        id: NodeId(2),
        name: "node-2".parse().unwrap(),
        advertise: std::net::Ipv4Addr::LOCALHOST.into(),
        capacity: Resources { cpu: Millicores(4000), memory: Bytes(mib << 20) },
        version: "0".to_owned(),
    };
    world.apply(Command::RegisterNode(node)).unwrap();
}

#[test]
fn each_node_that_would_run_a_replica_fetches_its_image() {
    let mut world = World::new();
    join(&mut world, 1024);
    world.begin(&project("shop", vec![service("web", "web1", 2, &[])], vec![]), DeployKind::Deploy);
    world.decide();
    assert_eq!((asked(&world, 1), asked(&world, 2)), (vec!["web1".to_owned()], vec!["web1".to_owned()]));
    world.decide();
    let placed: BTreeSet<NodeId> = world.cluster.allocs.values().map(|alloc| alloc.node).collect();
    assert_eq!(placed.len(), 2);
    // Both are placed, nothing more will be: what is under way isn't broken off.
    world.decide();
    assert_eq!((asked(&world, 1), asked(&world, 2)), (vec!["web1".to_owned()], vec!["web1".to_owned()]));
}

#[test]
fn a_replica_whose_successor_goes_elsewhere_waits_for_that_node() {
    // Grown, it fits on the second node only.
    let (mut world, id) = replacing(vec![]);
    world.settle("shop/web");
    assert_eq!(world.outcome(id), Outcome::Succeeded);
    let mut small = stop_first("web", "web1", 1, &[]);
    small.container.resources.memory = Bytes(100 << 20);
    world.begin(&project("shop", vec![small], vec![]), DeployKind::Deploy);
    world.settle("shop/web");
    join(&mut world, 4096);
    let mut large = stop_first("web", "web2", 1, &[]);
    large.container.resources.memory = Bytes(2 << 30);
    world.fetched = vec![("web2", FetchState::UnderWay)];
    let id = world.begin(&project("shop", vec![large], vec![]), DeployKind::Deploy);
    world.settle("shop/web");
    assert_eq!((asked(&world, 1), asked(&world, 2)), (vec!["web2".to_owned()], vec!["web2".to_owned()]));
    let here = |world: &mut World, node: u64| {
        let said = world.fetching.said.get_mut(&NodeId(node)).unwrap();
        said.values_mut().for_each(|fetch| fetch.state = FetchState::Here);
        let stops = |command: &Command| matches!(command, Command::StopAllocs { .. });
        world.decided().commands.iter().any(stops)
    };
    assert!(!here(&mut world, 1), "it is on a node that won't run it");
    assert!(here(&mut world, 2));
    world.fetched.clear();
    world.settle("shop/web");
    assert_eq!(world.outcome(id), Outcome::Succeeded);
    assert!(world.cluster.allocs.values().any(|alloc| alloc.is_live() && alloc.node == NodeId(2)));
}

#[test]
fn what_was_asked_of_a_node_that_is_gone_or_for_a_step_that_ended_is_not_carried_on() {
    let (mut world, id) = replacing(web2());
    world.fetched = vec![("web2", FetchState::UnderWay)];
    world.settle("shop/web");
    let image = world.fetching.asked[&NodeId(1)].keys().next().unwrap().clone();
    let stale: ImageRef = "r.test/stale".parse().unwrap();
    world.fetching.asked.insert(NodeId(9), Fetches::from([(image, id)]));
    world.fetching.asked.entry(NodeId(1)).or_default().insert(stale, id);
    world.pass(Duration::from_millis(1));
    world.decide();
    assert_eq!((asked(&world, 1), asked(&world, 9)), (vec!["web2".to_owned()], vec![]));
}
