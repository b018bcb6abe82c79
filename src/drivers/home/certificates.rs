//! The cluster's own CA and the node's certificate under it.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use thiserror::Error;

use crate::seal::ClusterKey;

/// Keys and certificates of a node, PEM; and the cluster's key.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The cluster's CA.
    pub ca_certificate: String,
    /// Its key.
    pub ca_key: String,
    /// This node's certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The key to which secrets are sealed.
    pub cluster: ClusterKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

/// A certificate couldn't be made.
#[derive(Debug, Error)]
#[error("failed to make a certificate")]
pub struct CertificateError(#[from] rcgen::Error);

impl Keys {
    /// A new CA, and a certificate under it for a node called `name`, at `addresses` and on the loopback addresses.
    ///
    /// # Errors
    /// The keys can't be made.
    pub fn make(name: &str, addresses: &[IpAddr]) -> Result<Self, CertificateError> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name = named("mill cluster CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_certificate = ca.self_signed(&ca_key)?.pem();
        let ca_pem = ca_key.serialize_pem();
        let issuer = Issuer::new(ca, ca_key);

        let key = KeyPair::generate()?;
        let mut node = CertificateParams::new(vec![name.to_owned(), "localhost".to_owned()])?;
        node.distinguished_name = named("mill node");
        let loopback = ["127.0.0.1", "::1"].iter().filter_map(|text| text.parse().ok());
        node.subject_alt_names.extend(loopback.chain(addresses.iter().copied()).map(SanType::IpAddress));
        node.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        node.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = node.signed_by(&key, &issuer)?.pem();
        let (key, cluster) = (key.serialize_pem(), ClusterKey::generate());
        Ok(Self { ca_certificate, ca_key: ca_pem, certificate, key, cluster })
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
