//! Projects: what shall run, and what ran before.

use std::sync::Arc;

use imbl::{OrdMap, Vector};
use mill_model::{
    DeployId, ProjectName, ProjectSpec, ServiceSpec, SpecHash, TaskSpec, Timestamp, WorkloadName,
};

use crate::alloc::Version;
use crate::deploy::{DeployKind, Outcome};
use crate::{service_hash, task_hash};

/// A project that was deployed at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// What runs when no deploy is under way.
    pub services: OrdMap<WorkloadName, Service>,
    /// What can be run.
    pub tasks: OrdMap<WorkloadName, Task>,
    /// Ended deploys, oldest first.
    pub history: Vector<Past>,
    /// When a deploy last began or ended.
    pub changed_at: Timestamp,
}

/// A service that shall run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its text, images pinned.
    pub spec: Arc<ServiceSpec>,
    /// Its version.
    pub version: Version,
}

/// A task that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its text, images pinned.
    pub spec: Arc<TaskSpec>,
    /// The hash of that.
    pub hash: SpecHash,
}

/// A deploy that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Its id.
    pub deploy: DeployId,
    /// What asked for it.
    pub kind: DeployKind,
    /// How it ended.
    pub outcome: Outcome,
    /// What the project was to become.
    pub target: Arc<ProjectSpec>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Who asked for it.
    pub by: String,
}

impl Project {
    /// A project before its first deploy.
    pub(crate) fn new(name: ProjectName, now: Timestamp) -> Self {
        Self { name, services: OrdMap::new(), tasks: OrdMap::new(), history: Vector::new(), changed_at: now }
    }

    /// What it is now, as a spec: the target of a scale or restart differs from this only in what was asked.
    pub fn spec(&self) -> ProjectSpec {
        ProjectSpec {
            name: self.name.clone(),
            services: self.services.values().map(|service| service.spec.as_ref().clone()).collect(),
            tasks: self.tasks.values().map(|task| task.spec.as_ref().clone()).collect(),
        }
    }

    /// Whether this is what it is now: the same services and tasks, at the same count.
    pub fn is(&self, target: &ProjectSpec) -> bool {
        let same = |spec: &ServiceSpec| {
            let service = self.services.get(&spec.name);
            let version = service_hash(spec);
            service.is_some_and(|s| s.version.hash == version && s.spec.replicas == spec.replicas)
        };
        let same_task =
            |spec: &TaskSpec| self.tasks.get(&spec.name).is_some_and(|task| task.hash == task_hash(spec));
        target.services.len() == self.services.len()
            && target.tasks.len() == self.tasks.len()
            && target.services.iter().all(same)
            && target.tasks.iter().all(same_task)
    }

    /// Where `mill rollback` goes to: the newest deploy that succeeded, said what should run, and isn't what the
    /// project is now. After an undeploy, or a deploy that failed in part, that is the last one before it.
    pub fn rollback_target(&self) -> Option<&Past> {
        let good = |past: &&Past| past.outcome == Outcome::Succeeded && !past.target.services.is_empty();
        self.history.iter().rev().filter(good).find(|past| !self.is(&past.target))
    }
}
