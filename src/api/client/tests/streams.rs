//! Streams: whole, cut, silent, endless.

use std::io;

use mill_model::DeployId;

use super::super::{ClientError, Cut, Follow, Heard};
use super::{Does, Server, answer};
use crate::error::{ApiError, Code};
use crate::progress::Progress;
use crate::sse;

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// A chunked body that isn't closed yet.
fn chunks(parts: &[&[u8]]) -> Vec<u8> {
    let mut wire = HEAD.as_bytes().to_vec();
    for part in parts {
        wire.extend(format!("{:x}\r\n", part.len()).bytes());
        wire.extend_from_slice(part);
        wire.extend(b"\r\n");
    }
    wire
}

fn running(id: u64) -> Vec<u8> {
    let step = serde_json::json!({ "id": id, "at": "2026-01-01T00:00:00Z", "step": "running" });
    sse::item(&id.to_string(), &step).unwrap().to_vec()
}

async fn follow(server: &Server) -> Follow<Progress> {
    server.api().progress(DeployId(14)).await.unwrap()
}

/// Ids of the items, `-` for a lost connection, until the end.
async fn all(mut stream: Follow<Progress>) -> Result<String, ClientError> {
    let mut heard = String::new();
    loop {
        match stream.next().await? {
            Heard::Item(progress) => heard += &progress.id.to_string(),
            Heard::Lost { .. } => heard += "-",
            Heard::Reset(reset) => panic!("{reset:?}"),
            Heard::End => return Ok(heard),
        }
    }
}

#[tokio::test]
async fn a_stream_ends_where_the_server_says_so() {
    let server = Server::says(chunks(&[&running(1), &sse::keepalive(), &running(2), &sse::end()]));
    let mut stream = follow(&server).await;
    for id in [1, 2] {
        let heard = stream.next().await.unwrap();
        assert!(matches!(&heard, Heard::Item(progress) if progress.id == id), "{heard:?}");
    }
    for _ in 0..2 {
        assert!(matches!(stream.next().await.unwrap(), Heard::End));
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_cut_goes_on_after_its_last_item() {
    let half = running(3);
    for cut in [
        chunks(&[&running(1), &running(2), &half[..20]]),
        // Closed in good order, but without its end.
        [chunks(&[&running(1), &running(2)]), b"0\r\n\r\n".to_vec()].concat(),
    ] {
        let rest = chunks(&[&running(3), &sse::end()]);
        let server = Server::that(vec![Does::Says(cut), Does::Says(vec![]), Does::Says(rest)]);
        assert_eq!(all(follow(&server).await).await.unwrap(), "12-3");
        let requests = server.requests();
        assert_eq!(requests.len(), 3);
        assert!(!requests[0].contains("last-event-id"), "{}", requests[0]);
        assert!(requests[1].contains("last-event-id: 2\r\n"), "{}", requests[1]);
        assert!(requests[2].contains("last-event-id: 2\r\n"), "{}", requests[2]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_counts_as_cut() {
    let server = Server::that(vec![
        Does::Hangs(chunks(&[&running(1)])),
        Does::Says(chunks(&[&running(2), &sse::end()])),
    ]);
    let mut stream = follow(&server).await;
    stream.next().await.unwrap();
    let heard = stream.next().await.unwrap();
    let silent = matches!(&heard, Heard::Lost { why: ClientError::Cut { source: Cut::Silent(_), .. } });
    assert!(silent, "{heard:?}");
    assert_eq!(all(stream).await.unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_only_hangs_up_is_given_up() {
    for later in [vec![], HEAD.as_bytes().to_vec()] {
        let server = Server::that(vec![Does::Says(chunks(&[&running(1)])), Does::Says(later)]);
        let error = all(follow(&server).await).await.unwrap_err();
        assert!(matches!(error, ClientError::Cut { .. }), "{error:?}");
        let tries = server.requests().len();
        assert!((10..100).contains(&tries), "{tries} tries in a minute");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_stream_that_is_refused_is_not_asked_for_again() {
    let refused = ApiError::new(Code::NotFound, "there is no deploy #14");
    let body = serde_json::to_string(&refused).unwrap();
    let server =
        Server::that(vec![Does::Says(chunks(&[&running(1)])), Does::Says(answer("404 Not Found", &body))]);
    let error = all(follow(&server).await).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(error) if *error == refused));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_stream_that_fails_says_why() {
    let why = ApiError::new(Code::Crashed, "the reader failed");
    let server = Server::says(chunks(&[&running(1), &sse::error(&why)]));
    let error = all(follow(&server).await).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(error) if *error == why));
}

#[tokio::test]
async fn a_stream_of_something_else_is_refused() {
    let server = Server::says(chunks(&[b"data: <html>\n\n"]));
    let error = all(follow(&server).await).await.unwrap_err();
    assert!(matches!(error, ClientError::Garbled { .. }), "{error:?}");
    let part = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let server = Server::that(vec![Does::Babbles(HEAD.into(), part.into())]);
    let error = all(follow(&server).await).await.unwrap_err();
    assert!(matches!(error, ClientError::Endless { .. }), "{error:?}");
}

#[tokio::test]
async fn a_stream_that_never_begins_is_an_error_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let api = super::super::Api::local(directory.path().join("none"));
    let error = api.progress(DeployId(1)).await.err().unwrap();
    assert!(matches!(error, ClientError::Socket { source, .. } if source.kind() == io::ErrorKind::NotFound));
}
