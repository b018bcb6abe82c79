//! Secrets get new versions, and are deleted.

use std::sync::Arc;

use mill_model::{ProjectSpec, SecretId, limits};

use crate::check::Touched;
use crate::cluster::Cluster;
use crate::command::{Applied, Done};
use crate::event::EventKind;
use crate::rejected::Rejected;
use crate::secret::{Secret, SecretVersion};

/// The first level that knows secrets: a state that holds one must not be read by an earlier binary, which would lose
/// it without a word.
const LEVEL: u32 = 2;

impl Cluster {
    pub(super) fn set_secret(
        &mut self,
        id: SecretId,
        sealed: Vec<u8>,
        by: String,
        touched: &mut Touched,
    ) -> Applied {
        if sealed.is_empty() || sealed.len() > limits::SEALED_BYTES_MAX {
            return Err(Rejected::SecretSize { length: sealed.len() });
        }
        if !self.secrets.contains_key(&id) && self.secrets.len() >= limits::SECRETS_MAX {
            return Err(Rejected::TooManySecrets);
        }
        let mut secret = self.secrets.get(&id).map(|known| Secret::clone(known)).unwrap_or_default();
        let version = secret.latest.saturating_add(1);
        secret.latest = version;
        let kept = SecretVersion { sealed: sealed.into(), at: self.time, by: by.clone() };
        secret.versions.insert(version, kept);
        self.secrets.insert(id.clone(), Arc::new(secret));
        self.prune_secrets();
        if self.secrets_bytes() > limits::SECRETS_BYTES_MAX {
            return Err(Rejected::SecretsFull);
        }
        self.level = self.level.max(LEVEL);
        touched.secrets = true;
        self.record(EventKind::SecretSet { secret: id, version, by });
        Ok(Done::SecretVersion(version))
    }

    pub(super) fn delete_secret(&mut self, id: &SecretId, by: String, touched: &mut Touched) -> Applied {
        let known = self.secret(id).ok_or_else(|| Rejected::NoSuchSecret(id.clone()))?;
        let users = self.secret_users(id);
        if !users.is_empty() {
            return Err(Rejected::SecretUsed { secret: id.clone(), users: users.into_iter().collect() });
        }
        let deleted = Secret { latest: known.latest, ..Secret::default() };
        self.secrets.insert(id.clone(), Arc::new(deleted));
        self.prune_secrets();
        touched.secrets = true;
        self.record(EventKind::SecretDeleted { secret: id.clone(), by });
        Ok(Done::Plain)
    }

    /// Whether what is to run can be started: each version that it names is kept, and may be used by its project.
    pub(super) fn check_pins(&self, target: &ProjectSpec) -> Result<(), Rejected> {
        for pin in target.pins() {
            if !pin.secret.scope.is_open_to(&target.name) {
                return Err(Rejected::SecretOfAnother(pin.secret.clone()));
            }
            if self.sealed(pin).is_none() {
                return Err(Rejected::SecretGone(pin.clone()));
            }
        }
        Ok(())
    }

    /// Drops versions that nothing names beyond the newest few, and deleted secrets that nothing names any more.
    pub(super) fn prune_secrets(&mut self) {
        let surplus = |secret: &Secret| {
            secret.versions.is_empty() || secret.versions.len() > limits::SECRET_VERSIONS_KEPT
        };
        let doubtful: Vec<SecretId> =
            self.secrets.iter().filter(|(_, secret)| surplus(secret)).map(|(id, _)| id.clone()).collect();
        if doubtful.is_empty() {
            return;
        }
        let named: Vec<(SecretId, u32)> =
            self.named_pins().into_iter().map(|pin| (pin.secret.clone(), pin.version)).collect();
        for id in doubtful {
            let of_it =
                |version: &u32| named.iter().any(|(secret, number)| *secret == id && number == version);
            let Some(secret) = self.secrets.get(&id) else { continue };
            if secret.versions.is_empty() {
                if !named.iter().any(|(secret, _)| *secret == id) {
                    self.secrets.remove(&id);
                }
                continue;
            }
            let newest: Vec<u32> =
                secret.versions.keys().rev().take(limits::SECRET_VERSIONS_KEPT).copied().collect();
            let kept = |number: &u32| newest.contains(number) || of_it(number);
            let versions = secret.versions.iter().filter(|(number, _)| kept(number));
            let versions = versions.map(|(number, version)| (*number, version.clone())).collect();
            let secret = Secret { latest: secret.latest, versions };
            self.secrets.insert(id, Arc::new(secret));
        }
    }

    fn secrets_bytes(&self) -> usize {
        let versions = self.secrets.values().flat_map(|secret| secret.versions.values());
        versions.map(|version| version.sealed.len()).sum()
    }
}

#[cfg(test)]
mod tests;
