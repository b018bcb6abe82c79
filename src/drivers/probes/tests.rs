//! Checks against servers on loopback.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
/// For checks that must run out of time.
const IMPATIENCE: Duration = Duration::from_millis(50);

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    (listener, at)
}

/// Answers each request with `status`; notes what was asked.
async fn web(status: u16) -> (SocketAddr, Arc<Mutex<Vec<String>>>, JoinHandle<()>) {
    let (listener, at) = listener().await;
    let asked = Arc::new(Mutex::new(vec![]));
    let noted = Arc::clone(&asked);
    let served = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let noted = Arc::clone(&noted);
            let answer = service_fn(move |request: Request<Incoming>| {
                let agent = request.headers().get("user-agent").cloned().unwrap();
                noted.lock().unwrap().push(format!("{} {}", request.uri(), agent.to_str().unwrap()));
                let body = Full::new(Bytes::from_static(b"body"));
                async move { Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap()) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        }
    });
    (at, asked, served)
}

#[tokio::test]
async fn http_is_well_with_2xx_and_3xx_and_names_the_rest() {
    for (status, well) in [(200, true), (204, true), (302, true), (404, false), (500, false), (503, false)] {
        let (at, asked, served) = web(status).await;
        let result = NetProbes.http(at, "/health?deep=1", PATIENCE).await;
        assert_eq!(result.is_ok(), well, "{status}: {result:?}");
        if let Err(failure) = result {
            let text = failure.to_string();
            assert!(
                text.starts_with("GET /health?deep=1 on 127.0.0.1:") && text.contains(&status.to_string()),
                "{text}"
            );
        }
        assert_eq!(
            *asked.lock().unwrap(),
            [format!("/health?deep=1 mill-health/{}", env!("CARGO_PKG_VERSION"))]
        );
        served.abort();
    }
}

#[tokio::test]
async fn what_listens_nowhere_is_told_from_what_answers_wrongly() {
    let (listener, at) = listener().await;
    drop(listener);
    for result in [
        NetProbes.http(at, "/", PATIENCE).await,
        NetProbes.tcp(at, PATIENCE).await,
        NetProbes.grpc(at, PATIENCE).await,
    ] {
        let failure = result.unwrap_err();
        assert!(failure.is_refused(), "{failure:?}");
        assert_eq!(failure.to_string(), format!("nothing listens on {at}"));
    }
    assert!(matches!(NetProbes.http(at, "no path", PATIENCE).await, Err(ProbeFailure::Path { .. })));
}

#[tokio::test]
async fn one_that_accepts_and_is_silent_runs_out_of_time_save_for_tcp() {
    // Never accepted by the program: the kernel's queue takes the connection.
    let (_listener, at) = listener().await;
    NetProbes.tcp(at, PATIENCE).await.unwrap();
    for result in [NetProbes.http(at, "/", IMPATIENCE).await, NetProbes.grpc(at, IMPATIENCE).await] {
        let failure = result.unwrap_err();
        assert_eq!(failure.to_string(), format!("no answer from {at} within 50ms"));
    }
}

#[tokio::test]
async fn one_that_speaks_no_http_or_hangs_up_is_ill() {
    for said in ["220 mail.example ESMTP\r\n", ""] {
        let (listener, at) = listener().await;
        let served = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(said.as_bytes()).await;
            }
        });
        let failure = NetProbes.http(at, "/", PATIENCE).await.unwrap_err();
        assert!(!failure.is_refused() && !matches!(failure, ProbeFailure::TimedOut { .. }), "{failure:?}");
        let failure = NetProbes.grpc(at, PATIENCE).await.unwrap_err();
        assert!(matches!(failure, ProbeFailure::Grpc { .. }), "{failure:?}");
        served.abort();
    }
}

/// A gRPC server that answers each call with one message and `grpc-status`.
async fn health(serving: u8, grpc_status: &'static str) -> (SocketAddr, JoinHandle<()>) {
    let (listener, at) = listener().await;
    let served = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(move |request: Request<Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let sent = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(sent[..], [0, 0, 0, 0, 0], "the empty request is five bytes of frame");
                let message = Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, serving]);
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static(grpc_status));
                let frames = [Ok::<_, Infallible>(Frame::data(message)), Ok(Frame::trailers(trailers))];
                let body = StreamBody::new(futures::stream::iter(frames));
                let response = Response::builder().header("content-type", "application/grpc").body(body);
                Ok::<_, Infallible>(response.unwrap())
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(async move {
                let _ = server.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    (at, served)
}

#[tokio::test]
async fn grpc_is_well_when_serving_and_says_what_else_it_was_told() {
    let (at, served) = health(1, "0").await;
    NetProbes.grpc(at, PATIENCE).await.unwrap();
    served.abort();
    for (serving, name) in [(2, "NOT_SERVING"), (3, "SERVICE_UNKNOWN"), (0, "UNKNOWN"), (9, "UNKNOWN")] {
        let (at, served) = health(serving, "0").await;
        let failure = NetProbes.grpc(at, PATIENCE).await.unwrap_err();
        assert!(matches!(failure, ProbeFailure::NotServing { status, .. } if status == name), "{failure:?}");
        served.abort();
    }
    let (at, served) = health(1, "12").await;
    let failure = NetProbes.grpc(at, PATIENCE).await.unwrap_err();
    assert!(matches!(failure, ProbeFailure::Grpc { code: tonic::Code::Unimplemented, .. }), "{failure:?}");
    served.abort();
}
