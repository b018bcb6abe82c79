//! Streams: live, cut and resumed, too late.

use std::time::Duration;

use mill_api::client::{Follow, Heard};
use mill_api::events::Event;
use mill_api::logs::{LogLine, LogQuery, LogStream};
use mill_api::progress::{Outcome, Progress, Step};
use mill_api::{ClientError, Code};
use mill_fsm::{Command, DeployKind};
use mill_model::node::NodeFacts;
use mill_model::spec::UpdateOrder;
use mill_model::{Bytes, DeployId, Failure, Incarnation};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::room::{Room, hasty};
use super::world::{World, after, project, service, task, workload};

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn next<T: DeserializeOwned>(stream: &mut Follow<T>) -> Option<T> {
    match tokio::time::timeout(PATIENCE, stream.next()).await.expect("the stream hangs").unwrap() {
        Heard::Item(item) => Some(item),
        Heard::End => None,
        Heard::Lost { why } => panic!("{why}"),
        Heard::Reset(reset) => panic!("{reset:?}"),
    }
}

pub(super) async fn rest<T: DeserializeOwned>(mut stream: Follow<T>) -> Vec<T> {
    let mut items = vec![];
    while let Some(item) = next(&mut stream).await {
        items.push(item);
    }
    items
}

/// Raw items of a stream with their ids, from after `last` on, up to `count` of them or the end.
async fn raw(room: &Room, path: &str, last: Option<&str>, count: usize) -> Vec<(String, String)> {
    let stream = UnixStream::connect(room.socket()).await.unwrap();
    let mut stream = BufReader::new(stream);
    let resume = last.map(|last| format!("last-event-id: {last}\r\n")).unwrap_or_default();
    let head = format!("GET {path} HTTP/1.0\r\nhost: x\r\n{resume}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut id, mut items) = (String::new(), vec![]);
    while items.len() < count {
        let mut line = String::new();
        let read =
            tokio::time::timeout(PATIENCE, stream.read_line(&mut line)).await.expect("the stream hangs");
        if read.unwrap() == 0 || line.starts_with("event: end") {
            break;
        }
        match line.trim_end().split_once(": ") {
            Some(("id", text)) => text.clone_into(&mut id),
            Some(("data", text)) => items.push((id.clone(), text.to_owned())),
            _ => {}
        }
    }
    items
}

pub(super) fn said(progress: &[Progress]) -> Vec<String> {
    let word = |progress: &Progress| {
        let value = serde_json::to_value(progress).unwrap();
        let step = value["step"].as_str().unwrap().to_owned();
        let old = value.get("old").is_some_and(|old| *old == true);
        let service = progress.service.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
        format!("{service}{step}{}", if old { " old" } else { "" })
    };
    progress.iter().map(word).collect()
}

#[tokio::test]
async fn a_deploy_is_watched_from_its_beginning_to_its_end() {
    let room = Room::new(World::new()).await;
    let target = |image| {
        let web = after("migrate", after("db", service("web", image, 1)));
        let web = mill_model::ServiceSpec {
            depends_on: vec!["db".parse().unwrap(), "migrate".parse().unwrap()],
            ..web
        };
        project("shop", vec![service("db", "db:1", 1), web], vec![task("migrate", "m:1")])
    };
    room.act(|world| world.deploy(&target("web:1")));
    let id = room.act(|world| world.begin(&target("web:2"), DeployKind::Deploy));
    let mut stream = room.api().progress(id).await.unwrap();
    let mut seen = vec![next(&mut stream).await.unwrap()];
    while room.act(World::step) {}
    seen.extend(rest(stream).await);
    assert_eq!(
        said(&seen),
        [
            "planned",
            "db unchanged",
            "web waiting",
            "migrate starting",
            "migrate succeeded",
            "migrate done",
            "web starting",
            "web healthy",
            "web stopping old",
            "web stopped old",
            "web done",
            "finished",
        ]
    );
    assert!(seen.windows(2).all(|pair| pair[0].id < pair[1].id));
    let Step::Finished { outcome, took_ms } = &seen.last().unwrap().step else { panic!() };
    assert_eq!(*outcome, Outcome::Succeeded);
    assert!(*took_ms > 0);
    // Whoever comes when it is over sees the same.
    assert_eq!(rest(room.api().progress(id).await.unwrap()).await, seen);
}

#[tokio::test]
async fn a_progress_cut_at_any_place_goes_on_there() {
    let mut world = World::new();
    let id = world.deploy(&project("shop", vec![service("web", "web:1", 2)], vec![]));
    // Another project's news don't get in between.
    world.deploy(&project("blog", vec![service("web", "web:1", 1)], vec![]));
    let room = Room::new(world).await;
    let path = format!("/v1/deploys/{id}/progress");
    let whole = raw(&room, &path, None, usize::MAX).await;
    assert!(whole.len() > 5);
    for (index, (cut, _)) in whole.iter().enumerate() {
        assert_eq!(raw(&room, &path, Some(cut), usize::MAX).await, whole[index + 1..], "cut after {cut}");
    }
    assert_eq!(raw(&room, &path, Some(""), usize::MAX).await, whole, "nothing is the beginning");
}

#[tokio::test]
async fn a_failure_carries_the_last_log_lines_and_the_end_says_why() {
    let mut world = World::new();
    world.deploy(&project("shop", vec![service("web", "web:1", 2)], vec![]));
    world.fails = vec![("web:2".into(), Failure::Exited { code: 7 })];
    let target =
        project("shop", vec![service("web", "web:2", 2), after("web", service("api", "api:1", 1))], vec![]);
    let id = world.begin(&target, DeployKind::Deploy);
    let room = Room::new(world).await;
    room.act(|world| {
        for _ in 0..3 {
            world.step();
        }
    });
    let broken = room.act(|world| {
        let allocs = world.allocs(&workload("shop/web"));
        allocs.iter().find(|alloc| alloc.deploy == id).unwrap().id.clone()
    });
    for line in 0..30 {
        room.fake.write(&broken, line, &format!("line {line}"));
    }
    room.settle();
    let seen = rest(room.api().progress(id).await.unwrap()).await;
    let failed = seen.iter().find_map(|progress| match &progress.step {
        Step::Failed { failure, attempt, log_tail } => Some((failure.clone(), *attempt, log_tail.clone())),
        _ => None,
    });
    let (failure, attempt, log_tail) = failed.unwrap();
    assert_eq!((failure, attempt), (Failure::Exited { code: 7 }, 1));
    assert_eq!((log_tail.len(), log_tail[0].as_str(), log_tail[19].as_str()), (20, "line 10", "line 29"));
    let words = said(&seen);
    for word in ["web rolling_back", "web rolled_back", "api skipped"] {
        assert!(words.contains(&word.to_owned()), "{word}: {words:?}");
    }
    assert!(!words.contains(&"web stopping old".to_owned()), "{words:?}");
    let Step::Finished { outcome: Outcome::Failed { services }, .. } = &seen.last().unwrap().step else {
        panic!("{words:?}")
    };
    let failed: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(failed, ["web", "api"]);
    assert!(services[0].reason.contains("exited with code 7") && services[0].hint.is_some(), "{services:?}");
}

#[tokio::test]
async fn stop_first_says_how_long_its_gap_was() {
    let mut world = World::new();
    let target = |image| {
        let mut web = service("web", image, 1);
        web.update.order = UpdateOrder::StopFirst;
        project("shop", vec![web], vec![])
    };
    world.deploy(&target("web:1"));
    let id = world.deploy(&target("web:2"));
    let room = Room::new(world).await;
    let seen = rest(room.api().progress(id).await.unwrap()).await;
    let gap = seen.iter().find_map(|progress| match progress.step {
        Step::Done { gap_ms, took_ms } => Some((gap_ms, took_ms)),
        _ => None,
    });
    let (gap, took) = gap.unwrap();
    assert!(gap.is_some_and(|gap| gap >= 200 && gap <= took), "{gap:?} of {took}: {:?}", said(&seen));

    // One that is rolled back as well.
    let id = room.act(|world| {
        world.fails = vec![("web:3".into(), Failure::Exited { code: 7 })];
        world.deploy(&target("web:3"))
    });
    let seen = rest(room.api().progress(id).await.unwrap()).await;
    let gap = seen.iter().find_map(|progress| match progress.step {
        Step::RolledBack { gap_ms } => gap_ms,
        _ => None,
    });
    assert!(gap.is_some_and(|gap| gap >= 200), "{gap:?}: {:?}", said(&seen));
}

#[tokio::test]
async fn waiting_in_line_being_replaced_and_having_no_room_are_told() {
    let mut world = World::new();
    let target = |image, memory| {
        let mut web = service("web", image, 1);
        web.container.resources.memory = Bytes(memory);
        project("shop", vec![web], vec![])
    };
    let first = world.begin(&target("web:1", 1 << 40), DeployKind::Deploy);
    let second = world.begin(&target("web:2", 64 << 20), DeployKind::Deploy);
    let room = Room::new(world).await;
    let mut of_first = room.api().progress(first).await.unwrap();
    let mut of_second = room.api().progress(second).await.unwrap();
    assert_eq!(next(&mut of_second).await.unwrap().step, Step::Queued { behind: first });
    assert!(matches!(next(&mut of_first).await.unwrap().step, Step::Planned { .. }));
    room.settle();
    let Step::Unplaced { nodes } = next(&mut of_first).await.unwrap().step else { panic!() };
    assert_eq!(nodes[0].node.as_str(), "node-1");

    let third = room.act(|world| {
        let target = target("web:3", 64 << 20);
        let (project, by) = (target.name.clone(), "test".to_owned());
        let begin = Command::BeginDeploy { project, kind: DeployKind::Deploy, target, replace: true, by };
        world.apply(begin).unwrap();
        world.settle();
        DeployId(3)
    });
    let replaced = |progress: &Progress| match &progress.step {
        Step::Finished { outcome: Outcome::Replaced { by }, .. } => Some(*by),
        _ => None,
    };
    assert_eq!(replaced(rest(of_first).await.last().unwrap()), Some(second));
    assert_eq!(replaced(rest(of_second).await.last().unwrap()), Some(third));
}

#[tokio::test]
async fn whoever_comes_too_late_for_the_events_is_told_how_things_stand() {
    let mut world = World::new();
    let services = vec![service("db", "db:1", 1), after("db", service("web", "web:1", 1))];
    let id = world.deploy(&project("shop", services, vec![]));
    let noise = |world: &mut World| {
        let facts: NodeFacts = world.cluster.nodes.values().next().unwrap().facts.clone();
        for _ in 0..mill_model::limits::EVENTS_KEPT {
            world.apply(Command::RegisterNode(facts.clone())).unwrap();
        }
    };
    noise(&mut world);
    let room = Room::new(world).await;
    let seen = rest(room.api().progress(id).await.unwrap()).await;
    assert_eq!(said(&seen), ["planned", "db done", "web done", "finished"]);
    let begun = room.act(|world| {
        let target = project("shop", vec![service("web", "web:2", 1)], vec![]);
        let id = world.begin(&target, DeployKind::Deploy);
        world.step();
        noise(world);
        id
    });
    let mut stream = room.api().progress(begun).await.unwrap();
    assert!(matches!(next(&mut stream).await.unwrap().step, Step::Planned { .. }));
    room.settle();
    let words = said(&rest(stream).await);
    assert_eq!(words.last().unwrap(), "finished");
    assert!(words.contains(&"web done".to_owned()), "{words:?}");
    // Events that are too old are left out, not an error.
    let events = room.api().events(Some(1)).await.unwrap();
    assert_eq!(events.len(), mill_model::limits::EVENTS_KEPT);
}

#[tokio::test]
async fn events_are_followed_and_resumed() {
    let room = Room::new(World::new()).await;
    let mut stream = room.api().follow_events(None).await.unwrap();
    let first: Event = next(&mut stream).await.unwrap();
    assert_eq!((first.id, first.kind.as_str()), (1, "node_registered"));
    room.act(|world| world.deploy(&project("shop", vec![service("web", "web:1", 1)], vec![])));
    let second = next(&mut stream).await.unwrap();
    assert_eq!((second.id, second.kind.as_str()), (2, "deploy_queued"));
    assert_eq!(second.message, "deploy shop #1 asked for by test");
    let resumed = raw(&room, "/v1/events?follow=true&since_id=1", Some("4"), 2).await;
    assert_eq!(resumed.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["5", "6"]);
    // The daemon leaves: the stream is cut without its end, so that the client comes back.
    room.tree.stop(Duration::from_secs(5)).await.unwrap();
    loop {
        match tokio::time::timeout(PATIENCE, stream.next()).await.expect("the stream hangs").unwrap() {
            Heard::Item(_) | Heard::Reset(_) => {}
            Heard::Lost { .. } => break,
            Heard::End => panic!("the stream isn't complete"),
        }
    }
}

fn logs(name: &str) -> LogQuery {
    LogQuery { name: name.to_owned(), ..LogQuery::default() }
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[tokio::test]
async fn logs_of_all_replicas_are_interleaved_by_time_and_chosen_by_name() {
    let mut world = World::new();
    world.deploy(&project("shop", vec![service("web", "web:1", 2), service("db", "db:1", 1)], vec![]));
    let room = Room::new(world).await;
    let ids = room.act(|world| {
        let mut allocs = world.allocs(&workload("shop/web"));
        allocs.sort_by_key(|alloc| alloc.id.clone());
        allocs.iter().map(|alloc| alloc.id.clone()).collect::<Vec<_>>()
    });
    let db = room.act(|world| world.allocs(&workload("shop/db"))[0].id.clone());
    room.fake.write(&ids[0], 1, "a1");
    room.fake.write(&ids[0], 4, "E a2");
    room.fake.write(&ids[1], 2, "b1");
    room.fake.write(&ids[1], 1_999_999, "b2");
    room.fake.write(&db, 3, "d1");
    let api = room.api();
    let read = async |query: LogQuery| rest(api.logs(&query).await.unwrap()).await;
    assert_eq!(texts(&read(logs("web")).await), ["a1", "b1", "a2", "b2"]);
    assert_eq!(texts(&read(logs("shop")).await), ["a1", "b1", "d1", "a2", "b2"]);
    assert_eq!(texts(&read(logs(ids[0].as_str())).await), ["a1", "a2"]);
    assert_eq!(texts(&read(LogQuery { n: Some(1), ..logs("web") }).await), ["a2", "b2"]);
    assert_eq!(texts(&read(LogQuery { stream: Some(LogStream::Stderr), ..logs("web") }).await), ["a2"]);
    let recent = LogQuery { since: Some(Duration::from_secs(1)), ..logs("web") };
    assert_eq!(texts(&read(recent).await), ["b2"]);
    let line = &read(logs("db")).await[0];
    assert_eq!((line.workload.to_string().as_str(), &line.alloc), ("shop/db", &db));

    let whole = raw(&room, "/v1/logs?name=shop", None, usize::MAX).await;
    assert_eq!(whole.len(), 5);
    for (index, (cut, _)) in whole.iter().enumerate() {
        let resumed = raw(&room, "/v1/logs?name=shop", Some(cut), usize::MAX).await;
        assert_eq!(resumed, whole[index + 1..], "cut after {cut}");
    }
}

#[tokio::test]
async fn logs_of_runs_are_told_apart() {
    let mut world = World::new();
    world.deploy(&project("shop", vec![service("web", "web:1", 1)], vec![]));
    let room = Room::new(world).await;
    let id = room.act(|world| world.allocs(&workload("shop/web"))[0].id.clone());
    room.fake.write_in(&id, 1, 1, "first");
    room.fake.write_in(&id, 2, 2, "second");
    room.fake.write_in(&id, 3, 3, "third");
    room.act(|world| world.report(&id, |status| status.incarnation = Incarnation(3)));
    let api = room.api();
    for (query, lines) in [
        (logs("web"), vec!["third"]),
        (LogQuery { previous: true, ..logs("web") }, vec!["second"]),
        (LogQuery { previous: true, follow: true, ..logs("web") }, vec!["second"]),
        (LogQuery { all: true, ..logs("web") }, vec!["first", "second", "third"]),
    ] {
        assert_eq!(texts(&rest(api.logs(&query).await.unwrap()).await), lines, "{query:?}");
    }
    let mut followed = api.logs(&LogQuery { follow: true, ..logs("web") }).await.unwrap();
    assert_eq!(next(&mut followed).await.unwrap().text, "third");
    room.fake.write_in(&id, 4, 4, "fourth");
    assert_eq!(next(&mut followed).await.unwrap().text, "fourth");
}

#[tokio::test]
async fn followed_logs_pick_up_new_allocs_and_those_that_ended_stay_readable() {
    let room = Room::with(World::new(), hasty()).await;
    room.act(|world| world.deploy(&project("shop", vec![service("web", "web:1", 1)], vec![])));
    let old = room.act(|world| world.allocs(&workload("shop/web"))[0].id.clone());
    room.fake.write(&old, 1, "old");
    let mut stream = room.api().logs(&LogQuery { follow: true, ..logs("web") }).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().text, "old");
    room.act(|world| world.deploy(&project("shop", vec![service("web", "web:2", 1)], vec![])));
    let new = room.act(|world| {
        let allocs = world.allocs(&workload("shop/web"));
        allocs.iter().find(|alloc| alloc.id != old).unwrap().id.clone()
    });
    room.fake.write(&new, 2, "new");
    let line = next(&mut stream).await.unwrap();
    assert_eq!((line.text.as_str(), &line.alloc), ("new", &new));
    room.act(|world| {
        world.begin(&project("shop", vec![], vec![]), DeployKind::Undeploy);
        world.settle();
    });
    // Nothing lives any more: the last one is shown.
    assert_eq!(texts(&rest(room.api().logs(&logs("web")).await.unwrap()).await), ["new"]);
    let all = LogQuery { all: true, ..logs("web") };
    assert_eq!(texts(&rest(room.api().logs(&all).await.unwrap()).await), ["old", "new"]);
}

#[tokio::test]
async fn a_log_that_can_not_be_read_is_an_error_of_the_stream() {
    let mut world = World::new();
    world.deploy(&project("shop", vec![service("web", "web:1", 1)], vec![]));
    let room = Room::new(world).await;
    room.fake.logs.fail(true);
    let mut stream = room.api().logs(&logs("web")).await.unwrap();
    match tokio::time::timeout(PATIENCE, stream.next()).await.expect("the stream hangs") {
        Err(ClientError::Refused(error)) => assert_eq!(error.code, Code::Crashed),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it can't be read"),
    }
    // Where lines only add to an answer, it is given without them.
    room.api().why(&workload("shop/web")).await.unwrap();
}

#[tokio::test]
async fn a_silent_stream_says_that_it_lives() {
    let room = Room::with(World::new(), hasty()).await;
    let mut stream = UnixStream::connect(room.socket()).await.unwrap();
    stream.write_all(b"GET /v1/events?follow=true&since_id=1 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut signs = 0;
    while signs < 10 {
        let line =
            tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("the stream hangs").unwrap();
        signs += usize::from(line.expect("cut").starts_with(": alive"));
    }
}
