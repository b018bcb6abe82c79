//! The state itself, and questions to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use mill_model::{
    AllocId, ContainerSpec, DeployId, NodeId, ProjectName, RegistryHost, SecretId, ServiceSpec, SpecHash,
    TaskSpec, Timestamp, TokenId, Workload,
};

use crate::access::{AuditRecord, RegistryLogin, RetiringCa, Token};
use crate::alloc::Alloc;
use crate::deploy::Deploy;
use crate::event::Event;
use crate::index::{Allocs, Instances, OnNode};
use crate::level::LEVEL;
use crate::node::Node;
use crate::once::DoneOnce;
use crate::project::Project;
use crate::secret::Secret;
use crate::spawn::Spawn;

/// Everything that all nodes agree on. Cheap to clone: copies share what they have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Minimum of all members' levels.
    pub level: u32,
    /// Drawn by the first node; empty before that.
    pub id: String,
    /// The leaders' clocks, never decreasing.
    pub time: Timestamp,
    /// The cluster's CA certificate, PEM.
    pub ca_certificate: String,
    /// The CA before it, until it is trusted no more.
    pub retiring_ca: Option<RetiringCa>,
    /// Machines.
    pub nodes: OrdMap<NodeId, Node>,
    /// Projects.
    pub projects: OrdMap<ProjectName, Project>,
    /// Placed instances, ended ones too until they are forgotten.
    pub allocs: OrdMap<AllocId, Arc<Alloc>>,
    /// Tasks that somebody had run: those that wait for a place, and those whose alloc is there.
    pub spawns: OrdMap<AllocId, Arc<Spawn>>,
    /// Deploys: waiting, active, and those that the history still names.
    pub deploys: OrdMap<DeployId, Arc<Deploy>>,
    /// Tokens by the SHA-256 of their secret.
    pub tokens: OrdMap<[u8; 32], Token>,
    /// What was done last on somebody's word, oldest first.
    pub audit: Vector<AuditRecord>,
    /// What was done last under keys that somebody gave, oldest first.
    pub once: Vector<DoneOnce>,
    /// How the cluster is known to registries.
    pub registries: OrdMap<RegistryHost, RegistryLogin>,
    /// What happened last, oldest first.
    pub events: Vector<Event>,
    /// What versions run.
    pub runnables: OrdMap<SpecHash, Runnable>,
    /// Secrets, sealed. Those without a version are deleted: see [`Cluster::secret`].
    pub(crate) secrets: OrdMap<SecretId, Arc<Secret>>,
    pub(crate) next_deploy: DeployId,
    pub(crate) next_event: u64,
    pub(crate) next_token: TokenId,
    pub(crate) next_audit: u64,
    /// Set in a copy that lacks some events: where those of the whole begin.
    pub(crate) oldest_event: Option<u64>,
    /// Derived: allocs of each workload.
    pub(crate) by_workload: OrdMap<Workload, Instances>,
    /// Derived: allocs of each node.
    pub(crate) by_node: OrdMap<NodeId, OnNode>,
    /// Derived: allocs that have ended.
    pub(crate) ended: Allocs,
}

/// What a version runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runnable {
    /// A service's replica.
    Service(Arc<ServiceSpec>),
    /// A task.
    Task(Arc<TaskSpec>),
}

impl Runnable {
    /// What its container is made from.
    pub fn container(&self) -> &ContainerSpec {
        match self {
            Self::Service(spec) => &spec.container,
            Self::Task(spec) => &spec.container,
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            level: LEVEL,
            id: String::new(),
            time: Timestamp::default(),
            ca_certificate: String::new(),
            retiring_ca: None,
            nodes: OrdMap::new(),
            projects: OrdMap::new(),
            allocs: OrdMap::new(),
            spawns: OrdMap::new(),
            deploys: OrdMap::new(),
            tokens: OrdMap::new(),
            audit: Vector::new(),
            once: Vector::new(),
            registries: OrdMap::new(),
            events: Vector::new(),
            runnables: OrdMap::new(),
            secrets: OrdMap::new(),
            next_deploy: DeployId(1),
            next_event: 1,
            next_token: TokenId(1),
            next_audit: 1,
            oldest_event: None,
            by_workload: OrdMap::new(),
            by_node: OrdMap::new(),
            ended: Allocs::new(),
        }
    }
}

impl Cluster {
    /// Whether `mill init` has made it.
    pub fn is_bootstrapped(&self) -> bool {
        !self.id.is_empty()
    }

    /// The deploy of a project that is under way.
    pub fn active_deploy(&self, project: &ProjectName) -> Option<&Arc<Deploy>> {
        self.deploys.values().find(|deploy| deploy.is_active() && deploy.project == *project)
    }

    /// The deploys that are under way, by project: one look for whoever asks for many.
    pub fn active_deploys(&self) -> BTreeMap<&ProjectName, &Arc<Deploy>> {
        let active = self.deploys.values().filter(|deploy| deploy.is_active());
        active.map(|deploy| (&deploy.project, deploy)).collect()
    }

    /// Deploys of a project that wait for their turn, in that order.
    pub fn waiting_deploys<'a>(&'a self, project: &'a ProjectName) -> impl Iterator<Item = &'a Arc<Deploy>> {
        self.deploys.values().filter(move |deploy| deploy.is_waiting() && deploy.project == *project)
    }

    /// Events after the one numbered `after`; `None` if some of them are forgotten.
    pub fn events_after(&self, after: u64) -> Option<impl Iterator<Item = &Event>> {
        let known = after.saturating_add(1) >= self.oldest_event();
        known.then(|| self.events.iter().skip_while(move |event| event.id <= after))
    }

    /// The first event that isn't forgotten.
    pub fn oldest_event(&self) -> u64 {
        let first = || self.events.front().map_or(self.next_event, |event| event.id);
        self.oldest_event.unwrap_or_else(first)
    }

    /// The number that the next event will have.
    pub const fn next_event(&self) -> u64 {
        self.next_event
    }

    /// The number that the next record of the audit log will have.
    pub const fn next_audit(&self) -> u64 {
        self.next_audit
    }

    /// Writes after the one numbered `after`, as far as they aren't forgotten.
    pub fn audit_after(&self, after: u64) -> impl Iterator<Item = &AuditRecord> {
        self.audit.iter().skip_while(move |record| record.id <= after)
    }
}
