//! The two doors: the root-only Unix socket, and TLS.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use axum::Router;
use mill_model::limits::{API_CONNECTIONS_MAX, API_CONNECTIONS_PER_SOURCE_MAX};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::Member;
use super::backend::Backend;
use super::connection;
use super::gate::Origin;
use super::guard::Source;
use super::server::Server;

/// Why the API can't be listened for.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another daemon answers there.
    #[error("another daemon listens on {}", path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// The socket can't be made.
    #[error("failed to listen on {}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another program has the port.
    #[error("another program listens on {address}: stop it, or give the API another port")]
    PortInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address can't be listened on.
    #[error("failed to listen on {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The certificate isn't one.
    #[error("the API's certificate can't be read")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    /// The key isn't one.
    #[error("the API's private key can't be read")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// The two don't belong together, or TLS can't be set up.
    #[error("the API's certificate can't be used")]
    Tls(#[source] rustls::Error),
}

/// Listens on the local socket, for root alone. What a daemon that was killed has left there is replaced.
///
/// It is made under another name and moved into place once nobody else may open it: there is no moment in which
/// others could.
pub(super) async fn local(path: &Path) -> Result<UnixListener, ListenError> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(ListenError::SocketInUse { path: path.to_owned() });
    }
    let failed = |source| ListenError::Socket { path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(failed)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)?;
    Ok(listener)
}

/// Listens on the member's address.
pub(super) async fn remote(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::PortInUse { address },
        _ => ListenError::Address { address, source },
    })
}

/// The TLS settings of a member.
pub(super) fn tls(member: &Member) -> Result<ServerConfig, ListenError> {
    let certificates = CertificateDer::pem_slice_iter(member.certificate_chain.as_bytes());
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(ListenError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(member.private_key.as_bytes()).map_err(ListenError::Key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(ListenError::Tls)?.with_no_client_auth();
    let mut config = builder.with_single_cert(certificates, key).map_err(ListenError::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What an accept loop needs.
pub(super) struct Door<B> {
    pub(super) server: Server<B>,
    pub(super) router: Router,
    /// Lives as long as the loop and its connections.
    pub(super) open: TaskTracker,
}

/// What one who comes when the local socket is full is told.
const FULL: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n\
{\"code\":\"overloaded\",\"message\":\"too many connections are open\",\"hint\":\"close some, or try again in a moment\"}";

impl<B: Backend> Door<B> {
    /// Serves the local socket until the daemon leaves.
    pub(super) async fn serve_local(self, listener: UnixListener) {
        let _open = self.open.token();
        let mut connections = JoinSet::new();
        while let Some(accepted) = self.accept(listener.accept(), &mut connections).await {
            let Some((mut stream, _)) = accepted else { continue };
            let (server, router) = (self.server.clone(), self.router.clone());
            match connections.len() < API_CONNECTIONS_MAX {
                true => drop(connections.spawn(connection::serve(server, router, Origin::Local, stream))),
                // Whoever doesn't take it at once goes without.
                false => drop(futures::FutureExt::now_or_never(stream.write_all(FULL))),
            }
        }
        while connections.join_next().await.is_some() {}
    }

    /// Serves TLS until the daemon leaves.
    pub(super) async fn serve_remote(self, listener: TcpListener, config: Arc<ArcSwap<ServerConfig>>) {
        let _open = self.open.token();
        let places = Places::default();
        let mut connections = JoinSet::new();
        while let Some(accepted) = self.accept(listener.accept(), &mut connections).await {
            let Some((stream, peer)) = accepted else { continue };
            if connections.len() >= API_CONNECTIONS_MAX {
                tracing::warn!(max = API_CONNECTIONS_MAX, "connection refused: too many are open");
                continue;
            }
            let Some(place) = places.take(peer.ip().into()) else {
                tracing::debug!(%peer, "connection refused: too many are open from there");
                continue;
            };
            let acceptor = TlsAcceptor::from(config.load_full());
            let (server, router) = (self.server.clone(), self.router.clone());
            let origin = Origin::Remote(peer.ip().to_canonical());
            connections.spawn(async move {
                let _place = place;
                shake_hands_and_serve(server, router, acceptor, origin, stream).await;
            });
        }
        while connections.join_next().await.is_some() {}
    }

    /// The next connection; `Some(None)`: none came, go on; `None`: the daemon leaves.
    async fn accept<T>(
        &self,
        next: impl Future<Output = io::Result<T>>,
        connections: &mut JoinSet<()>,
    ) -> Option<Option<T>> {
        tokio::select! {
            () = self.server.leaving.cancelled() => None,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "connection panicked");
                }
                Some(None)
            }
            accepted = next => match accepted {
                Ok(accepted) => Some(Some(accepted)),
                Err(error) => {
                    tracing::warn!(%error, "no connection accepted");
                    tokio::time::sleep(self.server.tempo.accept_rest).await;
                    Some(None)
                }
            },
        }
    }
}

/// Connections that are open, by where they come from.
#[derive(Debug, Clone, Default)]
struct Places(Arc<Mutex<HashMap<Source, usize>>>);

/// One of them, as long as it lives.
struct Place {
    places: Places,
    source: Source,
}

impl Places {
    fn open(&self) -> MutexGuard<'_, HashMap<Source, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for another one; `None`: whoever is there has enough.
    fn take(&self, source: Source) -> Option<Place> {
        let mut places = self.open();
        let open = places.entry(source).or_default();
        if *open >= API_CONNECTIONS_PER_SOURCE_MAX {
            return None;
        }
        *open += 1;
        Some(Place { places: self.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.open();
        let left = places.get(&self.source).map_or(0, |open| open.saturating_sub(1));
        match left {
            0 => places.remove(&self.source),
            left => places.insert(self.source, left),
        };
    }
}

async fn shake_hands_and_serve<B: Backend>(
    server: Server<B>,
    router: Router,
    acceptor: TlsAcceptor,
    origin: Origin,
    stream: TcpStream,
) {
    // Answers are written whole; waiting for more to send with them only costs time.
    let _ = stream.set_nodelay(true);
    let handshake = tokio::time::timeout(server.tempo.api_head_deadline, acceptor.accept(stream));
    match handshake.await {
        Ok(Ok(stream)) => connection::serve(server, router, origin, stream).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS handshake"),
        Err(_) => tracing::debug!("no TLS handshake in time"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn one_machine_can_not_take_every_connection() {
        let places = Places::default();
        let from = |last: u8| Source::from(IpAddr::from([10, 0, 0, last]));
        let mut taken: Vec<Place> =
            (0..API_CONNECTIONS_PER_SOURCE_MAX).map(|_| places.take(from(1)).unwrap()).collect();
        assert!(places.take(from(1)).is_none());
        assert!(places.take(from(2)).is_some());
        taken.pop();
        assert!(places.take(from(1)).is_some());
        taken.clear();
        assert!(places.open().is_empty(), "who left is forgotten");
    }
}
