//! One request, one answer.

use std::time::Duration;

use mill_model::{DeployId, Workload};

use super::super::{Api, ClientError, Cut};
use super::{Does, Server, answer};
use crate::allocs::AllocQuery;
use crate::error::{ApiError, Code};

#[tokio::test]
async fn what_the_server_answers_is_what_the_caller_gets() {
    let server = Server::says(answer("200 OK", r#"[{"name":"shop","services":2,"tasks":1,"current":14}]"#));
    let projects = server.api().projects().await.unwrap();
    assert_eq!(projects[0].name.as_str(), "shop");
    assert_eq!(projects[0].current, Some(DeployId(14)));
    let request = &server.requests()[0];
    assert!(request.starts_with("GET /v1/projects HTTP/1.1\r\n"), "{request}");
    assert!(!request.contains("authorization"), "the local socket needs no token: {request}");
}

#[tokio::test]
async fn a_write_carries_its_body_and_names_its_service() {
    let server = Server::says(answer("409 Conflict", r#"{"code":"conflict","message":"no"}"#));
    let web = Workload { project: "shop".parse().unwrap(), name: "web".parse().unwrap() };
    drop(server.api().scale(&web, 3).await);
    drop(server.api().undeploy(&web.project).await);
    let query = AllocQuery { service: Some(web.name), all: true, ..AllocQuery::default() };
    drop(server.api().allocs(&query).await);
    let requests = server.requests();
    assert!(requests[0].starts_with("POST /v1/projects/shop/services/web/scale HTTP/1.1\r\n"));
    assert!(requests[0].ends_with("\r\n\r\n{\"replicas\":3}"), "{}", requests[0]);
    assert!(requests[1].starts_with("DELETE /v1/projects/shop HTTP/1.1\r\n"));
    assert!(requests[2].starts_with("GET /v1/allocs?all=true&service=web HTTP/1.1\r\n"), "{}", requests[2]);
}

#[tokio::test]
async fn a_refusal_keeps_its_reason_and_hint() {
    let refusal = ApiError::new(Code::NotFound, "there is no deploy #9").because("it was never").hint("look");
    let body = serde_json::to_string(&refusal).unwrap();
    let server = Server::says(answer("404 Not Found", &body));
    match server.api().deploy_status(DeployId(9)).await {
        Err(ClientError::Refused(error)) => assert_eq!(*error, refusal),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn answers_that_are_no_answers_are_told_apart() {
    type Check = fn(&ClientError) -> bool;
    let cases: Vec<(Vec<u8>, Check)> = vec![
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(), |e| {
            matches!(e, ClientError::Cut { source: Cut::Broken(_), .. })
        }),
        (b"".to_vec(), |e| matches!(e, ClientError::Cut { .. })),
        (answer("200 OK", "<html>hello</html>"), |e| matches!(e, ClientError::Garbled { .. })),
        (answer("200 OK", r#"[{"name":"NO NAME","services":2,"tasks":1}]"#), |e| {
            matches!(e, ClientError::Garbled { .. })
        }),
        (answer("502 Bad Gateway", "<html>sorry</html>"), |e| {
            matches!(e, ClientError::Unexplained { status: 502, .. })
        }),
        (answer("301 Moved", ""), |e| matches!(e, ClientError::Unexplained { status: 301, .. })),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[{".to_vec(), |e| {
            matches!(e, ClientError::Cut { .. })
        }),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[{\"na".to_vec(), |e| {
            matches!(e, ClientError::Cut { .. })
        }),
    ];
    for (bytes, is_right) in cases {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let error = Server::says(bytes).api().projects().await.unwrap_err();
        assert!(is_right(&error), "{shown:?} gave {error:?}");
        assert!(error.hint().is_some(), "{error:?} has no hint");
    }
}

#[tokio::test]
async fn a_huge_answer_is_refused_before_it_fills_the_memory() {
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"100000\r\n".to_vec(), vec![b' '; 0x10_0000], b"\r\n".to_vec()].concat();
    let server = Server::that(vec![Does::Babbles(head, chunk)]);
    let error = server.api().projects().await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up_at_the_deadline() {
    for sent in ["", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n["] {
        let server = Server::that(vec![Does::Hangs(sent.into())]);
        let error = server.api().projects().await.unwrap_err();
        assert!(
            matches!(error, ClientError::Deadline { after, .. } if after >= Duration::from_secs(1)),
            "{error:?}"
        );
        assert!(error.is_unreachable());
    }
}

fn key(request: &str) -> &str {
    request.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_connection_was_lost_is_sent_again_with_its_key() {
    let examples: serde_json::Value =
        serde_json::from_str(include_str!("../../openapi/examples.json")).unwrap();
    let done = answer("200 OK", &examples["Deploy"].to_string());
    let starting = answer("503 Service Unavailable", r#"{"code":"unavailable","message":"starting"}"#);
    let says = |text: &[u8]| Does::Says(text.to_vec());
    let server = Server::that(vec![says(b""), says(&starting), says(&done)]);
    let deploy = server.api().cancel(DeployId(14)).await.unwrap();
    assert_eq!(serde_json::to_value(&deploy).unwrap()["id"], examples["Deploy"]["id"]);
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| key(request).len() > 20 && key(request) == key(&requests[0])));
    server.api().cancel(DeployId(14)).await.unwrap();
    assert_ne!(key(&server.requests()[3]), key(&requests[0]), "another write has another key");
}

#[tokio::test]
async fn a_write_that_was_refused_at_first_is_not_sent_again() {
    let server =
        Server::says(answer("503 Service Unavailable", r#"{"code":"unavailable","message":"starting"}"#));
    let error = server.api().cancel(DeployId(1)).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(_)), "{error:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_write_that_nothing_remembers_is_never_sent_again() {
    let server = Server::says("");
    let error = server.api().restart_actor("daemon/agent").await.unwrap_err();
    assert!(matches!(error, ClientError::Cut { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("isn't known"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named_with_its_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    let error = Api::local(&socket).status().await.unwrap_err();
    assert!(error.to_string().contains(socket.to_str().unwrap()));
    assert!(error.hint().unwrap().contains("mill dev"));
    assert!(error.is_unreachable());
}
