//! Requests that make no sense, clients that are slow or many: none crashes or hangs the API, all are told why.

use std::time::Duration;

use mill_api::{ApiError, Code};
use mill_model::limits::{API_CONNECTIONS_MAX, API_REQUEST_BYTES_MAX};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::room::{Room, hasty};
use super::world::{World, project, service};

const PATIENCE: Duration = Duration::from_secs(20);

/// Sends bytes and reads all that comes back until the connection ends.
async fn exchange(room: &Room, request: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(room.socket()).await.unwrap();
    let _ = stream.write_all(request).await;
    let mut answer = vec![];
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it hangs");
    answer
}

/// The status and the refusal of a request that is closed after its answer.
async fn refusal(room: &Room, head: &str, body: &[u8]) -> (u16, ApiError) {
    let head = format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    let answer = exchange(room, &[head.as_bytes(), body].concat()).await;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let error = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {head}\n{body}"));
    (status, error)
}

async fn is_well(room: &Room) {
    tokio::time::timeout(PATIENCE, room.api().status()).await.unwrap().unwrap();
}

#[tokio::test]
async fn every_kind_of_nonsense_is_refused_in_words() {
    let mut world = World::new();
    world.deploy(&project("shop", vec![service("web", "web:1", 1)], vec![]));
    let room = Room::new(world).await;
    let deep = "[".repeat(100_000);
    let deploy = |source: &str| {
        serde_json::json!({ "source": source, "file": "mill.kdl", "default_project": "shop" }).to_string()
    };
    let long_name =
        serde_json::json!({ "source": "", "file": "x".repeat(100_000), "default_project": "shop" });
    let long_name = long_name.to_string();
    let huge = "x".repeat(API_REQUEST_BYTES_MAX + 1);
    for (head, body, code) in [
        ("GET /v2/status HTTP/1.1", &b""[..], Code::NotFound),
        ("GET / HTTP/1.1", b"", Code::NotFound),
        ("GET /v1/statsu HTTP/1.1", b"", Code::NotFound),
        ("GET //v1/status HTTP/1.1", b"", Code::NotFound),
        ("GET /v1/status/../nodes HTTP/1.1", b"", Code::NotFound),
        ("POST /v1/status HTTP/1.1", b"{}", Code::BadMethod),
        ("BREW /v1/status HTTP/1.1", b"", Code::BadMethod),
        ("DELETE /v1/projects HTTP/1.1", b"", Code::BadMethod),
        ("GET /v1/plan HTTP/1.1", b"", Code::BadMethod),
        ("POST /v1/plan HTTP/1.1", b"", Code::BadRequest),
        ("POST /v1/plan HTTP/1.1", b"{", Code::BadRequest),
        ("POST /v1/plan HTTP/1.1", b"\xff\xfe", Code::BadRequest),
        ("POST /v1/plan HTTP/1.1", b"null", Code::BadRequest),
        ("POST /v1/plan HTTP/1.1", b"{\"source\":7}", Code::BadRequest),
        ("POST /v1/plan HTTP/1.1", deep.as_bytes(), Code::BadRequest),
        ("POST /v1/plan HTTP/1.1", long_name.as_bytes(), Code::BadRequest),
        ("POST /v1/deploys HTTP/1.1", huge.as_bytes(), Code::TooLarge),
        ("POST /v1/deploys HTTP/1.1", deploy("}{").as_bytes(), Code::BadConfig),
        ("POST /v1/projects/shop/services/web/scale HTTP/1.1", b"{\"replicas\":-1}", Code::BadRequest),
        ("POST /v1/projects/shop/services/web/scale HTTP/1.1", b"{\"replicas\":1001}", Code::BadRequest),
        ("POST /v1/projects/shop/services/web/scale HTTP/1.1", b"{\"replica\":1}", Code::BadRequest),
        ("POST /v1/projects/SHOP/rollback HTTP/1.1", b"{}", Code::BadRequest),
        ("POST /v1/projects/none/rollback HTTP/1.1", b"{}", Code::NotFound),
        ("GET /v1/projects/%ff/history HTTP/1.1", b"", Code::BadRequest),
        ("GET /v1/projects/%00/history HTTP/1.1", b"", Code::BadRequest),
        ("GET /v1/inspect/%2e%2e%2f HTTP/1.1", b"", Code::NotFound),
        ("GET /v1/inspect/%E2%82%28 HTTP/1.1", b"", Code::BadRequest),
        ("GET /v1/deploys/x HTTP/1.1", b"", Code::BadRequest),
        ("GET /v1/deploys/-1 HTTP/1.1", b"", Code::BadRequest),
        ("GET /v1/deploys/99999999999999999999999 HTTP/1.1", b"", Code::BadRequest),
        ("GET /v1/deploys/77/progress HTTP/1.1", b"", Code::NotFound),
        ("POST /v1/deploys/77/cancel HTTP/1.1", b"", Code::NotFound),
        ("POST /v1/deploys/1/cancel HTTP/1.1", b"", Code::Conflict),
        ("GET /v1/logs HTTP/1.1", b"", Code::BadRequest),
        ("GET /v1/logs?name=web&n=x HTTP/1.1", b"", Code::BadRequest),
        ("GET /v1/logs?name=web&since=yesterday HTTP/1.1", b"", Code::BadRequest),
        ("GET /v1/logs?name=node-1 HTTP/1.1", b"", Code::BadRequest),
        ("GET /v1/logs?name=nobody HTTP/1.1", b"", Code::NotFound),
        ("GET /v1/logs?name=web HTTP/1.1\r\nlast-event-id: rubbish", b"", Code::BadRequest),
        ("GET /v1/events?since_id=-1 HTTP/1.1", b"", Code::BadRequest),
        ("GET /v1/events?follow=perhaps HTTP/1.1", b"", Code::BadRequest),
        ("GET /v1/allocs?project=A%20B HTTP/1.1", b"", Code::BadRequest),
        ("POST /v1/actors/restart HTTP/1.1", b"{\"path\":\"plane/panic\"}", Code::Crashed),
        ("POST /v1/actors/restart HTTP/1.1", b"{\"path\":\"\"}", Code::NotFound),
    ] {
        let (status, error) = refusal(&room, head, body).await;
        assert_eq!((error.code, status), (code, code.status().as_u16()), "{head}: {error:?}");
        assert!(!error.message.is_empty(), "{head}");
        assert!(
            error.hint.is_some() || error.reason.is_some() || !error.complaints.is_empty(),
            "{head}: {error:?}"
        );
    }
    is_well(&room).await;
    assert_eq!(room.tree.introspect().tree().await.restarts, 0);
}

#[tokio::test]
async fn bytes_that_are_no_http_hurt_nobody() {
    let room = Room::with(World::new(), hasty()).await;
    for bytes in [
        &b"\x00\x01\x02\x03\xff\xff\xff\xff\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /v1/status HTTP/9.9\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /v1/plan HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HT",
        b"",
    ] {
        exchange(&room, bytes).await;
        is_well(&room).await;
    }
    let head = format!("GET /v1/status HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    exchange(&room, head.as_bytes()).await;
    is_well(&room).await;
}

#[tokio::test]
async fn slow_clients_are_cut_and_others_served_meanwhile() {
    let room = Room::with(World::new(), hasty()).await;
    let slow: [&[u8]; 5] = [
        b"",
        b"GET /v1/st",
        b"GET /v1/status HTTP/1.1\r\nhost: x\r\n",
        b"POST /v1/plan HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
        b"POST /v1/plan HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{",
    ];
    let mut clients = vec![];
    for _ in 0..20 {
        for bytes in slow {
            let mut stream = UnixStream::connect(room.socket()).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            clients.push(stream);
        }
    }
    is_well(&room).await;
    for mut stream in clients {
        let mut answer = vec![];
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("never cut").unwrap();
    }
    is_well(&room).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_stream_is_cut() {
    let mut world = World::new();
    world.deploy(&project("shop", vec![service("web", "web:1", 1)], vec![]));
    let room = Room::with(world, hasty()).await;
    let alloc = room.act(|world| world.allocs(&super::world::workload("shop/web"))[0].id.clone());
    for at in 0..200 {
        room.fake.write(&alloc, at, &"x".repeat(10_000));
    }
    let mut stream = UnixStream::connect(room.socket()).await.unwrap();
    stream.write_all(b"GET /v1/logs?name=web HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // Nothing is read until the server has given up: then what had fitted into the socket is there, and the end.
    for open in [1, 0] {
        let so = async {
            while room.tree.introspect().tree().await.observed["connections"] != open {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, so).await.expect("never let in, or never cut");
    }
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.len() < 2_000_000, "{} bytes were buffered", answer.len());
}

#[tokio::test]
async fn more_connections_than_there_may_be_are_told_so() {
    let room = Room::new(World::new()).await;
    let mut held = vec![];
    for _ in 0..API_CONNECTIONS_MAX {
        held.push(UnixStream::connect(room.socket()).await.unwrap());
    }
    let (status, error) = refusal(&room, "GET /v1/status HTTP/1.1", b"").await;
    assert_eq!((status, error.code), (429, Code::Overloaded));
    drop(held);
    let let_in = async { while room.api().status().await.is_err() {} };
    tokio::time::timeout(PATIENCE, let_in).await.expect("never let in again");
}
