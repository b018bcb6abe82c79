//! A node's own directory: who it is, its keys, and the lock that keeps a second daemon out.
//!
//! `node.kdl` is written last, so that a node with an identity has all of its keys. Keys are readable by their
//! owner alone; others are refused, since a key that others may have read protects nothing.

mod authority;
mod certificates;
mod identity;
mod validity;

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use mill_model::Hidden;
use thiserror::Error;

use crate::files;
use crate::process::{Lock, ProcessError};
use crate::seal::ClusterKey;

pub use authority::NextCa;
pub use certificates::{CertificateError, Keys};
pub use identity::{Identity, IdentityError};
pub use validity::{Validity, ValidityError};

const IDENTITY: &str = "node.kdl";
const CA_CERTIFICATE: &str = "keys/ca.pem";
const CA_KEY: &str = "keys/ca.key";
const NODE_CERTIFICATE: &str = "keys/node.pem";
const NODE_KEY: &str = "keys/node.key";
pub(crate) const CLUSTER_KEY: &str = "keys/cluster.key";
const MEMBER: &str = "member";

/// Why the directory can't be used.
#[derive(Debug, Error)]
pub enum HomeError {
    /// A file or directory can't be read or written.
    #[error("failed to {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another daemon runs in this directory.
    #[error("another mill daemon uses {path}")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A key that others than its owner can read.
    #[error("{path} can be read by others (mode {mode:o}): the key must be taken as known")]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A key that somebody else may read and change.
    #[error("{path} belongs to user {owner}, not to the one that runs mill: the key must be taken as known")]
    Foreign {
        /// The key's file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// A key or a certificate that a member has isn't there: only part of its directory was copied or restored, say.
    #[error("{path} is missing: the node can't go on without it")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// `node.kdl` isn't what Mill wrote.
    #[error("failed to read {path}")]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        source: IdentityError,
    },
}

/// The directory, locked for as long as this lives.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    _lock: Lock,
}

impl Home {
    /// Opens the directory, made if need be.
    ///
    /// # Errors
    /// It can't be made, or another daemon holds it.
    pub fn open(path: &Path) -> Result<Self, HomeError> {
        make_dir(path)?;
        // Whoever tells of what lies in it, the kernel above all, does so without symbolic links.
        let path = &path.canonicalize().map_err(io_error("find", path))?;
        let lock = Lock::take(&path.join("lock")).map_err(|error| match error {
            ProcessError::Io { doing, path, source } => HomeError::Io { what: doing, path, source },
            ProcessError::Locked { .. } | ProcessError::Damaged { .. } => {
                HomeError::Locked { path: path.to_owned() }
            }
        })?;
        make_dir(&path.join("keys"))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who this node is; `None` before `mill init` or `mill join`.
    ///
    /// # Errors
    /// The file can't be read, or isn't what Mill wrote.
    pub fn identity(&self) -> Result<Option<Identity>, HomeError> {
        let path = self.path.join(IDENTITY);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        text.parse().map(Some).map_err(|source| HomeError::Identity { path, source })
    }

    /// The keys of an initialised node.
    ///
    /// # Errors
    /// One is missing, or can be read by others.
    pub fn keys(&self) -> Result<Keys, HomeError> {
        let secret = |name: &str| read_secret(&self.path.join(name));
        Ok(Keys {
            ca_certificate: self.read(CA_CERTIFICATE)?,
            ca_key: secret(CA_KEY)?,
            certificate: self.read(NODE_CERTIFICATE)?,
            key: secret(NODE_KEY)?,
            cluster: ClusterKey::of_text(Hidden::new(secret(CLUSTER_KEY)?)),
        })
    }

    /// Makes this node who it is: keys first, identity last, all of it on disk when this returns.
    ///
    /// # Errors
    /// Something can't be written; the node is then still nobody.
    pub fn settle(&self, identity: &Identity, keys: &Keys) -> Result<(), HomeError> {
        self.write(CA_CERTIFICATE, &keys.ca_certificate)?;
        self.write(CA_KEY, &keys.ca_key)?;
        self.write(NODE_CERTIFICATE, &keys.certificate)?;
        self.write(NODE_KEY, &keys.key)?;
        self.write(CLUSTER_KEY, keys.cluster.text())?;
        self.write(IDENTITY, &identity.to_string())
    }

    /// Replaces the node's certificate.
    ///
    /// # Errors
    /// It can't be written; the old one is still there.
    pub fn renew(&self, certificate: &str) -> Result<(), HomeError> {
        self.write(NODE_CERTIFICATE, certificate)
    }

    /// Whether the node has been a member of its cluster: it had state that it must not start without.
    pub fn was_member(&self) -> bool {
        self.path.join(MEMBER).exists()
    }

    /// Notes that the node is a member.
    ///
    /// # Errors
    /// It can't be written.
    pub fn note_member(&self) -> Result<(), HomeError> {
        self.write(MEMBER, "This node has state in `raft/`. Without it, it must be removed and join anew.\n")
    }

    fn read(&self, name: &str) -> Result<String, HomeError> {
        let path = self.path.join(name);
        fs::read_to_string(&path).map_err(|error| unread(error, &path))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), HomeError> {
        let path = self.path.join(name);
        files::replace(&path, &[text.as_bytes()]).map_err(io_error("write", &path))
    }
}

/// Reads a key, if nobody else may have.
///
/// # Errors
/// It is missing, or can be read by others, or belongs to somebody else.
pub(crate) fn read_secret(path: &Path) -> Result<String, HomeError> {
    let mut file = fs::File::open(path).map_err(|error| unread(error, path))?;
    // Of the file that was opened, not of what has its name a moment later.
    let about = file.metadata().map_err(io_error("read", path))?;
    let mode = about.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(HomeError::Exposed { path: path.to_owned(), mode });
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(HomeError::Foreign { path: path.to_owned(), owner: about.uid() });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(io_error("read", path))?;
    Ok(text)
}

fn make_dir(path: &Path) -> Result<(), HomeError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(io_error("create", path))
}

fn unread(error: io::Error, path: &Path) -> HomeError {
    match error.kind() {
        io::ErrorKind::NotFound => HomeError::Missing { path: path.to_owned() },
        _ => io_error("read", path)(error),
    }
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> HomeError + 'a {
    move |source| HomeError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use mill_model::Timestamp;

    use super::*;

    const NOW: Timestamp = Timestamp(1_795_262_400_000);
    const LIFE: Duration = Duration::from_secs(90 * 86_400);

    fn identity() -> Identity {
        Identity {
            node: mill_model::NodeId(1),
            name: "node-1".parse().unwrap(),
            cluster: "c0ffee".to_owned(),
            advertise: "10.0.0.1".parse().unwrap(),
        }
    }

    #[test]
    fn a_node_is_nobody_until_all_of_it_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        assert_eq!(home.identity().unwrap(), None);
        let keys = Keys::make("api.test", &["10.0.0.1".parse().unwrap()], NOW, LIFE).unwrap();
        home.settle(&identity(), &keys).unwrap();
        assert_eq!(home.identity().unwrap(), Some(identity()));
        assert_eq!(home.keys().unwrap(), keys);
    }

    #[test]
    fn a_new_certificate_is_for_the_same_key_under_the_same_ca() {
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        home.settle(&identity(), &Keys::make("api.test", &[], NOW, LIFE).unwrap()).unwrap();
        let (before, later) = (home.keys().unwrap(), NOW.after(LIFE));
        home.renew(&before.renewed("api.test", &[], later, LIFE).unwrap()).unwrap();
        let after = home.keys().unwrap();
        assert_ne!(after.certificate, before.certificate);
        assert_eq!(Keys { certificate: before.certificate.clone(), ..after.clone() }, before);
        assert_eq!(Validity::of_pem(&after.certificate).unwrap().until, later.after(LIFE));

        let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate(&after.ca_certificate)).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .unwrap();
        let name = ServerName::try_from("api.test").unwrap();
        let verified = |pem: &str, at: Timestamp| {
            use rustls::client::danger::ServerCertVerifier as _;
            let at = UnixTime::since_unix_epoch(Duration::from_millis(at.0));
            verifier.verify_server_cert(&certificate(pem), &[], &name, &[], at).is_ok()
        };
        assert!(verified(&before.certificate, NOW) && !verified(&before.certificate, later.after(LIFE)));
        assert!(verified(&after.certificate, later) && !verified(&after.certificate, later.after(LIFE * 2)));
    }

    #[test]
    fn a_second_daemon_is_kept_out_while_the_first_lives() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        assert!(matches!(Home::open(dir.path()), Err(HomeError::Locked { .. })));
        drop(home);
        Home::open(dir.path()).unwrap();
    }

    #[test]
    fn a_directory_by_another_name_is_the_same_home() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("srv"), dir.path().join("lib"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let home = Home::open(&link).unwrap();
        assert_eq!(home.path(), real.canonicalize().unwrap());
        assert!(matches!(Home::open(&real), Err(HomeError::Locked { .. })));
    }

    #[test]
    fn a_key_that_is_missing_or_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        home.settle(&identity(), &Keys::make("api.test", &[], NOW, LIFE).unwrap()).unwrap();
        for name in [CA_KEY, NODE_KEY, CLUSTER_KEY] {
            let key = dir.path().join(name);
            assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
            for mode in [0o644, 0o640, 0o602, 0o601] {
                fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
                let refusal = home.keys().unwrap_err().to_string();
                let said = format!("{name} can be read by others (mode {mode:o})");
                assert!(refusal.contains(&said), "{refusal}");
            }
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
            let aside = dir.path().join("aside");
            fs::rename(&key, &aside).unwrap();
            let refusal = home.keys().unwrap_err().to_string();
            assert!(refusal.contains(&format!("{name} is missing")), "{refusal}");
            fs::rename(&aside, &key).unwrap();
            home.keys().unwrap();
        }
    }

    #[test]
    fn a_mangled_identity_is_an_error_not_a_new_node() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        fs::write(dir.path().join(IDENTITY), "version 1\nnode 1\n").unwrap();
        assert!(matches!(home.identity(), Err(HomeError::Identity { .. })));
    }
}
