//! Who comes in, and through which door.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::time::Duration;

use mill_api::daemon::{DaemonState, InitRequest, Initialized};
use mill_api::token::{SECRET_BYTES, TokenKind};
use mill_api::trust::Fingerprint;
use mill_api::{Api, ClientError, Code, Token};
use mill_model::Tempo;
use tokio::net::TcpListener;
use tonic::transport::Endpoint;

use super::room::{Room, ca, hasty, member};
use super::world::{World, token};
use crate::http::ListenError;
use crate::introspect;
use crate::kit::RestartError;

fn code(error: ClientError) -> Code {
    match error {
        ClientError::Refused(error) => error.code,
        other => panic!("{other}: {:?}", std::error::Error::source(&other).map(ToString::to_string)),
    }
}

#[tokio::test]
async fn the_socket_is_roots_alone_and_a_stale_one_is_replaced() {
    let room = Room::new(World::new()).await;
    let metadata = std::fs::metadata(room.socket()).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let taken = crate::http::listen::local(&room.socket()).await.unwrap_err();
    assert!(matches!(taken, ListenError::SocketInUse { .. }), "{taken}");
    room.api().status().await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mill.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a killed daemon leaves its socket");
    let _listener = crate::http::listen::local(&path).await.unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn the_socket_goes_with_the_daemon() {
    let room = Room::new(World::new()).await;
    room.tree.stop(Duration::from_secs(5)).await.unwrap();
    assert!(!room.socket().exists());
}

#[tokio::test]
async fn an_idle_daemon_answers_only_for_its_machine() {
    let room = Room::new(World::idle()).await;
    let api = room.api();
    let daemon = api.daemon().await.unwrap();
    assert_eq!((daemon.state, daemon.node.as_str(), daemon.plane_pid), (DaemonState::Idle, "host", Some(42)));
    assert_eq!(daemon.listen, None);
    api.doctor().await.unwrap();
    let error = match api.status().await.unwrap_err() {
        ClientError::Refused(error) => error,
        other => panic!("{other}"),
    };
    assert_eq!(error.code, Code::Unavailable);
    assert_eq!(error.hint.as_deref(), Some("`mill init` makes a cluster of this node"));
    assert_eq!(code(api.actors().await.unwrap_err()), Code::Unavailable);
    assert_eq!(code(api.follow_events(None).await.map(|_| ()).unwrap_err()), Code::Unavailable);
    assert_eq!(code(api.init(&InitRequest::default()).await.unwrap_err()), Code::Conflict);
    let panics = InitRequest { name: Some("panic".parse().unwrap()), advertise: None };
    assert_eq!(code(api.init(&panics).await.unwrap_err()), Code::Crashed);
    let initialized = Initialized {
        node: "node-1".parse().unwrap(),
        url: "https://127.0.0.1:4400".into(),
        admin_token: token(),
        join_token: None,
    };
    room.fake.inits(initialized.clone());
    assert_eq!(api.init(&InitRequest::default()).await.unwrap(), initialized);
}

#[tokio::test]
async fn a_member_that_still_reads_its_log_is_starting() {
    let room = Room::new(World::idle()).await;
    room.member.send_replace(Some(Arc::new(member(&ca(), 0))));
    let daemon = room.api().daemon().await.unwrap();
    assert_eq!((daemon.state, daemon.node.as_str()), (DaemonState::Starting, "node-1"));
    assert_eq!(code(room.api().init(&InitRequest::default()).await.unwrap_err()), Code::Conflict);
    let remote = room.remote_admin().await;
    assert_eq!(code(remote.status().await.unwrap_err()), Code::Unavailable);
    room.act(|world| *world = World::new());
    remote.status().await.unwrap();
}

#[tokio::test]
async fn over_tls_only_the_right_token_opens() {
    let room = Room::new(World::new()).await;
    let admin = room.remote_admin().await;
    assert_eq!(admin.status().await.unwrap().node.as_str(), "node-1");
    assert_eq!(code(admin.daemon().await.unwrap_err()), Code::Forbidden);
    assert_eq!(code(admin.init(&InitRequest::default()).await.unwrap_err()), Code::Forbidden);
    for (kind, secret) in [(TokenKind::Api, 8), (TokenKind::Join, 7)] {
        let other = room.remote(Token::new(kind, [secret; SECRET_BYTES], Fingerprint::of(b"ca"))).await;
        assert_eq!(code(other.status().await.unwrap_err()), Code::Unauthorized);
        assert_eq!(code(other.inspect("x").await.unwrap_err()), Code::Unauthorized);
    }
    // The new certificates of the loop above are in use, and the first client doesn't trust them.
    assert!(matches!(admin.status().await.unwrap_err(), ClientError::Untrusted { .. }));
    let address = room.bound.borrow().unwrap();
    let daemon = room.api().daemon().await.unwrap();
    assert_eq!((daemon.state, daemon.listen), (DaemonState::Member, Some(address)));
}

#[tokio::test]
async fn a_write_over_tls_is_in_the_name_of_its_token() {
    let room = Room::new(World::new()).await;
    let target = super::world::project("shop", vec![super::world::service("web", "web:1", 1)], vec![]);
    room.act(|world| world.deploy(&target));
    let remote = room.remote_admin().await;
    let web = super::world::workload("shop/web");
    assert_eq!(remote.scale(&web, 2).await.unwrap().by.as_deref(), Some("init"));
    room.settle();
    assert_eq!(room.api().scale(&web, 3).await.unwrap().by.as_deref(), Some("local"));
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_error_and_not_the_end_of_the_local_socket() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = crate::http::listen::remote(address).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("another program listens on {address}: stop it, or give the API another port")
    );
    let error =
        crate::http::listen::tls(&crate::http::Member { private_key: "no key".into(), ..member(&ca(), 0) });
    assert_eq!(error.unwrap_err().to_string(), "the API's private key can't be read");
}

#[tokio::test]
async fn http_2_is_spoken_too_and_a_slow_handshake_is_cut() {
    use tokio::io::AsyncReadExt as _;
    let room = Room::with(World::new(), Tempo { ..hasty() }).await;
    let authority = ca();
    room.member.send_replace(Some(Arc::new(member(&authority, 0))));
    let address = room.bound.subscribe().wait_for(Option::is_some).await.unwrap().unwrap();

    let mut silent = tokio::net::TcpStream::connect(address).await.unwrap();
    let cut = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut [0; 1])).await;
    assert_eq!(cut.unwrap().unwrap_or_default(), 0);

    let trust = mill_api::trust::Trust::from_pem(&authority.pem()).unwrap();
    let mut config = trust.client_config().unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from(mill_api::trust::SERVER_NAME).unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let running = tokio::spawn(connection);
    let request =
        http::Request::get("https://x/v1/status").header("authorization", format!("Bearer {}", token()));
    let body = http_body_util::Empty::<bytes::Bytes>::new();
    let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    drop(sender);
    running.abort();
}

#[tokio::test]
async fn a_daemon_that_nobody_started_is_told_from_one_that_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let api = Api::local(directory.path().join("mill.sock"));
    assert!(matches!(api.status().await.unwrap_err(), ClientError::Socket { .. }));
}

#[tokio::test]
async fn the_tree_is_read_by_grpc_too() {
    let room = Room::new(World::new()).await;
    let endpoint = Endpoint::from_shared(format!("unix:{}", room.socket().display())).unwrap();
    let client = introspect::Client::new(endpoint.connect().await.unwrap(), Duration::from_secs(5));
    assert_eq!(client.tree().await.unwrap().path.as_str(), "http");
    let refused = client.restart("http/nobody").await.unwrap_err();
    assert!(
        matches!(refused, introspect::ReadError::Refused(RestartError::NoSuchActor { .. })),
        "{refused:?}"
    );
}
