//! Checks over real sockets.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use http::Request;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout as within;

use super::{ProbeFailure, Probes, grpc};

/// So that an access log says who asks.
const AGENT: &str = concat!("mill-health/", env!("CARGO_PKG_VERSION"));

/// Asks over the network. Each check has a connection of its own: one that is kept open says little about
/// whether a new one would be answered.
#[derive(Debug, Default, Clone, Copy)]
pub struct NetProbes;

impl Probes for NetProbes {
    async fn http(&self, at: SocketAddr, path: &str, timeout: Duration) -> Result<(), ProbeFailure> {
        let asked = get(at, path);
        within(timeout, asked).await.map_err(|_| ProbeFailure::TimedOut { at, after: timeout })?
    }

    async fn tcp(&self, at: SocketAddr, timeout: Duration) -> Result<(), ProbeFailure> {
        let connected = within(timeout, connect(at)).await;
        connected.map_err(|_| ProbeFailure::TimedOut { at, after: timeout })?.map(drop)
    }

    async fn grpc(&self, at: SocketAddr, timeout: Duration) -> Result<(), ProbeFailure> {
        let asked = async {
            // A connection of its own first: tonic doesn't tell a refused one from a broken one.
            drop(connect(at).await?);
            grpc::check(at, timeout).await
        };
        within(timeout, asked).await.map_err(|_| ProbeFailure::TimedOut { at, after: timeout })?
    }
}

async fn connect(at: SocketAddr) -> Result<TcpStream, ProbeFailure> {
    TcpStream::connect(at).await.map_err(|source| ProbeFailure::connect(at, source))
}

async fn get(at: SocketAddr, path: &str) -> Result<(), ProbeFailure> {
    let request = Request::get(path)
        .header(HOST, at.to_string())
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| ProbeFailure::Path { path: path.to_owned() })?;
    let stream = connect(at).await?;
    let failed = |source| ProbeFailure::Http { at, source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // The head says it all; connection and body are dropped with it.
    let mut answer = pin!(sender.send_request(request));
    let response = tokio::select! {
        response = &mut answer => response,
        // It may end with the answer delivered, or with the reason why there is none.
        _ = connection => answer.await,
    };
    let response = response.map_err(failed)?;
    let status = response.status();
    match status.is_success() || status.is_redirection() {
        true => Ok(()),
        false => Err(ProbeFailure::Status { at, path: path.to_owned(), status }),
    }
}
