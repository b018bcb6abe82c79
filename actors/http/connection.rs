//! One connection: HTTP/1.1 or 2, each request through the gate to its handler, a client that is too slow cut.

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use http::header::ALLOW;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use mill_api::{ApiError, Code, paths};
use mill_model::limits::{API_HEAD_BYTES_MAX, API_STREAMS_PER_CONNECTION_MAX};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::backend::Backend;
use super::gate::{self, Origin};
use super::once::{self, Keyed};
use super::refusal::Refusal;
use super::server::Server;

/// Serves one connection until it ends, is cut, or the daemon leaves.
pub(super) async fn serve<B: Backend>(
    server: Server<B>,
    router: Router,
    origin: Origin,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) {
    let tempo = Arc::clone(&server.tempo);
    let _counted = Counted::new(server.clone());
    let over = CancellationToken::new();
    // What a request of HTTP/2 started ends with its connection.
    let _ends = over.clone().drop_guard();
    let spoken = Arc::new(AtomicBool::new(false));
    let watched = Watched {
        stream,
        spoken: Arc::clone(&spoken),
        silence: Box::pin(sleep(tempo.api_head_deadline)),
        stalled_after: tempo.api_stalled_after,
        stall: None,
    };
    let leaving = server.leaving.clone();
    let service = service_fn(move |request| {
        spoken.store(true, Ordering::Relaxed);
        let (server, router) = (server.clone(), router.clone());
        async move { Ok::<Response, std::convert::Infallible>(answer(server, router, origin, request).await) }
    });
    let mut builder = auto::Builder::new(Bound { over });
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(tempo.api_head_deadline)
        .max_buf_size(API_HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(tempo.api_silence)
        .keep_alive_timeout(tempo.api_silence)
        .max_concurrent_streams(API_STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(u32::try_from(API_HEAD_BYTES_MAX).unwrap_or(u32::MAX));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(watched), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = leaving.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// An open connection, counted as long as this lives.
struct Counted<B: Backend>(Server<B>);

impl<B: Backend> Counted<B> {
    fn new(server: Server<B>) -> Self {
        server.connections.fetch_add(1, Ordering::Relaxed);
        Self(server)
    }
}

impl<B: Backend> Drop for Counted<B> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets a request through, and says which methods a path takes that was asked with another (RFC 9110 §15.5.6).
async fn answer<B: Backend>(
    server: Server<B>,
    router: Router,
    origin: Origin,
    request: Request<Incoming>,
) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = handle(server, router, origin, request).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(methods) = HeaderValue::from_str(&paths::methods(&path))
    {
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}

/// Lets a request through the gate to its handler. A handler that panics hurts its own request only.
async fn handle<B: Backend>(
    server: Server<B>,
    router: Router,
    origin: Origin,
    request: Request<Incoming>,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut caller = match gate::admit(&server, origin, &parts) {
        Ok(caller) => caller,
        Err(refused) => return Refusal(refused).into_response(),
    };
    let body = match once::look(&server, &mut caller, &parts, body).await {
        Ok(Keyed::New(body)) => body,
        Ok(Keyed::Done(answer)) => return answer,
        Err(refused) => return refused.into_response(),
    };
    parts.extensions.insert(caller.clone());
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let handled = TowerToHyperService::new(router).call(Request::from_parts(parts, body));
    match AssertUnwindSafe(handled).catch_unwind().await {
        Ok(Ok(response)) => {
            let status = response.status();
            // A switch to another protocol, as exec asks for, is no refusal.
            if status.is_client_error() || status.is_server_error() {
                gate::note_refused(&server, &caller, status.as_str());
            }
            response
        }
        Ok(Err(never)) => match never {},
        Err(_) => {
            tracing::error!(%method, %path, "handler panicked");
            let error = ApiError::new(Code::Crashed, "the daemon failed over this request")
                .because("its handler panicked; nothing else is hurt")
                .hint("this is a defect of Mill: please report it with the daemon's log");
            Refusal(error).into_response()
        }
    }
}

/// Spawns what a connection needs, for as long as it lives.
#[derive(Clone)]
struct Bound {
    over: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Bound
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let over = self.over.clone();
        tokio::spawn(async move {
            let _ = over.run_until_cancelled(future).await;
        });
    }
}

/// A connection with an eye on its client: one that doesn't come to its first request, or takes nothing of what it is
/// owed, is cut.
struct Watched<S> {
    stream: S,
    /// The first request has come. What follows is hyper's to watch.
    spoken: Arc<AtomicBool>,
    /// Until then it may be silent.
    silence: Pin<Box<Sleep>>,
    stalled_after: Duration,
    /// Running while the client takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    /// Turns a write that doesn't get on into an error once it has taken too long.
    fn or_cut<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let until = Instant::now() + self.stalled_after;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep_until(until)));
        match stall.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let silent = read.is_pending() && !self.spoken.load(Ordering::Relaxed);
        if silent && self.silence.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.or_cut(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.or_cut(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.or_cut(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.or_cut(context, shut)
    }
}
