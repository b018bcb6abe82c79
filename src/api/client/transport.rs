//! A connection per call, over the local socket or TLS.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mill_model::Tempo;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::address::Address;
use super::error::{ClientError, Cut};
use crate::token::Token;
use crate::trust::SERVER_NAME;

/// The way to a cluster.
pub(super) enum Transport {
    /// The root-only socket.
    Socket { path: PathBuf },
    /// TLS, the cluster's CA pinned.
    Tls { address: Address, token: Box<Token>, config: Arc<ClientConfig> },
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { path } => write!(f, "{}", path.display()),
            Self::Tls { address, .. } => write!(f, "{address}"),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transport({self})")
    }
}

/// What requests are sent through.
pub(super) type Sender = SendRequest<Full<Bytes>>;

impl Transport {
    /// Connects, within its deadline.
    pub(super) async fn connect(&self, tempo: &Tempo) -> Result<Sender, ClientError> {
        let after = tempo.api_connect_deadline;
        tokio::time::timeout(after, self.connect_slowly())
            .await
            .map_err(|_| ClientError::Deadline { endpoint: self.to_string(), after })?
    }

    /// What the `Host` header says.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Socket { .. } => "localhost".to_owned(),
            Self::Tls { address, .. } => address.authority(),
        }
    }

    /// What the `Authorization` header says.
    pub(super) fn authorization(&self) -> Option<String> {
        match self {
            Self::Socket { .. } => None,
            Self::Tls { token, .. } => Some(format!("Bearer {token}")),
        }
    }

    async fn connect_slowly(&self) -> Result<Sender, ClientError> {
        match self {
            Self::Socket { path } => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|source| ClientError::Socket { path: path.clone(), source })?;
                self.shake_hands(stream).await
            }
            Self::Tls { address, config, .. } => {
                let unreachable = |source| ClientError::Connect { endpoint: self.to_string(), source };
                let stream =
                    TcpStream::connect((address.host.as_str(), address.port)).await.map_err(unreachable)?;
                // Requests are single writes; waiting for more to send with them only costs time.
                stream.set_nodelay(true).map_err(unreachable)?;
                let name = ServerName::try_from(SERVER_NAME)
                    .map_err(|wrong| unreachable(io::Error::new(io::ErrorKind::InvalidInput, wrong)))?;
                let connector = TlsConnector::from(Arc::clone(config));
                let stream =
                    connector.connect(name, stream).await.map_err(|source| self.tls_failed(source))?;
                self.shake_hands(stream).await
            }
        }
    }

    /// A certificate that is wrong is told from another protocol, and from a connection that broke.
    fn tls_failed(&self, source: io::Error) -> ClientError {
        let endpoint = self.to_string();
        let cause = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidMessage(_)) => ClientError::NotTls { endpoint, source },
            Some(rustls::Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            )) => ClientError::Clock { endpoint, source },
            Some(_) => ClientError::Untrusted { endpoint, source },
            None => ClientError::Connect { endpoint, source },
        }
    }

    async fn shake_hands<S>(&self, stream: S) -> Result<Sender, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ClientError::Cut { endpoint: self.to_string(), source: Cut::Broken(source) })?;
        // Ends by itself when the sender and the answer's body are dropped. Its errors come out of these two.
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }
}
