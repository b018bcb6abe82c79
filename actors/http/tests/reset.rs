//! Streams whose clients come too late: they are told that something is missing.

use mill_api::sse::{RESET, Reset};
use mill_api::{ApiError, Code};
use mill_fsm::Command;
use mill_model::limits::{AUDIT_KEPT, EVENTS_KEPT};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::room::Room;
use super::world::{World, project, service};

/// The first events of a stream from after `last` on: name, id and data.
async fn events(room: &Room, path: &str, last: &str, count: usize) -> Vec<(String, String, String)> {
    let mut stream = BufReader::new(UnixStream::connect(room.socket()).await.unwrap());
    let head = format!("GET {path} HTTP/1.0\r\nhost: x\r\nlast-event-id: {last}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut name, mut id, mut events) = (String::new(), String::new(), vec![]);
    while events.len() < count {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap() == 0 {
            break;
        }
        match line.trim_end().split_once(": ") {
            Some(("event", text)) => text.clone_into(&mut name),
            Some(("id", text)) => text.clone_into(&mut id),
            Some(("data", text)) => {
                events.push((std::mem::take(&mut name), std::mem::take(&mut id), text.to_owned()));
            }
            _ => {}
        }
    }
    events
}

fn reset(event: &(String, String, String)) -> Reset {
    assert_eq!((event.0.as_str(), event.1.as_str()), (RESET, ""), "{event:?}");
    serde_json::from_str(&event.2).unwrap()
}

#[tokio::test]
async fn who_comes_when_events_are_forgotten_hears_so_and_goes_on_with_the_first_that_is_kept() {
    let mut world = World::new();
    let mut number = 0;
    while world.cluster.oldest_event() < 20 {
        number += 1;
        let secret = format!("s{}", number % 7).parse().unwrap();
        world.apply(Command::SetSecret { secret, sealed: vec![1], by: "test".into() }).unwrap();
        assert!(number < 3 * EVENTS_KEPT);
    }
    let first = world.cluster.oldest_event();
    let room = Room::new(world).await;
    let heard = events(&room, "/v1/events?follow=true", "7", 2).await;
    let told = reset(&heard[0]);
    assert_eq!((told.after.as_str(), told.next), ("7", Some(first.to_string())));
    assert!(told.message.contains("forgotten"), "{}", told.message);
    assert_eq!(heard[1].1, first.to_string());
    let heard = events(&room, "/v1/events?follow=true", &(first - 1).to_string(), 1).await;
    assert_eq!(heard[0].1, first.to_string(), "nothing is missing");
    let heard = events(&room, "/v1/events?follow=true", "999999999", 2).await;
    assert!(reset(&heard[0]).message.contains("no number of this cluster"), "{heard:?}");
    assert_eq!(heard[1].1, first.to_string());
}

#[tokio::test]
async fn so_does_who_follows_the_audit_log() {
    let mut world = World::new();
    let author =
        mill_fsm::Author { token: "ann".into(), from: "10.0.0.9".into(), what: "GET /v1/exec/web".into() };
    for _ in 0..AUDIT_KEPT + 5 {
        let command = Box::new(Command::Witness);
        world.apply(Command::Audited { author: author.clone(), once: None, command }).unwrap();
    }
    let room = Room::new(world).await;
    let heard = events(&room, "/v1/audit?follow=true", "2", 2).await;
    assert_eq!(reset(&heard[0]).next.as_deref(), Some("6"));
    assert_eq!(heard[1].1, "6");
}

#[tokio::test]
async fn so_does_who_comes_back_to_a_log_whose_lines_were_removed_to_make_room() {
    let mut world = World::new();
    world.deploy(&project("shop", vec![service("web", "web:1", 1)], vec![]));
    let alloc = world.cluster.allocs.keys().next().unwrap().clone();
    let room = Room::new(world).await;
    for number in 1..=9 {
        room.fake.write(&alloc, 1_000_000 + number, &format!("line {number}"));
    }
    let path = "/v1/logs?name=shop/web&follow=true";
    let heard = events(&room, path, "", 3).await;
    let last = heard[2].1.clone();
    room.fake.logs.forget(7);
    let heard = events(&room, path, &last, 1).await;
    assert!(heard[0].2.contains("line 4"), "nothing that wasn't told is missing: {heard:?}");
    room.fake.logs.forget(4);
    let heard = events(&room, path, &last, 2).await;
    let told = reset(&heard[0]);
    assert_eq!((told.after, told.next), (last.clone(), None));
    assert!(told.message.contains(alloc.as_str()) && told.message.contains("removed"), "{}", told.message);
    assert!(heard[1].2.contains("line 6"), "it goes on with what is kept: {heard:?}");
    let heard = events(&room, &format!("{path}&stream=stderr"), &last, 0).await;
    assert!(heard.is_empty());
}

#[tokio::test]
async fn who_comes_back_when_an_alloc_is_forgotten_hears_that_its_lines_are() {
    let mut world = World::new();
    world.deploy(&project("shop", vec![service("web", "web:1", 1)], vec![]));
    let alloc = world.cluster.allocs.keys().next().unwrap().clone();
    let room = Room::new(world).await;
    room.fake.write(&alloc, 1_000_001, "kept");
    let heard = events(&room, "/v1/logs?name=shop/web&follow=true", "1000000.1.web-zzzz", 2).await;
    assert!(reset(&heard[0]).message.contains("web-zzzz is forgotten"), "{heard:?}");
    assert!(heard[1].2.contains("kept"), "{heard:?}");
}

#[tokio::test]
async fn an_id_of_no_stream_is_refused() {
    let mut world = World::new();
    let id = world.deploy(&project("shop", vec![service("web", "web:1", 1)], vec![]));
    let room = Room::new(world).await;
    let progress = format!("/v1/deploys/{id}/progress");
    for path in ["/v1/events?follow=true", "/v1/audit?follow=true", progress.as_str(), "/v1/logs?name=web"] {
        let mut stream = BufReader::new(UnixStream::connect(room.socket()).await.unwrap());
        let head = format!("GET {path} HTTP/1.0\r\nhost: x\r\nlast-event-id: yesterday\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text).await.unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let error: ApiError = serde_json::from_str(body).unwrap();
        assert_eq!(error.code, Code::BadRequest, "{path}: {text}");
    }
}
