//! `GET /v1/inspect/{anything}`: all that is known about one thing.

use mill_model::{ProjectSpec, ServiceSpec, TaskSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::actors::Actor;
use crate::allocs::Alloc;
use crate::deploys::Deploy;
use crate::nodes::Node;
use crate::progress::Progress;
use crate::projects::{HistoryEntry, Project};
use crate::registries::RegistryInfo;
use crate::secrets::SecretHistory;
use crate::services::Service;
use crate::tasks::Task;
use crate::tokens::TokenInfo;

/// All that is known about one thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Inspected {
    /// A machine.
    Node {
        /// It.
        node: Box<Node>,
        /// What is on it.
        allocs: Vec<Alloc>,
    },
    /// A placed instance.
    Alloc {
        /// It.
        alloc: Box<Alloc>,
        /// What it runs.
        spec: Box<WorkloadSpec>,
    },
    /// A service or task.
    Service {
        /// It.
        service: Box<Service>,
        /// What it should run.
        spec: Box<WorkloadSpec>,
        /// What runs of it.
        allocs: Vec<Alloc>,
    },
    /// A project.
    Project {
        /// It.
        project: Box<Project>,
        /// Its config with every default filled in.
        spec: Box<ProjectSpec>,
        /// Its deploys, newest first.
        history: Vec<HistoryEntry>,
    },
    /// A deploy.
    Deploy {
        /// It.
        deploy: Box<Deploy>,
        /// What happened in it.
        progress: Vec<Progress>,
    },
    /// A task that was asked for, waiting, running or ended.
    Task {
        /// It.
        task: Box<Task>,
        /// What it runs.
        spec: Box<WorkloadSpec>,
        /// Its instance; `None`: it has no place.
        #[serde(default)]
        alloc: Option<Box<Alloc>>,
    },
    /// A secret, without its value.
    Secret(Box<SecretHistory>),
    /// A token, without what proves it.
    Token {
        /// It.
        token: Box<TokenInfo>,
    },
    /// A registry that the cluster has credentials for, without the password.
    Registry {
        /// It.
        registry: Box<RegistryInfo>,
    },
    /// An actor, with those below it.
    Actor {
        /// It.
        actor: Box<Actor>,
    },
}

/// The spec of a service or task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadSpec {
    /// Of a service.
    Service(ServiceSpec),
    /// Of a task.
    Task(TaskSpec),
}
