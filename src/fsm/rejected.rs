//! Why a command changed nothing.

use mill_model::{
    AllocId, DeployId, NodeId, Pin, ProjectName, RegistryHost, SecretId, Timestamp, TokenId, TokenName,
    Workload, WorkloadName, limits,
};
use thiserror::Error;

use crate::check::Broken;
use crate::deploy::StepState;
use crate::secret::SecretUser;

/// A command that every node refuses alike.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Rejected {
    /// The cluster exists already.
    #[error("the cluster is already initialised")]
    AlreadyBootstrapped,
    /// There is no cluster yet.
    #[error("the cluster is not initialised")]
    NotBootstrapped,
    /// A node of this id was never registered.
    #[error("there is no node {0}")]
    NoSuchNode(NodeId),
    /// Another node has this name.
    #[error("node {0} has this name already")]
    NameTaken(NodeId),
    /// Never deployed, or forgotten.
    #[error("there is no project `{0}`")]
    NoSuchProject(ProjectName),
    /// The project has no such service or task.
    #[error("there is no service or task `{0}`")]
    NoSuchWorkload(WorkloadName),
    /// Never begun, or forgotten.
    #[error("there is no deploy {0}")]
    NoSuchDeploy(DeployId),
    /// It has an outcome.
    #[error("deploy {0} has ended")]
    DeployEnded(DeployId),
    /// It waits or its steps aren't all ended.
    #[error("deploy {0} still has work to do")]
    DeployUnfinished(DeployId),
    /// What was asked for says how the current config shall differ, and another deploy is about to change that.
    #[error("deploy {0} of this project is under way or waits")]
    DeployUnderWay(DeployId),
    /// More deploys of one project wait than make sense.
    #[error("too many deploys of this project are waiting")]
    TooManyDeploys,
    /// A step's state leads only forwards.
    #[error("a step can't go from {from} to {to}")]
    StepBackwards {
        /// Its state.
        from: StepState,
        /// Asked for.
        to: StepState,
    },
    /// The random part of an id was drawn twice.
    #[error("an alloc `{0}` exists already")]
    AllocExists(AllocId),
    /// Too many tasks of the project wait or run.
    #[error("{} tasks of `{project}` wait or run, and no more are taken", limits::TASKS_PER_PROJECT_MAX)]
    TooManyTasks {
        /// Which project.
        project: ProjectName,
    },
    /// Too many tasks wait or run.
    #[error("{} tasks wait or run, and no more are taken", limits::TASKS_MAX)]
    TasksFull,
    /// A task would have a service's name.
    #[error("`{0}` is a service")]
    NotATask(Workload),
    /// What was to end is a service's replica.
    #[error("`{0}` is a replica of a service")]
    Replica(AllocId),
    /// Never spawned, called off, or forgotten.
    #[error("there is no task `{0}`")]
    NoSuchTask(AllocId),
    /// No service or deploy asks for this version any more.
    #[error("nothing asks for the version of `{0}`")]
    VersionUnknown(AllocId),
    /// The node has no room for it.
    #[error("node {node} has no room for `{alloc}`")]
    NoCapacity {
        /// The node.
        node: NodeId,
        /// The first alloc that doesn't fit.
        alloc: AllocId,
    },
    /// Services, allocs or deploys of it are left.
    #[error("project `{0}` is still in use")]
    ProjectInUse(ProjectName),
    /// A service of this name runs; a task can take it once that is gone.
    #[error("`{0}` is a running service: remove it in a deploy of its own before a task takes its name")]
    KindChanged(WorkloadName),
    /// A deploy's target names another project.
    #[error("the target is another project's")]
    WrongProject,
    /// Never set, or deleted.
    #[error("there is no secret `{0}`")]
    NoSuchSecret(SecretId),
    /// What is to run names a version of a secret that isn't kept.
    #[error("the secret `{0}` is no more")]
    SecretGone(Pin),
    /// What is to run names a secret of another project.
    #[error("the secret `{0}` is another project's")]
    SecretOfAnother(SecretId),
    /// Something would be without it.
    #[error("the secret `{secret}` is used")]
    SecretUsed {
        /// Which.
        secret: SecretId,
        /// By what, as [`crate::Cluster::secret_users`] has them.
        users: Vec<SecretUser>,
    },
    /// No value, or one beyond what is kept.
    #[error("a sealed secret has {} bytes at most, this has {length}", limits::SEALED_BYTES_MAX)]
    SecretSize {
        /// Bytes given.
        length: usize,
    },
    /// There are as many secrets as are kept.
    #[error("there are {} secrets already", limits::SECRETS_MAX)]
    TooManySecrets,
    /// All versions together take as much room as they may.
    #[error("all secrets together have {} MiB at most", limits::SECRETS_BYTES_MAX >> 20)]
    SecretsFull,
    /// Another token has this name.
    #[error("a token is called `{0}` already")]
    TokenNameTaken(TokenName),
    /// The random part of a token was drawn twice.
    #[error("this token exists already")]
    TokenExists,
    /// More tokens than make sense.
    #[error("there are {} tokens, and no more can be made", limits::TOKENS_MAX)]
    TooManyTokens,
    /// Never made, or revoked.
    #[error("there is no token {0}")]
    NoSuchToken(TokenId),
    /// Without it nobody could make tokens over the network.
    #[error("`{0}` is the last admin token")]
    LastAdmin(TokenName),
    /// The CA before this one is still trusted: two at a time are enough.
    #[error("the CA before this one is trusted until {0}")]
    CaRetiring(Timestamp),
    /// More registries than make sense.
    #[error("there are credentials for {} registries, and no more can be kept", limits::REGISTRIES_MAX)]
    TooManyRegistries,
    /// No credentials were given for it.
    #[error("there are no credentials for registry `{0}`")]
    NoSuchRegistry(RegistryHost),
    /// The key was given for something else.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// It would have broken an invariant: a bug, told by an alarm.
    #[error("the command would break an invariant")]
    Invariant(#[source] Broken),
}

/// Why applying stops for good on this node, until it is upgraded or repaired.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Halt {
    /// The entry needs a newer binary.
    #[error("a log entry needs level {needs}, this binary knows {}", crate::level::LEVEL)]
    Level {
        /// What it needs.
        needs: u32,
    },
    /// The entry's bytes are no entry of this level.
    #[error("a log entry can't be read: {0}")]
    Malformed(&'static str),
    /// The entry's bytes are no protobuf.
    #[error("a log entry can't be decoded")]
    Undecodable(#[source] prost::DecodeError),
}
