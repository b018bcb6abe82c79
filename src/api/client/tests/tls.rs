//! Over TLS: who is believed, and who isn't.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::{Address, Api, ClientError};
use crate::error::{ApiError, Code};
use crate::token::{Token, TokenKind};
use crate::trust::{Fingerprint, SERVER_NAME, Trust};

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    fn token(&self, secret: u8) -> Token {
        Token::new(TokenKind::Api, [secret; 20], Fingerprint::of(&self.der()))
    }

    fn pinned(&self) -> Trust {
        Trust::Pinned(Fingerprint::of(&self.der()))
    }

    /// A server with a certificate of this CA for `name`, whose chain ends in `chain`.
    async fn serve(&self, name: &str, chain: Option<CertificateDer<'static>>) -> Address {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let certificates = [Some(certificate.der().clone()), chain].into_iter().flatten().collect();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        let listener = Tls { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let token = self.token(1).to_string();
        let router = Router::new().route("/v1/projects", get(move |request| projects(token, request)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Address { host: "127.0.0.1".into(), port }
    }
}

async fn projects(token: String, request: Request) -> Response {
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    match given == Some(&format!("Bearer {token}")) {
        true => Json(serde_json::json!([{ "name": "shop", "services": 1, "tasks": 0 }])).into_response(),
        false => {
            let error = ApiError::new(Code::Unauthorized, "the token is unknown");
            (StatusCode::UNAUTHORIZED, Json(error)).into_response()
        }
    }
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

async fn ask(address: &Address, token: Token, trust: &Trust) -> Result<usize, ClientError> {
    Api::remote(address.clone(), token, trust).unwrap().projects().await.map(|projects| projects.len())
}

#[tokio::test]
async fn the_cluster_is_known_by_its_ca_whatever_its_address() {
    let ca = Ca::new();
    let with_ca = ca.serve(SERVER_NAME, Some(ca.der())).await;
    let without_ca = ca.serve(SERVER_NAME, None).await;
    let pem = Trust::from_pem(&ca.0.pem()).unwrap();
    assert_eq!(ask(&with_ca, ca.token(1), &ca.pinned()).await.unwrap(), 1);
    assert_eq!(ask(&with_ca, ca.token(1), &pem).await.unwrap(), 1);
    assert_eq!(ask(&without_ca, ca.token(1), &pem).await.unwrap(), 1);
}

#[tokio::test]
async fn an_impostor_never_sees_the_token() {
    let (ca, other) = (Ca::new(), Ca::new());
    let right = ca.serve(SERVER_NAME, Some(ca.der())).await;
    let wrong_name = ca.serve("api.example.com", Some(ca.der())).await;
    let no_chain = ca.serve(SERVER_NAME, None).await;
    // It shows the true CA's certificate, but its own is another's.
    let borrowed = other.serve(SERVER_NAME, Some(ca.der())).await;
    let pem = Trust::from_pem(&other.0.pem()).unwrap();
    for (case, address, trust) in [
        ("another CA's fingerprint", &right, &other.pinned()),
        ("another CA's certificate", &right, &pem),
        ("a certificate for something else", &wrong_name, &ca.pinned()),
        ("a pinned CA that isn't shown", &no_chain, &ca.pinned()),
        ("a borrowed CA", &borrowed, &ca.pinned()),
    ] {
        let error = ask(address, ca.token(1), trust).await.unwrap_err();
        assert!(matches!(error, ClientError::Untrusted { .. }), "{case}: {error:?}");
        assert!(!error.is_unreachable(), "{case}: it must not be tried again and again");
    }
}

#[tokio::test]
async fn a_wrong_token_is_refused_with_a_hint() {
    let ca = Ca::new();
    let address = ca.serve(SERVER_NAME, Some(ca.der())).await;
    let error = ask(&address, ca.token(2), &ca.pinned()).await.unwrap_err();
    let hint = error.hint().unwrap();
    assert!(matches!(error, ClientError::Refused(error) if error.code == Code::Unauthorized));
    assert!(hint.contains("MILL_TOKEN"), "{hint}");
}

#[tokio::test]
async fn a_port_that_nobody_serves_or_another_protocol_is_told_apart() {
    let ca = Ca::new();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address { host: "127.0.0.1".into(), port: closed.local_addr().unwrap().port() };
    drop(closed);
    let error = ask(&address, ca.token(1), &ca.pinned()).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error:?}");

    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address { host: "127.0.0.1".into(), port: plain.local_addr().unwrap().port() };
    tokio::spawn(async move { axum::serve(plain, Router::new()).await });
    let error = ask(&address, ca.token(1), &ca.pinned()).await.unwrap_err();
    assert!(matches!(error, ClientError::NotTls { .. }), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("port")) && !error.is_unreachable());
}

#[test]
fn a_ca_file_without_a_certificate_is_refused() {
    assert!(Trust::from_pem("hello").is_err());
}
