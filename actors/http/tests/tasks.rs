//! Tasks over the API: spawned from a template and from an image, killed, listed; what is refused, and why.

use mill_api::inspect::Inspected;
use mill_api::services::ServiceState;
use mill_api::tasks::{SignalRequest, SpawnRequest, TaskQuery, TaskState};
use mill_api::{ClientError, Code};
use mill_drivers::containers::Containers as _;
use mill_fsm::Command;
use mill_model::spec::EnvVar;
use mill_model::template::{Part, Template};
use mill_model::{Ended, Failure, Incarnation, Phase};

use super::room::Room;
use super::world::{World, project, service, task, workload};

fn of_image(image: &str) -> SpawnRequest {
    SpawnRequest { image: image.parse().ok(), ..SpawnRequest::default() }
}

fn of_task(name: &str) -> SpawnRequest {
    SpawnRequest { project: "shop".parse().ok(), task: name.parse().ok(), ..SpawnRequest::default() }
}

async fn room() -> Room {
    let mut world = World::new();
    let sealed = vec![1];
    world
        .apply(Command::SetSecret { secret: "shop/key".parse().unwrap(), sealed, by: String::new() })
        .unwrap();
    let mut migrate = task("migrate", "migrate:1");
    migrate.container.env =
        vec![EnvVar { name: "A".into(), value: Template { parts: vec![Part::Text("1".into())] } }];
    world.deploy(&project("shop", vec![service("web", "web:1", 1)], vec![migrate]));
    world.fails.push(("broken".into(), Failure::Exited { code: 3 }));
    Room::new(world).await
}

fn refused(error: ClientError) -> (Code, String) {
    match error {
        ClientError::Refused(error) => (error.code, format!("{error:?}")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_task_has_its_id_at_once_and_its_exit_code_when_it_has_ended() {
    let room = room().await;
    let api = room.api();
    let task = api.spawn(&of_task("migrate")).await.unwrap();
    assert_eq!((task.workload.to_string().as_str(), task.state), ("shop/migrate", TaskState::Waiting));
    assert!(task.image.as_ref().unwrap().digest.is_some() && task.by.as_deref() == Some("local"));
    let failing = api.spawn(&of_image("broken:1")).await.unwrap();
    assert_eq!(failing.workload.to_string(), "default/broken");
    room.settle();
    let done = api.task(task.id.as_str()).await.unwrap();
    assert_eq!((done.state, done.exit_code, &done.reason), (TaskState::Succeeded, Some(0), &None));
    let failed = api.task(failing.id.as_str()).await.unwrap();
    assert_eq!((failed.state, failed.exit_code), (TaskState::Failed, Some(3)));
    assert_eq!(failed.reason.as_deref(), Some("exited with code 3"));
    assert_eq!(api.tasks(&TaskQuery::default()).await.unwrap(), []);
    let all = TaskQuery { all: true, ..TaskQuery::default() };
    assert_eq!(api.tasks(&all).await.unwrap().len(), 2);
    let shop = TaskQuery { project: "shop".parse().ok(), ..all };
    assert_eq!(api.tasks(&shop).await.unwrap(), [done]);
    let allocs = room.act(|world| world.cluster.clone());
    assert!(allocs.allocs.values().any(|alloc| alloc.id == task.id && alloc.is_task));
}

#[tokio::test]
async fn what_is_given_takes_the_place_of_what_was_deployed() {
    let room = room().await;
    let request = SpawnRequest {
        command: Some(vec!["--to".into(), "${alloc.id}".into()]),
        env: [("A".to_owned(), "${secret(key)}".to_owned())].into(),
        cpu: Some(0.2),
        timeout: Some("90s".into()),
        user: Some("1000".into()),
        ..of_task("migrate")
    };
    let task = room.api().spawn(&request).await.unwrap();
    assert_eq!(task.timeout_ms, Some(90_000));
    let cluster = room.act(|world| world.cluster.clone());
    let spec = cluster.runnables[&cluster.spawns[&task.id].hash].container().clone();
    assert_eq!(spec.command.unwrap()[1].parts, [Part::AllocId]);
    assert_eq!((spec.env.len(), &spec.env[0].value.parts[..]), (1, &[Part::Secret("key".into())][..]));
    assert_eq!((spec.resources.cpu.0, spec.user.as_deref()), (200, Some("1000")));
    assert_eq!(spec.pins.iter().map(ToString::to_string).collect::<Vec<_>>().len(), 1);
    let unknown =
        SpawnRequest { env: [("A".to_owned(), "${secret(nope)}".to_owned())].into(), ..of_task("migrate") };
    let (_, text) = refused(room.api().spawn(&unknown).await.unwrap_err());
    assert!(text.contains("nope"), "there is no such secret: {text}");
}

#[tokio::test]
async fn what_can_not_be_run_is_refused_with_a_reason() {
    let room = room().await;
    let api = room.api();
    for (request, code, says) in [
        (SpawnRequest::default(), Code::BadRequest, "neither a task nor an image"),
        (of_task("web"), Code::BadRequest, "only tasks are run once"),
        (of_task("migrat"), Code::NotFound, "no service or task"),
        (SpawnRequest { name: "x".parse().ok(), ..of_task("migrate") }, Code::BadRequest, "its name already"),
        (SpawnRequest { timeout: Some("soon".into()), ..of_task("migrate") }, Code::BadRequest, "soon"),
        (SpawnRequest { cpu: Some(1e9), ..of_task("migrate") }, Code::BadRequest, "cpu"),
        (SpawnRequest { project: "shop".parse().ok(), ..of_image("web:1") }, Code::Conflict, "is a service"),
    ] {
        let (was, text) = refused(api.spawn(&request).await.unwrap_err());
        assert!(was == code && text.contains(says), "{request:?}: {text}");
    }
    let web = room.act(|world| world.cluster.allocs.keys().next().unwrap().clone());
    let (code, text) = refused(api.kill(web.as_str()).await.unwrap_err());
    assert!(code == Code::BadRequest && text.contains("replica of a service"), "{text}");
    assert_eq!(refused(api.kill("nothing").await.unwrap_err()).0, Code::NotFound);
}

#[tokio::test]
async fn what_does_not_fit_waits_says_why_and_can_be_killed_there() {
    let room = room().await;
    let api = room.api();
    let large = SpawnRequest { cpu: Some(3.0), ..of_image("import:1") };
    let first = api.spawn(&large).await.unwrap();
    room.act(|world| assert!(world.decide()));
    let second = api.spawn(&large).await.unwrap();
    let third = api.spawn(&large).await.unwrap();
    room.act(World::decide);
    let waiting = api.task(second.id.as_str()).await.unwrap();
    assert_eq!((waiting.state, waiting.nodes.len(), waiting.node), (TaskState::Waiting, 1, None));
    assert!(waiting.reason.unwrap().contains("cpu free"), "it says why");
    let why = api.why(&waiting.workload).await.unwrap();
    assert_eq!(why.service.state, ServiceState::Running, "another of its runs has a place");
    assert!(why.reasons.iter().any(|reason| reason.what.contains(second.id.as_str())), "{why:?}");
    let killed = api.kill(third.id.as_str()).await.unwrap();
    assert_eq!((killed.state, killed.exit_code), (TaskState::Killed, Some(143)));
    assert_eq!(api.kill(third.id.as_str()).await.unwrap(), killed, "once more is no more");
    let stopping = api.kill(first.id.as_str()).await.unwrap();
    assert_eq!(stopping.phase, Phase::Pending);
    room.settle();
    let first = api.task(first.id.as_str()).await.unwrap();
    assert_eq!((first.state, first.exit_code), (TaskState::Killed, Some(143)));
    let second = api.task(second.id.as_str()).await.unwrap();
    assert_eq!(second.state, TaskState::Succeeded, "it had its place as soon as there was one");
}

#[tokio::test]
async fn a_task_that_waits_is_not_shown_as_stopped_and_what_became_of_it_is_told() {
    let room = room().await;
    let api = room.api();
    let large = SpawnRequest { cpu: Some(4.0), ..of_image("import:1") };
    let task = api.spawn(&large).await.unwrap();
    room.act(World::decide);
    let why = api.why(&task.workload).await.unwrap();
    assert_eq!(why.service.state, ServiceState::Waiting);
    assert!(why.service.problem.as_ref().unwrap().contains("no node can take"), "{why:?}");
    api.kill(task.id.as_str()).await.unwrap();
    let events = api.events(None).await.unwrap();
    let mine = events.iter().filter(|event| event.alloc.as_ref() == Some(&task.id));
    let told: Vec<(&str, &str)> = mine.map(|event| (event.kind.as_str(), event.message.as_str())).collect();
    let asked = format!("{} is to be run: local asked for it", task.id);
    let killed = format!("{} was killed before it had a place", task.id);
    assert_eq!(told, [("task_spawned", asked.as_str()), ("task_called_off", killed.as_str())]);
}

#[tokio::test]
async fn a_killed_task_keeps_what_its_program_ended_with() {
    let room = room().await;
    let api = room.api();
    for (code, reason) in [(Some(3), "killed; its program ended with code 3"), (Some(143), "killed")] {
        let task = api.spawn(&of_task("migrate")).await.unwrap();
        room.act(World::decide);
        api.kill(task.id.as_str()).await.unwrap();
        room.act(|world| {
            world.report(&task.id, |status| {
                let at = status.since;
                status.phase = Phase::Stopped;
                status.last_end = Some(Ended { incarnation: Incarnation(1), failure: None, at, code });
            });
        });
        let killed = api.task(task.id.as_str()).await.unwrap();
        assert_eq!((killed.state, killed.exit_code), (TaskState::Killed, Some(143)));
        assert_eq!(killed.reason.as_deref(), Some(reason));
        let inspected = api.inspect(task.id.as_str()).await.unwrap();
        let Inspected::Task { alloc: Some(alloc), .. } = inspected else { panic!("{inspected:?}") };
        assert_eq!(alloc.last_end.unwrap().code, code);
    }
}

#[tokio::test]
async fn a_signal_reaches_the_program_of_a_task_that_runs_and_is_written_down() {
    let room = room().await;
    let api = room.api();
    let task = api.spawn(&of_task("migrate")).await.unwrap();
    let id = task.id.as_str();
    let hup = SignalRequest { signal: "HUP".into() };
    assert_eq!(refused(api.signal(id, &hup).await.unwrap_err()).0, Code::Conflict, "it waits");
    room.act(World::decide);
    let container = format!("{id}.1");
    room.fake.containers.start(&super::exec::launch(&container)).await.unwrap();
    room.act(|world| {
        world.report(&task.id, |status| {
            (status.phase, status.incarnation) = (Phase::Running, Incarnation(1));
        });
    });
    let (code, text) = refused(api.signal(id, &SignalRequest { signal: "NOPE".into() }).await.unwrap_err());
    assert!(code == Code::BadRequest && text.contains("no such signal"), "{text}");
    let told = api.signal(id, &SignalRequest { signal: "9".into() }).await.unwrap();
    assert_eq!(told.state, TaskState::Running, "what comes of it is told when it has come");
    assert!(room.fake.containers.running().is_empty(), "SIGKILL ended it");
    assert_eq!(refused(api.signal(id, &hup).await.unwrap_err()).0, Code::Conflict, "it is gone");
    let audit = api.audit(None).await.unwrap();
    let killed = audit.iter().find(|record| record.what.contains("SIGKILL")).unwrap();
    assert_eq!(killed.what, format!("POST /v1/tasks/{id}/signal: SIGKILL"));
    let web = room.act(|world| world.cluster.allocs_of(&workload("shop/web")).next().unwrap().id.clone());
    let (code, text) = refused(api.signal(web.as_str(), &hup).await.unwrap_err());
    assert!(code == Code::BadRequest && text.contains("replica"), "{text}");
}
