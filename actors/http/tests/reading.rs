//! What is read, and what is shown.

use std::time::Duration;

use mill_api::allocs::AllocQuery;
use mill_api::deploys::{Action, DeployState, ServiceOutcome};
use mill_api::inspect::Inspected;
use mill_api::services::ServiceState;
use mill_api::{ClientError, Code};
use mill_drivers::clock::FakeClock;
use mill_fsm::{Cluster, Command, DeployKind, Halt, NewToken};
use mill_model::{Bytes, DeployId, Failure, Role, Timestamp};

use super::room::Room;
use super::world::{World, after, project, service, task, workload};

fn shop() -> World {
    let mut world = World::new();
    let services = vec![service("db", "db:1", 1), after("migrate", service("web", "web:1", 2))];
    world.deploy(&project("shop", services, vec![task("migrate", "migrate:1")]));
    world.deploy(&project("blog", vec![service("web", "blog:1", 1)], vec![]));
    world
}

fn refused(error: ClientError) -> mill_api::ApiError {
    match error {
        ClientError::Refused(error) => *error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_healthy_cluster_is_shown_on_every_page() {
    let room = Room::new(shop()).await;
    let api = room.api();
    let status = api.status().await.unwrap();
    assert_eq!((status.leader.as_ref().unwrap().as_str(), status.version.as_str()), ("node-1", "0.1.0"));
    assert_eq!((status.nodes.len(), status.services.len(), status.deploys.len()), (1, 4, 0));
    assert!(status.nodes[0].leader && status.warnings.is_empty());
    assert_eq!(status.nodes[0].allocs, 4);

    let services = api.services().await.unwrap();
    let shown: Vec<_> =
        services.iter().map(|s| (s.workload.to_string(), s.state, s.wanted, s.healthy)).collect();
    assert_eq!(
        shown,
        [
            ("blog/web".to_owned(), ServiceState::Healthy, 1, 1),
            ("shop/db".to_owned(), ServiceState::Healthy, 1, 1),
            ("shop/migrate".to_owned(), ServiceState::Done, 0, 0),
            ("shop/web".to_owned(), ServiceState::Healthy, 2, 2),
        ]
    );
    assert_eq!(services[3].deploy, DeployId(1));
    assert!(services.iter().all(|service| service.problem.is_none()));
    assert_eq!(services[3].endpoints.len(), 2);
    assert_eq!(services[3].endpoints[0].address.ip().to_string(), "10.0.0.1");

    let living = api.allocs(&AllocQuery::default()).await.unwrap();
    assert_eq!(living.len(), 4);
    assert!(living.iter().all(|alloc| !alloc.old && alloc.restarts == 0));
    let query = AllocQuery { project: Some("shop".parse().unwrap()), all: true, ..AllocQuery::default() };
    assert_eq!(api.allocs(&query).await.unwrap().len(), 4, "the ended task too");

    let projects = api.projects().await.unwrap();
    assert_eq!((projects.len(), projects[1].services, projects[1].tasks), (2, 2, 1));
    assert_eq!(projects[1].current, Some(DeployId(1)));
    let history = api.history(&"shop".parse().unwrap()).await.unwrap();
    assert_eq!((history.len(), history[0].current, history[0].state), (1, true, DeployState::Succeeded));
    assert_eq!(history[0].images.len(), 3);
    assert_eq!(history[0].by.as_deref(), Some("test"));

    let deploy = api.deploy_status(DeployId(1)).await.unwrap();
    let order: Vec<&str> = deploy.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(order, ["migrate", "db", "web"]);
    assert!(deploy.services.iter().all(|service| service.outcome == ServiceOutcome::Done));
    let events = api.events(None).await.unwrap();
    assert!(events.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert!(events.iter().any(|event| event.kind == "alloc_healthy" && event.message.contains("is healthy")));
    assert_eq!(api.events(Some(events[5].id)).await.unwrap(), events[6..]);
    assert_eq!(api.why(&workload("shop/web")).await.unwrap().reasons, []);
    assert_eq!(api.doctor().await.unwrap().findings.len(), 1);
}

#[tokio::test]
async fn anything_is_inspected_by_any_name_that_means_one_thing() {
    let room = Room::new(shop()).await;
    let api = room.api();
    let alloc = room.act(|world| world.allocs(&workload("shop/db"))[0].id.clone());
    for (name, kind) in [
        ("shop/web", "service"),
        ("db", "service"),
        ("shop/migrate", "service"),
        (alloc.as_str(), "alloc"),
        ("shop", "project"),
        ("node-1", "node"),
        ("#1", "deploy"),
    ] {
        let inspected = api.inspect(name).await.unwrap();
        let seen = match &inspected {
            Inspected::Node { allocs, .. } => (!allocs.is_empty()).then_some("node"),
            Inspected::Alloc { alloc: seen, .. } => (seen.id == alloc).then_some("alloc"),
            Inspected::Service { allocs, .. } => (!allocs.is_empty()).then_some("service"),
            Inspected::Project { history, .. } => (!history.is_empty()).then_some("project"),
            Inspected::Deploy { progress, .. } => (progress.len() > 5).then_some("deploy"),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(seen, Some(kind), "{name}: {inspected:?}");
    }
    let ambiguous = refused(api.inspect("web").await.unwrap_err());
    assert_eq!(ambiguous.code, Code::Ambiguous);
    assert_eq!(ambiguous.reason.as_deref(), Some("it fits service blog/web, service shop/web"));
    let unknown = refused(api.inspect("shpo").await.unwrap_err());
    assert_eq!((unknown.code, unknown.hint.as_deref()), (Code::NotFound, Some("did you mean `shop`?")));
    for missing in ["nothing/at/all", "#99", "web-0000"] {
        assert_eq!(refused(api.inspect(missing).await.unwrap_err()).code, Code::NotFound, "{missing}");
    }
}

#[tokio::test]
async fn what_is_not_deployed_is_inspected_too_and_shows_nothing_that_is_secret() {
    let mut world = shop();
    for (secret, sealed) in [("shop/db.password", b"one"), ("shop/db.password", b"two"), ("shop/web", b"xyz")]
    {
        let (secret, sealed) = (secret.parse().unwrap(), sealed.to_vec());
        world.apply(Command::SetSecret { secret, sealed, by: "test".into() }).unwrap();
    }
    let host = "registry.example.com:5000".parse().unwrap();
    let sealed = b"sealed-password".to_vec();
    world.apply(Command::SetRegistry { host, user: "puller".into(), sealed, by: "test".into() }).unwrap();
    let (id, project) = ("job-2222".parse().unwrap(), "shop".parse().unwrap());
    let spec = std::sync::Arc::new(task("job", "job:1"));
    world.apply(Command::SpawnTask { id, project, spec, by: "test".into() }).unwrap();
    let (name, hash) = ("ops".parse().unwrap(), [7; 32]);
    let new = NewToken { name, role: Role::Admin, hash, expires_at: None, by: "test".into() };
    world.apply(Command::CreateToken(new)).unwrap();
    let room = Room::new(world).await;
    let api = room.api();
    for (name, kind, shown) in [
        ("db.password", "secret", "\"version\":2"),
        ("secret:shop/web", "secret", "\"secret\":\"shop/web\""),
        ("ops", "token", "\"role\":\"admin\""),
        ("registry.example", "registry", "puller"),
        ("job-2222", "task", "\"id\":\"job-2222\""),
        ("actor:http", "actor", "\"path\":\"http\""),
    ] {
        let inspected = serde_json::to_string(&api.inspect(name).await.unwrap()).unwrap();
        assert!(inspected.contains(&format!("\"kind\":\"{kind}\"")), "{name}: {inspected}");
        assert!(inspected.contains(shown), "{name}: {inspected}");
        for hidden in ["sealed", "one", "two", "hash\":\""] {
            let found = inspected.contains(hidden);
            assert!(!found || kind == "task" || kind == "actor", "{name} shows {hidden}: {inspected}");
        }
    }
    let web = api.inspect("shop/web").await.unwrap();
    assert!(matches!(web, Inspected::Service { .. }), "the secret of that name is in nobody's way");
}

#[tokio::test]
async fn what_is_used_is_read_when_somebody_asks_and_once_for_all_who_do() {
    let room = Room::new(shop()).await;
    let api = room.api();
    let first = api.top().await.unwrap();
    assert_eq!((first.nodes.len(), first.allocs.len(), first.at_us), (1, 4, 0));
    assert!(first.problem.is_none() && first.allocs.iter().all(|alloc| alloc.limit.memory.0 > 0));
    let (again, at_once) = tokio::join!(api.top(), api.top());
    assert_eq!((again.unwrap().at_us, at_once.unwrap().at_us), (0, 0), "nobody looked again");
    let another = async { while api.top().await.unwrap().at_us == 0 {} };
    tokio::time::timeout(Duration::from_secs(30), another).await.expect("another look once the first is old");
}

#[tokio::test]
async fn what_is_not_there_is_said_so_with_what_may_be_meant() {
    let room = Room::new(shop()).await;
    let api = room.api();
    let error = refused(api.history(&"shpo".parse().unwrap()).await.unwrap_err());
    assert_eq!((error.code, error.hint.as_deref()), (Code::NotFound, Some("did you mean `shop`?")));
    let error = refused(api.why(&workload("shop/wbe")).await.unwrap_err());
    assert_eq!((error.code, error.hint.as_deref()), (Code::NotFound, Some("did you mean `shop/web`?")));
    let error = refused(api.deploy_status(DeployId(99)).await.unwrap_err());
    assert_eq!(error.code, Code::NotFound);
    assert_eq!(refused(api.progress(DeployId(99)).await.map(|_| ()).unwrap_err()).code, Code::NotFound);
}

#[tokio::test]
async fn why_names_what_fails_what_finds_no_room_and_what_was_rolled_back() {
    let mut world = shop();
    world.fails = vec![("web:2".into(), Failure::Exited { code: 3 })];
    let broken = project("shop", vec![service("db", "db:1", 1), service("web", "web:2", 2)], vec![]);
    world.deploy(&broken);
    let room = Room::new(world).await;
    let api = room.api();
    let why = api.why(&workload("shop/web")).await.unwrap();
    assert_eq!(why.service.state, ServiceState::Healthy, "the old version goes on");
    assert_eq!(why.service.problem, None);
    assert!(why.reasons[0].what.contains("deploy #3 was rolled back: web-"), "{:?}", why.reasons);
    assert!(why.reasons[0].what.ends_with("exited with code 3"), "{:?}", why.reasons);
    assert!(why.reasons[0].hint.as_ref().unwrap().contains("mill logs"));

    // One crashes, and tells why.
    let alloc = room.act(|world| world.allocs(&workload("blog/web"))[0].id.clone());
    room.fake.write(&alloc, 7, "panic: no database");
    room.act(|world| {
        world.report(&alloc, |status| {
            status.phase = mill_model::Phase::Waiting;
            status.failures = 2;
            status.last_end = Some(mill_model::Ended {
                incarnation: mill_model::Incarnation(1),
                failure: Some(Failure::OutOfMemory),
                at: status.since,
                code: Some(137),
            });
        });
    });
    let why = api.why(&workload("blog/web")).await.unwrap();
    assert_eq!(why.service.state, ServiceState::Down);
    let reason = &why.reasons[0];
    assert_eq!(reason.what, format!("{alloc} out of memory: it reached its ceiling, 2 times in a row"));
    assert_eq!(reason.log_tail, ["panic: no database"]);
    assert_eq!(reason.next_try.unwrap().since(reason.since.unwrap()).as_secs(), 5);
    assert!(reason.hint.as_ref().unwrap().contains("memory"));
    assert_eq!(why.service.problem.as_ref(), Some(&reason.what));

    // One finds no room.
    let mut big = service("big", "big:1", 1);
    big.container.resources.memory = Bytes(1 << 40);
    room.act(|world| {
        world.begin(&project("big", vec![big], vec![]), DeployKind::Deploy);
        world.settle();
    });
    let why = api.why(&workload("big/big")).await.unwrap();
    assert_eq!(why.service.state, ServiceState::Deploying);
    assert_eq!(why.reasons[0].nodes[0].reason, "has only 4 cpu and 1G memory");
    let status = api.status().await.unwrap();
    assert_eq!((status.deploys.len(), &status.deploys[0].action), (1, &Action::Deploy));
    assert_eq!(status.deploys[0].state, DeployState::Running);
}

#[tokio::test]
async fn both_trees_are_shown_and_an_actor_is_restarted_by_its_path() {
    let room = Room::new(shop()).await;
    let api = room.api();
    let actors = api.actors().await.unwrap();
    assert_eq!((actors.daemon.path.as_str(), actors.plane), ("http", None));
    assert_eq!(actors.plane_problem.as_deref(), Some("nobody answers on its socket"));
    assert_eq!(actors.daemon.observed["bootstrapped"], true);
    let error = refused(api.restart_actor("daemon/nobody").await.unwrap_err());
    assert_eq!((error.code, error.message.as_str()), (Code::NotFound, "there is no actor `daemon/nobody`"));
    assert!(refused(api.restart_actor("plane/logs").await.unwrap_err()).message.contains("plane/logs"));
    // The API answers before it is restarted itself.
    api.restart_actor("http").await.unwrap();
    let restarted = async {
        loop {
            if api.actors().await.is_ok_and(|actors| actors.daemon.restarts == 1) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), restarted).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_was_set_and_a_log_that_stands_still_are_told() {
    let room = Room::new(shop()).await;
    let api = room.api();
    assert_eq!(api.status().await.unwrap().warnings, [""; 0]);
    room.published.halted.send_replace(Some(Halt::Level { needs: 9 }));
    let clock = FakeClock::at(Timestamp(10_000_000));
    for back in [0, 3600] {
        clock.jump_back(Duration::from_secs(back));
        room.published.stamps.now(&clock, &room.tempo, &Cluster::default());
    }
    let warnings = api.status().await.unwrap().warnings;
    assert!(
        warnings[0].starts_with("this node applies the log no more: a log entry needs level 9"),
        "{warnings:?}"
    );
    assert!(warnings[1].starts_with("this node's clock was set back by 1h at "), "{warnings:?}");
}
