//! Another CA for the cluster, and the way from the old one to it.
//!
//! # Why
//! A token carries the fingerprint of the CA under which it was made, and whoever shows it trusts that CA alone. So a new CA
//! is signed by the old one too ([`NextCa::cross`]): a node shows its certificate under the new CA, the new CA under the
//! old, and both CAs, and a client finds the one that it knows among them, whichever that is. When the old one has had its
//! time, the node shows it no more, and tokens that carry it open nothing any more. Their secret is as good as before:
//! the same token with the new fingerprint opens, which is what `mill login` keeps while both are trusted.

use std::fs;
use std::io;

use mill_model::Timestamp;
use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use super::certificates::{CA_LIFE, CertificateError, authority, valid};
use super::{CA_CERTIFICATE, CA_KEY, Home, HomeError, Keys, io_error};
use crate::files;

/// A CA to be.
#[derive(Clone, PartialEq, Eq)]
pub struct NextCa {
    /// Its certificate, PEM.
    pub certificate: String,
    /// The same, signed by the CA before it, PEM.
    pub cross: String,
    /// Its key, PEM.
    key: String,
}

impl std::fmt::Debug for NextCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NextCa")
    }
}

impl Keys {
    /// A CA to follow this one.
    ///
    /// # Errors
    /// The keys can't be made or used.
    pub fn next_ca(&self, now: Timestamp) -> Result<NextCa, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params: CertificateParams = authority();
        (params.not_before, params.not_after) = valid(now, CA_LIFE);
        let old = Issuer::new(authority(), KeyPair::from_pem(&self.ca_key)?);
        let cross = params.signed_by(&key, &old)?.pem();
        Ok(NextCa { certificate: params.self_signed(&key)?.pem(), cross, key: key.serialize_pem() })
    }
}

/// Where the key of a CA is that isn't the cluster's yet: by its certificate, so that two that are made at a time don't
/// take each other's place.
fn waiting(certificate: &str) -> String {
    let digest = Sha256::digest(certificate.as_bytes());
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("keys/ca-{name}.key")
}

/// Whether a key is the one that a certificate is for.
fn belongs(key: &str, certificate: &str) -> bool {
    let (Ok(key), Ok(certificate)) =
        (KeyPair::from_pem(key), CertificateDer::from_pem_slice(certificate.as_bytes()))
    else {
        return false;
    };
    let public = key.subject_public_key_info();
    certificate.windows(public.len()).any(|part| part == public)
}

impl Home {
    /// Keeps the key of a CA that may become the cluster's.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep_next_ca(&self, next: &NextCa) -> Result<(), HomeError> {
        self.write(&waiting(&next.certificate), &next.key)
    }

    /// Makes `certificate`'s the CA of this node, if its key is here: key first, certificate last, so that a crash between
    /// the two is mended by doing it again. Whether it is now.
    ///
    /// # Errors
    /// Something can't be read or written.
    pub fn adopt_ca(&self, certificate: &str) -> Result<bool, HomeError> {
        let path = self.path.join(waiting(certificate));
        match fs::rename(&path, self.path.join(CA_KEY)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("move", &path)(error));
            }
            _ => {}
        }
        if !belongs(&self.keys()?.ca_key, certificate) {
            return Ok(false);
        }
        files::sync(&self.path.join("keys")).map_err(io_error("sync", &self.path))?;
        self.write(CA_CERTIFICATE, certificate)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;
    use crate::home::Identity;

    const NOW: Timestamp = Timestamp(1_795_262_400_000);
    const LIFE: Duration = Duration::from_secs(90 * 86_400);

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    /// Whether whoever trusts `root` alone believes a node that shows these.
    fn believed(root: &str, leaf: &str, others: &[&str]) -> bool {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der(root)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        let others: Vec<_> = others.iter().map(|pem| der(pem)).collect();
        let (name, at) = (ServerName::try_from("api.test").unwrap(), Duration::from_millis(NOW.0));
        verifier.verify_server_cert(&der(leaf), &others, &name, &[], UnixTime::since_unix_epoch(at)).is_ok()
    }

    fn home(dir: &std::path::Path) -> Home {
        let home = Home::open(dir).unwrap();
        let identity = Identity {
            node: mill_model::NodeId(1),
            name: "node-1".parse().unwrap(),
            cluster: "c".to_owned(),
            advertise: "10.0.0.1".parse().unwrap(),
        };
        home.settle(&identity, &Keys::make("api.test", &[], NOW, LIFE).unwrap()).unwrap();
        home
    }

    #[test]
    fn while_both_are_shown_whoever_knows_one_of_them_believes_the_node() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let old = home.keys().unwrap();
        let next = old.next_ca(NOW).unwrap();
        home.keep_next_ca(&next).unwrap();
        assert!(home.adopt_ca(&next.certificate).unwrap());
        let keys = home.keys().unwrap();
        assert_eq!(keys.ca_certificate, next.certificate);
        let leaf = keys.renewed("api.test", &[], NOW, LIFE).unwrap();
        let both = [next.cross.as_str(), &next.certificate, &old.ca_certificate];
        assert!(believed(&old.ca_certificate, &leaf, &both));
        assert!(believed(&next.certificate, &leaf, &both));
        assert!(believed(&next.certificate, &leaf, &both[1..2]));
        assert!(
            !believed(&old.ca_certificate, &leaf, &both[1..]),
            "the signature of the old one makes it so"
        );
        let stranger = Keys::make("api.test", &[], NOW, LIFE).unwrap();
        assert!(!believed(&stranger.ca_certificate, &leaf, &both));
    }

    #[test]
    fn a_crash_between_key_and_certificate_is_mended_and_another_nodes_ca_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path());
        let old = home.keys().unwrap();
        let (one, two) = (old.next_ca(NOW).unwrap(), old.next_ca(NOW).unwrap());
        assert!(!home.adopt_ca(&one.certificate).unwrap(), "its key isn't here");
        assert_eq!(home.keys().unwrap(), old);
        home.keep_next_ca(&one).unwrap();
        home.keep_next_ca(&two).unwrap();
        fs::rename(dir.path().join(waiting(&one.certificate)), dir.path().join(CA_KEY)).unwrap();
        for _ in 0..2 {
            assert!(home.adopt_ca(&one.certificate).unwrap());
            assert_eq!(home.keys().unwrap().ca_certificate, one.certificate);
        }
        assert!(home.adopt_ca(&two.certificate).unwrap(), "the other's key is still here");
    }
}
