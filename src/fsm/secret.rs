//! Secrets as all nodes agree on them: sealed, in versions, with a count of who uses which.
//!
//! # Why
//! - **Setting one changes nothing that runs.** Services name the version that they run with ([`Pin`]), in their text:
//!   so it is part of their hash, a rollback brings the old one back, and whoever starts a container again, years
//!   later, starts the same.
//! - **What is named is kept.** Versions that something running, a deploy on its way or the history names stay; of the
//!   others the newest few. A secret that is used can't be deleted.
//! - **A number is never given twice** while anything names one: a secret that was deleted keeps its last number, and
//!   nothing else, until the history has forgotten it. Else a rollback could run with another value than it says.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use mill_model::{AllocId, ContainerSpec, DeployId, Pin, SecretId, Timestamp, Workload};

use crate::cluster::Cluster;

/// A secret with the versions that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secret {
    /// The number of its last version.
    pub latest: u32,
    /// By number. None: it was deleted, and the history still names it.
    pub versions: OrdMap<u32, SecretVersion>,
}

/// One value that a secret had or has.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretVersion {
    /// Sealed to the cluster's key.
    pub sealed: Arc<[u8]>,
    /// When it was set.
    pub at: Timestamp,
    /// Who set it.
    pub by: String,
}

impl fmt::Debug for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sealed, at, by } = self;
        write!(f, "{} sealed bytes of {at} by {by}", sealed.len())
    }
}

/// What would be without a secret if it were deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretUser {
    /// A service or task runs with it, or can.
    Workload(Workload),
    /// A deploy waits or is under way that brings it or goes back to it.
    Deploy(DeployId),
    /// An alloc of an earlier version hasn't ended.
    Alloc(AllocId),
}

impl fmt::Display for SecretUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(workload) => write!(f, "{workload}"),
            Self::Deploy(deploy) => write!(f, "deploy #{deploy}"),
            Self::Alloc(alloc) => write!(f, "{alloc}"),
        }
    }
}

impl Cluster {
    /// All secrets, sealed.
    pub fn secrets(&self) -> impl Iterator<Item = (&SecretId, &Arc<Secret>)> {
        self.secrets.iter().filter(|(_, secret)| !secret.versions.is_empty())
    }

    /// A secret, sealed.
    pub fn secret(&self, id: &SecretId) -> Option<&Arc<Secret>> {
        self.secrets.get(id).filter(|secret| !secret.versions.is_empty())
    }

    /// The version of a secret that a pin names.
    pub fn sealed(&self, pin: &Pin) -> Option<&SecretVersion> {
        self.secrets.get(&pin.secret)?.versions.get(&pin.version)
    }

    /// What runs with a secret or is about to. Allocs only where their service or task is none of it any more.
    pub fn secret_users(&self, id: &SecretId) -> BTreeSet<SecretUser> {
        let users: BTreeSet<_> =
            self.used_pins().filter(|(pin, _)| pin.secret == *id).map(|(_, user)| user).collect();
        let is_news = |user: &SecretUser| match user {
            SecretUser::Alloc(id) => self
                .allocs
                .get(id)
                .is_none_or(|alloc| !users.contains(&SecretUser::Workload(alloc.workload.clone()))),
            SecretUser::Workload(_) | SecretUser::Deploy(_) => true,
        };
        users.iter().filter(|user| is_news(user)).cloned().collect()
    }

    /// Versions that something may be started with, and what.
    pub(crate) fn used_pins(&self) -> impl Iterator<Item = (&Pin, SecretUser)> {
        self.of_projects()
            .chain(self.of_open_deploys())
            .chain(self.of_live_allocs())
            .chain(self.of_waiting_spawns())
    }

    fn of_projects(&self) -> impl Iterator<Item = (&Pin, SecretUser)> {
        self.projects.values().flat_map(|project| {
            let services = project.services.iter().map(|(name, service)| (name, &service.spec.container));
            let tasks = project.tasks.iter().map(|(name, task)| (name, &task.spec.container));
            services.chain(tasks).flat_map(move |(name, container)| {
                let workload = Workload { project: project.name.clone(), name: name.clone() };
                container.pins.iter().map(move |pin| (pin, SecretUser::Workload(workload.clone())))
            })
        })
    }

    fn of_open_deploys(&self) -> impl Iterator<Item = (&Pin, SecretUser)> {
        let open = self.deploys.values().filter(|deploy| deploy.outcome.is_none());
        open.flat_map(|deploy| {
            let before = deploy.before.values().flat_map(|service| &service.spec.container.pins);
            deploy.target.pins().chain(before).map(move |pin| (pin, SecretUser::Deploy(deploy.id)))
        })
    }

    /// Those whose version no project's text has any more too: they may be started again until they end.
    fn of_live_allocs(&self) -> impl Iterator<Item = (&Pin, SecretUser)> {
        let with_pins: Vec<_> =
            self.runnables_with_pins().map(|(hash, container)| (*hash, container)).collect();
        let live = self.allocs.values().filter(|alloc| alloc.is_live());
        // Most clusters' most services have none: allocs aren't even looked at then.
        let live = live.take(if with_pins.is_empty() { 0 } else { usize::MAX });
        live.flat_map(move |alloc| {
            let container = with_pins.iter().find(|(hash, _)| *hash == alloc.version.hash);
            let pins = container.map(|(_, container)| container.pins.as_slice()).unwrap_or_default();
            pins.iter().map(move |pin| (pin, SecretUser::Alloc(alloc.id.clone())))
        })
    }

    fn of_waiting_spawns(&self) -> impl Iterator<Item = (&Pin, SecretUser)> {
        self.waiting_spawns().flat_map(|spawn| {
            let runnable = self.runnables.get(&spawn.hash);
            let pins = runnable.map(|runnable| runnable.container().pins.as_slice()).unwrap_or_default();
            pins.iter().map(|pin| (pin, SecretUser::Alloc(spawn.id.clone())))
        })
    }

    fn runnables_with_pins(&self) -> impl Iterator<Item = (&mill_model::SpecHash, &ContainerSpec)> {
        let containers = self.runnables.iter().map(|(hash, runnable)| (hash, runnable.container()));
        containers.filter(|(_, container)| !container.pins.is_empty())
    }

    /// Versions that anything names, the history too.
    pub(crate) fn named_pins(&self) -> BTreeSet<&Pin> {
        let past = self.projects.values().flat_map(|project| &project.history);
        let past = past.flat_map(|past| past.target.pins());
        let runnable = self.runnables_with_pins().flat_map(|(_, container)| &container.pins);
        self.used_pins().map(|(pin, _)| pin).chain(past).chain(runnable).collect()
    }
}
