//! age with the cluster's key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use age::DecryptError;
use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use mill_model::Hidden;

use super::{Seal, SealError};
use crate::home;

/// Bytes of a label's length, before the label.
const LENGTH_BYTES: usize = 2;

/// A cluster's key, as its file holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey(Hidden<String>);

impl ClusterKey {
    /// A new one.
    pub fn generate() -> Self {
        let key = Identity::generate().to_string();
        Self(Hidden::new(format!("{}\n", key.expose_secret())))
    }

    /// The text of the key's file.
    pub(crate) fn text(&self) -> &str {
        self.0.expose()
    }

    /// What a key's file says.
    pub(crate) const fn of_text(text: Hidden<String>) -> Self {
        Self(text)
    }

    fn identity(&self) -> Result<Identity, SealError> {
        self.0.expose().trim().parse().map_err(|_| SealError::KeyForm)
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey")
    }
}

/// Seals with the key of the cluster that this node belongs to.
#[derive(Clone)]
pub struct ClusterSeal {
    key: PathBuf,
    /// Read at its first use: before, the node may belong to no cluster yet.
    identity: Arc<Mutex<Option<Arc<Identity>>>>,
}

impl fmt::Debug for ClusterSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSeal").field("key", &self.key).finish_non_exhaustive()
    }
}

impl ClusterSeal {
    /// With the key of the node whose data is in `home`, once there is one.
    pub fn of_home(home: &Path) -> Self {
        Self { key: home.join(home::CLUSTER_KEY), identity: Arc::default() }
    }

    fn identity(&self) -> Result<Arc<Identity>, SealError> {
        let mut kept = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = kept.as_ref() {
            return Ok(Arc::clone(identity));
        }
        let key = ClusterKey::of_text(Hidden::new(home::read_secret(&self.key)?));
        let identity = Arc::new(key.identity()?);
        *kept = Some(Arc::clone(&identity));
        Ok(identity)
    }
}

impl Seal for ClusterSeal {
    fn seal(&self, label: &str, value: &Hidden<Vec<u8>>) -> Result<Vec<u8>, SealError> {
        let identity = self.identity()?;
        let length = u16::try_from(label.len()).map_err(|_| SealError::Unsealed)?;
        let labelled = [&length.to_be_bytes()[..], label.as_bytes(), value.expose()].concat();
        let labelled = Hidden::new(labelled);
        age::encrypt(&identity.to_public(), labelled.expose()).map_err(|_| SealError::Unsealed)
    }

    fn open(&self, label: &str, sealed: &[u8]) -> Result<Hidden<Vec<u8>>, SealError> {
        let identity = self.identity()?;
        let labelled = age::decrypt(identity.as_ref(), sealed).map_err(|error| match error {
            DecryptError::NoMatchingKeys => SealError::OtherKey,
            _ => SealError::Damaged,
        })?;
        let labelled = Hidden::new(labelled);
        let bytes = labelled.expose();
        let length = bytes.first_chunk::<LENGTH_BYTES>().ok_or(SealError::Damaged)?;
        let begin = LENGTH_BYTES + usize::from(u16::from_be_bytes(*length));
        match bytes.get(LENGTH_BYTES..begin) {
            Some(found) if found == label.as_bytes() => {}
            Some(_) => return Err(SealError::OtherLabel),
            None => return Err(SealError::Damaged),
        }
        Ok(Hidden::new(bytes.get(begin..).unwrap_or_default().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use mill_model::limits;

    use super::*;
    use crate::home::HomeError;

    fn home() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("keys")).unwrap();
        put_key(dir.path(), ClusterKey::generate().text());
        dir
    }

    fn put_key(home: &Path, text: &str) {
        let path = home.join(home::CLUSTER_KEY);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn hidden(value: &[u8]) -> Hidden<Vec<u8>> {
        Hidden::new(value.to_vec())
    }

    #[test]
    fn what_is_sealed_opens_as_it_was_and_shows_nothing() {
        let home = home();
        let seal = ClusterSeal::of_home(home.path());
        for value in [&b"x"[..], b"hunter2-hunter2-hunter2", &vec![0; limits::SECRET_BYTES_MAX]] {
            let sealed = seal.seal("shop/key", &hidden(value)).unwrap();
            assert!(sealed.len() <= limits::SEALED_BYTES_MAX, "{}", sealed.len());
            assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
            assert_eq!(seal.open("shop/key", &sealed).unwrap(), hidden(value));
            let again = ClusterSeal::of_home(home.path());
            assert_eq!(again.open("shop/key", &sealed).unwrap(), hidden(value), "after a restart");
        }
        let twice = [seal.seal("k", &hidden(b"same")).unwrap(), seal.seal("k", &hidden(b"same")).unwrap()];
        assert_ne!(twice[0], twice[1], "equal values can't be told");
    }

    #[test]
    fn the_longest_name_and_value_fit_into_what_the_state_takes() {
        let home = home();
        let label =
            format!("{}/{}", "p".repeat(limits::NAME_LENGTH_MAX), "s".repeat(limits::SECRET_NAME_LENGTH_MAX));
        let sealed =
            ClusterSeal::of_home(home.path()).seal(&label, &hidden(&vec![7; limits::SECRET_BYTES_MAX]));
        assert!(sealed.unwrap().len() <= limits::SEALED_BYTES_MAX);
    }

    #[test]
    fn what_was_not_sealed_so_is_refused_by_name() {
        let (ours, theirs) = (home(), home());
        let (seal, other) = (ClusterSeal::of_home(ours.path()), ClusterSeal::of_home(theirs.path()));
        let sealed = seal.seal("shop/key", &hidden(b"hunter2")).unwrap();
        assert!(matches!(other.open("shop/key", &sealed), Err(SealError::OtherKey)));
        assert!(matches!(seal.open("blog/key", &sealed), Err(SealError::OtherLabel)));
        for cut in [0, 1, 50, sealed.len() - 1] {
            assert!(matches!(seal.open("shop/key", &sealed[..cut]), Err(SealError::Damaged)), "{cut}");
        }
        let mut flipped = sealed;
        *flipped.last_mut().unwrap() ^= 1;
        assert!(matches!(seal.open("shop/key", &flipped), Err(SealError::Damaged)));
    }

    #[test]
    fn a_key_that_is_missing_exposed_or_damaged_is_said_and_mended_by_putting_it_right() {
        let home = home();
        let key = home.path().join(home::CLUSTER_KEY);
        let text = fs::read_to_string(&key).unwrap();
        let seal = ClusterSeal::of_home(home.path());
        let failure = || seal.seal("k", &hidden(b"x")).unwrap_err();
        fs::remove_file(&key).unwrap();
        assert!(matches!(failure(), SealError::Key(HomeError::Missing { .. })));
        put_key(home.path(), "AGE-SECRET-KEY-1NONSENSE\n");
        assert!(matches!(failure(), SealError::KeyForm));
        put_key(home.path(), &text);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(failure(), SealError::Key(HomeError::Exposed { .. })) && failure().is_about_key());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        seal.seal("k", &hidden(b"x")).unwrap();
    }

    #[test]
    fn neither_key_nor_seal_show_the_key() {
        let home = home();
        let text = fs::read_to_string(home.path().join(home::CLUSTER_KEY)).unwrap();
        let seal = ClusterSeal::of_home(home.path());
        seal.seal("k", &hidden(b"x")).unwrap();
        let shown = format!("{seal:?} {:?}", ClusterKey::of_text(Hidden::new(text.clone())));
        assert!(!shown.contains(text.trim()) && !shown.contains("AGE-SECRET"), "{shown}");
    }
}
