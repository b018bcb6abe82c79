//! The cluster's own CA and the node's certificate under it.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use mill_model::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use thiserror::Error;
use time::OffsetDateTime;

use crate::seal::ClusterKey;

/// How long the CA is valid: twenty years. Who wants another one earlier makes it on purpose.
pub(super) const CA_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);

/// What a certificate can't say is cut: the first moment of the year 9999.
const LAST: Timestamp = Timestamp(253_370_764_800_000);

/// How far a client's clock may be behind: a day, a time zone mistaken.
const SLACK_MS: u64 = 86_400_000;

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
    /// A new CA, and a certificate under it for a node called `name`, at `addresses` and on the loopback addresses, that is
    /// valid for `life` from `now` on.
    ///
    /// # Errors
    /// The keys can't be made.
    pub fn make(
        name: &str,
        addresses: &[IpAddr],
        now: Timestamp,
        life: Duration,
    ) -> Result<Self, CertificateError> {
        let ca_key = KeyPair::generate()?;
        let mut ca = authority();
        (ca.not_before, ca.not_after) = valid(now, CA_LIFE);
        let ca_certificate = ca.self_signed(&ca_key)?.pem();
        let ca_pem = ca_key.serialize_pem();
        let issuer = Issuer::new(ca, ca_key);

        let key = KeyPair::generate()?;
        let certificate = node(name, addresses, now, life)?.signed_by(&key, &issuer)?.pem();
        let (key, cluster) = (key.serialize_pem(), ClusterKey::generate());
        Ok(Self { ca_certificate, ca_key: ca_pem, certificate, key, cluster })
    }
}

impl Keys {
    /// Another certificate of the same node, for the same key: a file of its own that is replaced whole, so that no crash
    /// leaves a certificate and a key that don't belong together.
    ///
    /// # Errors
    /// The keys can't be used.
    pub fn renewed(
        &self,
        name: &str,
        addresses: &[IpAddr],
        now: Timestamp,
        life: Duration,
    ) -> Result<String, CertificateError> {
        // What names the issuer is its name and its key; both are as they were.
        let issuer = Issuer::new(authority(), KeyPair::from_pem(&self.ca_key)?);
        let key = KeyPair::from_pem(&self.key)?;
        Ok(node(name, addresses, now, life)?.signed_by(&key, &issuer)?.pem())
    }
}

pub(super) fn authority() -> CertificateParams {
    let mut ca = CertificateParams::default();
    ca.distinguished_name = named("mill cluster CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca
}

fn node(
    name: &str,
    addresses: &[IpAddr],
    now: Timestamp,
    life: Duration,
) -> Result<CertificateParams, CertificateError> {
    let mut node = CertificateParams::new(vec![name.to_owned(), "localhost".to_owned()])?;
    node.distinguished_name = named("mill node");
    let loopback = ["127.0.0.1", "::1"].iter().filter_map(|text| text.parse().ok());
    node.subject_alt_names.extend(loopback.chain(addresses.iter().copied()).map(SanType::IpAddress));
    node.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    node.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    (node.not_before, node.not_after) = valid(now, life);
    Ok(node)
}

/// From a little before `now`, for clocks that are behind, to `life` after it.
pub(super) fn valid(now: Timestamp, life: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let at = |time: Timestamp| OffsetDateTime::from(SystemTime::from(time.min(LAST)));
    (at(Timestamp(now.0.saturating_sub(SLACK_MS))), at(now.after(life)))
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
