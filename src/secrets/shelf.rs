//! Which secrets there are, in which newest version, and which of them a project's service gets for a name.

use std::collections::{BTreeMap, BTreeSet};

use mill_model::{Pin, ProjectName, Scope, SecretId, SecretName};

/// All secrets of a cluster with their newest versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shelf(BTreeMap<SecretId, u32>);

impl FromIterator<(SecretId, u32)> for Shelf {
    fn from_iter<I: IntoIterator<Item = (SecretId, u32)>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

impl Shelf {
    /// What `name` means to a project's services: the project's own, else a shared one; in its newest version.
    pub fn find(&self, project: &ProjectName, name: &SecretName) -> Option<Pin> {
        let own = SecretId::of_project(project.clone(), name.clone());
        let shared = SecretId::shared(name.clone());
        let newest = |secret: SecretId| self.0.get(&secret).map(|version| Pin { version: *version, secret });
        newest(own).or_else(|| newest(shared))
    }

    /// The names that mean something to a project's services.
    pub fn names_for(&self, project: &ProjectName) -> BTreeSet<SecretName> {
        let open = self.0.keys().filter(|secret| secret.scope.is_open_to(project));
        open.map(|secret| secret.name.clone()).collect()
    }

    /// The names of all secrets of this scope.
    pub fn names_in(&self, scope: &Scope) -> BTreeSet<SecretName> {
        let there = self.0.keys().filter(|secret| secret.scope == *scope);
        there.map(|secret| secret.name.clone()).collect()
    }
}
