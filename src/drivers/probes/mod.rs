//! Health checks over the network. (Those that run a program are the containers'.)

mod fake;
mod grpc;
mod net;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use thiserror::Error;

pub use fake::{Answer, FakeProbes};
pub use net::NetProbes;

/// Who asks a program whether it is well.
pub trait Probes: Clone + Send + Sync + 'static {
    /// GET `path`; 2xx and 3xx are well.
    fn http(
        &self,
        at: SocketAddr,
        path: &str,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), ProbeFailure>> + Send;

    /// Connects; that is well.
    fn tcp(&self, at: SocketAddr, timeout: Duration)
    -> impl Future<Output = Result<(), ProbeFailure>> + Send;

    /// `grpc.health.v1.Health/Check` of the server as a whole; SERVING is well.
    fn grpc(
        &self,
        at: SocketAddr,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), ProbeFailure>> + Send;
}

/// What a check saw instead of health. Its text, with its source's, is for people.
#[derive(Debug, Error)]
pub enum ProbeFailure {
    /// Nothing listens there.
    #[error("nothing listens on {at}")]
    Refused {
        /// Where.
        at: SocketAddr,
    },
    /// No connection.
    #[error("failed to connect to {at}")]
    Connect {
        /// Where.
        at: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// Out of time.
    #[error("no answer from {at} within {}", humantime::format_duration(*after))]
    TimedOut {
        /// Where.
        at: SocketAddr,
        /// The check's timeout.
        after: Duration,
    },
    /// An answer, not a good one.
    #[error("GET {path} on {at} answered {status}")]
    Status {
        /// Where.
        at: SocketAddr,
        /// What was asked for.
        path: String,
        /// What came.
        status: StatusCode,
    },
    /// The path can't be asked for.
    #[error("`{path}` is no path that HTTP could ask for")]
    Path {
        /// What was to be asked for.
        path: String,
    },
    /// No HTTP, or a connection that broke.
    #[error("no HTTP answer from {at}")]
    Http {
        /// Where.
        at: SocketAddr,
        /// What went wrong.
        source: hyper::Error,
    },
    /// The server says that it doesn't serve.
    #[error("the gRPC health service on {at} answered {status}")]
    NotServing {
        /// Where.
        at: SocketAddr,
        /// As the protocol names it.
        status: &'static str,
    },
    /// No gRPC, no health service, or a connection that broke.
    #[error("no gRPC health answer from {at}: {code}")]
    Grpc {
        /// Where.
        at: SocketAddr,
        /// gRPC's code.
        code: tonic::Code,
        /// With the server's message.
        source: Box<tonic::Status>,
    },
}

impl ProbeFailure {
    /// Whether nothing listens there: the program may be somewhere else.
    pub const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    fn connect(at: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { at },
            _ => Self::Connect { at, source },
        }
    }
}
