//! How a client knows that a server belongs to its cluster.
//!
//! The server's certificate must be signed by the cluster's CA and be for [`SERVER_NAME`], whatever address it was
//! reached at. The CA is known by its certificate, or by that certificate's fingerprint alone: then the server
//! sends the CA's certificate along, at the end of its chain, and the client takes it if it is the one.
//!
//! # Why
//!
//! Machines change their addresses and are reached through tunnels and forwarded ports; what matters is whose they
//! are. Node certificates may name addresses as well, for other clients.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::token::{hex, unhex};

/// The name that every node's API certificate is for, among others. `internal` is reserved for private use, so that
/// no public name can be meant.
pub const SERVER_NAME: &str = "api.mill.internal";

/// The SHA-256 of a certificate (DER).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

/// Why a text is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a fingerprint has 64 hexadecimal digits")]
pub struct FingerprintError;

impl Fingerprint {
    /// The fingerprint of a certificate, given as DER.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintError;
    fn try_from(text: String) -> Result<Self, FingerprintError> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        unhex(text).map(Self).ok_or(FingerprintError)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// What a client knows of its cluster's CA.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Its certificate's fingerprint.
    Pinned(Fingerprint),
    /// Its certificate.
    Certificate(CertificateDer<'static>),
}

/// Why a trust can't be used.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The CA file holds no certificate.
    #[error("there is no PEM certificate in it")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// The certificate isn't a CA's.
    #[error("the certificate can't be used")]
    Certificate(#[source] rustls::Error),
    /// The TLS library refused its settings.
    #[error("TLS can't be set up")]
    Setup(#[source] rustls::Error),
}

impl Trust {
    /// Takes the first certificate of a PEM text.
    ///
    /// # Errors
    /// There is none.
    pub fn from_pem(pem: &str) -> Result<Self, TrustError> {
        CertificateDer::from_pem_slice(pem.as_bytes()).map(Self::Certificate).map_err(TrustError::Pem)
    }

    /// A client's TLS settings that hold this.
    ///
    /// # Errors
    /// The certificate is no CA's.
    pub fn client_config(&self) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Setup)?;
        let config = match self {
            Self::Certificate(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add(ca.clone()).map_err(TrustError::Certificate)?;
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            Self::Pinned(fingerprint) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(PinnedCa { fingerprint: *fingerprint, provider }))
                .with_no_client_auth(),
        };
        Ok(config)
    }
}

/// Takes the CA from the server's own chain if it has the right fingerprint, then verifies as usual.
#[derive(Debug)]
struct PinnedCa {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let ca = intermediates
            .iter()
            .find(|certificate| Fingerprint::of(certificate) == self.fingerprint)
            .ok_or_else(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&self.provider))
            .build()
            .map_err(|_| unknown())?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl JsonSchema for Fingerprint {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Fingerprint")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The SHA-256 of a certificate.",
            "pattern": "^[0-9a-f]{64}$"
        })
    }
}
