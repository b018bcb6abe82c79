//! The state itself, and questions to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use mill_model::{
    AllocId, ContainerSpec, DeployId, NodeId, ProjectName, SecretId, ServiceSpec, SpecHash, TaskSpec,
    Timestamp, Workload,
};

use crate::alloc::Alloc;
use crate::deploy::Deploy;
use crate::event::Event;
use crate::index::{Allocs, Instances, OnNode};
use crate::level::LEVEL;
use crate::node::Node;
use crate::project::Project;
use crate::secret::Secret;

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
    /// Machines.
    pub nodes: OrdMap<NodeId, Node>,
    /// Projects.
    pub projects: OrdMap<ProjectName, Project>,
    /// Placed instances, ended ones too until they are forgotten.
    pub allocs: OrdMap<AllocId, Arc<Alloc>>,
    /// Deploys: waiting, active, and those that the history still names.
    pub deploys: OrdMap<DeployId, Arc<Deploy>>,
    /// Admin tokens by the SHA-256 of their text.
    pub tokens: OrdMap<[u8; 32], Token>,
    /// What happened last, oldest first.
    pub events: Vector<Event>,
    /// What versions run.
    pub runnables: OrdMap<SpecHash, Runnable>,
    /// Secrets, sealed. Those without a version are deleted: see [`Cluster::secret`].
    pub(crate) secrets: OrdMap<SecretId, Arc<Secret>>,
    pub(crate) next_deploy: DeployId,
    pub(crate) next_event: u64,
    /// Derived: allocs of each workload.
    pub(crate) by_workload: OrdMap<Workload, Instances>,
    /// Derived: allocs of each node.
    pub(crate) by_node: OrdMap<NodeId, OnNode>,
    /// Derived: allocs that have ended.
    pub(crate) ended: Allocs,
}

/// A key to the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
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
            nodes: OrdMap::new(),
            projects: OrdMap::new(),
            allocs: OrdMap::new(),
            deploys: OrdMap::new(),
            tokens: OrdMap::new(),
            events: Vector::new(),
            runnables: OrdMap::new(),
            secrets: OrdMap::new(),
            next_deploy: DeployId(1),
            next_event: 1,
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
        let oldest = self.events.front().map_or(self.next_event, |event| event.id);
        (after.saturating_add(1) >= oldest).then(|| {
            let skip = usize::try_from((after + 1).saturating_sub(oldest)).unwrap_or(usize::MAX);
            self.events.iter().skip(skip)
        })
    }
}
