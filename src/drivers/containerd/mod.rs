//! The gRPC connection to containerd, shared by [`crate::containers`] and [`crate::images`].
//!
//! Every call carries Mill's namespace, has a deadline, and answers with a [`RuntimeError`] that callers can
//! ask. The connection is made lazily and again after each break, so a restart of containerd costs the calls
//! in flight and nothing else.
//!
//! Written for the API as containerd 1.6 serves it, which 2.x still does; tried against 1.6.20 only.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use containerd_client::services::v1 as api;
use containerd_client::tonic;
use hyper_util::rt::TokioIo;
use mill_model::{Tempo, Timestamp};
use tokio::net::UnixStream;
use tonic::codegen::http::Uri;
use tonic::codegen::{InterceptedService, Service};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::mounts::resolved;

pub use error::{RuntimeError, chain};

mod content;
mod error;
pub(crate) mod leases;
mod records;
mod snapshots;

pub(crate) use content::BlobWriter;
pub(crate) use snapshots::Commit;

/// Mill's namespace within containerd: what isn't in it is not Mill's and never touched.
pub const NAMESPACE: &str = "mill";

/// The only snapshotter Mill uses.
pub(crate) const SNAPSHOTTER: &str = "overlayfs";

/// Where Debian, Docker and containerd itself put the socket.
pub const DEFAULT_SOCKET: &str = "/run/containerd/containerd.sock";

/// The file beside a containerd's socket that its Mill has locked ([`crate::process::Lock`]). All of a containerd's
/// Mills would share one namespace, and each take the others' containers and images for leftovers. Beside the socket,
/// whatever name that is known by, since nothing else is the same to Mills of other homes.
pub fn claimed_at(socket: &Path) -> PathBuf {
    let mut path = resolved(socket).into_os_string();
    path.push(".mill-lock");
    path.into()
}

/// Most bytes that one answer may have: containerd's own server sends no more.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A connection to one containerd. Clones share it.
#[derive(Clone, Debug)]
pub struct Containerd {
    channel: Channel,
    stamp: Stamp,
    tempo: Arc<Tempo>,
    socket: PathBuf,
}

/// The channel as the generated clients see it.
pub(crate) type Stamped = InterceptedService<Channel, Stamp>;

impl Containerd {
    /// Names the containerd that listens on `socket`. Nothing is sent yet: the first call connects.
    pub fn new(socket: &Path, tempo: Arc<Tempo>) -> Self {
        let connector = Connector { socket: socket.to_owned() };
        // The address is never looked at: the connector knows the socket.
        let endpoint = Endpoint::from_static("http://containerd").connect_timeout(tempo.runtime_deadline);
        let channel = endpoint.connect_with_connector_lazy(connector);
        Self { channel, stamp: Stamp::default(), tempo, socket: socket.to_owned() }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its version as it tells it, `1.6.20~ds1`.
    ///
    /// # Errors
    /// It isn't there, or doesn't answer in time.
    pub async fn version(&self) -> Result<String, RuntimeError> {
        let mut client = api::version_client::VersionClient::with_interceptor(self.channel(), self.stamp());
        let answer = self.call("tell its version", client.version(())).await?;
        Ok(answer.version)
    }

    /// Makes Mill's namespace if it isn't there: others' tools list it, and containerd wants it before content.
    ///
    /// # Errors
    /// It isn't there, or doesn't answer in time.
    pub async fn ensure_namespace(&self) -> Result<(), RuntimeError> {
        let mut client =
            api::namespaces_client::NamespacesClient::with_interceptor(self.channel(), self.stamp());
        let namespace = api::Namespace { name: NAMESPACE.to_owned(), labels: Default::default() };
        let request = api::CreateNamespaceRequest { namespace: Some(namespace) };
        match self.call("create its namespace", client.create(request)).await {
            Ok(_) | Err(RuntimeError::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The durations it was given.
    pub(crate) fn tempo(&self) -> &Tempo {
        &self.tempo
    }

    /// The same connection; what its calls make is held by `lease`.
    pub(crate) fn leased(&self, lease: &leases::Lease) -> Self {
        let stamp = Stamp { lease: lease.id().parse().ok() };
        Self { stamp, ..self.clone() }
    }

    pub(crate) fn lease_id(&self) -> Option<String> {
        self.stamp.lease.as_ref().and_then(|lease| lease.to_str().ok()).map(str::to_owned)
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp.clone()
    }

    pub(crate) fn tasks(&self) -> api::tasks_client::TasksClient<Stamped> {
        api::tasks_client::TasksClient::with_interceptor(self.channel(), self.stamp())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn containers(&self) -> api::containers_client::ContainersClient<Stamped> {
        api::containers_client::ContainersClient::with_interceptor(self.channel(), self.stamp())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn images(&self) -> api::images_client::ImagesClient<Stamped> {
        api::images_client::ImagesClient::with_interceptor(self.channel(), self.stamp())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Awaits one answer, at most `Tempo::runtime_deadline`. `asked` completes "asked to …".
    pub(crate) async fn call<T, F>(&self, asked: &'static str, answer: F) -> Result<T, RuntimeError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.call_within(self.tempo.runtime_deadline, asked, answer).await
    }

    /// [`Self::call`] with another deadline. A call that is given up is cancelled at containerd's end too.
    pub(crate) async fn call_within<T, F>(
        &self,
        deadline: Duration,
        asked: &'static str,
        answer: F,
    ) -> Result<T, RuntimeError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(RuntimeError::told(asked, status)),
            Err(_) => Err(RuntimeError::Deadline { asked, after: deadline }),
        }
    }
}

/// Puts the namespace, and the lease if there is one, on each request. containerd refuses requests without a
/// namespace, some of them only after having done the work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stamp {
    lease: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Stamp {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
        if let Some(lease) = &self.lease {
            metadata.insert("containerd-lease", lease.clone());
        }
        Ok(request)
    }
}

/// Connects to a Unix socket, whatever the address says.
#[derive(Clone, Debug)]
struct Connector {
    socket: PathBuf,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let socket = self.socket.clone();
        Box::pin(async move { Ok(TokioIo::new(UnixStream::connect(socket).await?)) })
    }
}

/// A time as containerd gives it; nothing, or one before 1970, is 1970.
pub(crate) fn timestamp(time: Option<&prost_types::Timestamp>) -> Timestamp {
    let millis = |time: &prost_types::Timestamp| {
        let seconds = u64::try_from(time.seconds).unwrap_or(0);
        seconds.saturating_mul(1000).saturating_add(u64::try_from(time.nanos / 1_000_000).unwrap_or(0))
    };
    Timestamp(time.map_or(0, millis))
}
