//! What can be done to the state.

use std::sync::Arc;

use mill_model::node::NodeFacts;
use mill_model::{
    AllocId, AllocStatus, DeployId, NodeId, ProjectName, ProjectSpec, RegistryHost, Role, SecretId, TaskSpec,
    Timestamp, TokenId, TokenName, Workload, WorkloadName,
};

use crate::access::Author;
use crate::alloc::{StopReason, Version};
use crate::deploy::{DeployKind, Outcome, StepReason, StepState};
use crate::once::Once;
use crate::rejected::Rejected;

/// One record of the replicated log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The leader's wall clock when it proposed.
    pub now: Timestamp,
    /// What it proposed.
    pub command: Command,
}

/// A change of the state.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Makes a cluster of one node.
    Bootstrap {
        /// The cluster's id, drawn by its first node.
        cluster_id: String,
        /// That node.
        node: NodeFacts,
        /// SHA-256 of the first admin token.
        admin_token_hash: [u8; 32],
        /// The cluster's CA certificate, PEM.
        ca_certificate: String,
    },
    /// A node says what it is.
    RegisterNode(NodeFacts),
    /// Wants a project to become something else.
    BeginDeploy {
        /// Which.
        project: ProjectName,
        /// What asked for it.
        kind: DeployKind,
        /// What it shall become, images pinned.
        target: Arc<ProjectSpec>,
        /// Whether it takes the place of the running and the waiting ones.
        replace: bool,
        /// Who asked for it.
        by: String,
    },
    /// Rolls a deploy back, or takes a waiting one out of the line.
    CancelDeploy {
        /// Which.
        deploy: DeployId,
        /// [`Outcome::Cancelled`] or [`Outcome::Replaced`].
        outcome: Outcome,
    },
    /// Moves a step on.
    AdvanceStep {
        /// Whose.
        deploy: DeployId,
        /// Which.
        name: WorkloadName,
        /// To where.
        state: StepState,
        /// Why, if not as wanted.
        reason: Option<StepReason>,
    },
    /// Ends a deploy, all of whose steps have ended.
    EndDeploy(DeployId),
    /// Places allocs: all of them or none.
    PlaceAllocs(Vec<NewAlloc>),
    /// Stops allocs; unknown and already stopping ones are passed over.
    StopAllocs {
        /// Which.
        allocs: Vec<AllocId>,
        /// Why.
        reason: StopReason,
    },
    /// What the owner of allocs says of them.
    ReportAllocs {
        /// The owner.
        node: NodeId,
        /// What it says.
        statuses: Vec<AllocStatus>,
    },
    /// Forgets ended allocs; others are passed over.
    ForgetAllocs(Vec<AllocId>),
    /// Forgets a project of which nothing runs, with its history.
    ForgetProject(ProjectName),
    /// Gives a secret a new version, its first too. Changes nothing that runs.
    SetSecret {
        /// Which.
        secret: SecretId,
        /// Its value, sealed to the cluster's key.
        sealed: Vec<u8>,
        /// Who asked for it.
        by: String,
    },
    /// Forgets a secret that nothing uses.
    DeleteSecret {
        /// Which.
        secret: SecretId,
        /// Who asked for it.
        by: String,
    },
    /// Makes a token.
    CreateToken(NewToken),
    /// Makes a token good for nothing, at once.
    RevokeToken {
        /// Which.
        token: TokenId,
        /// Whether it may be the last one of an admin.
        even_last_admin: bool,
    },
    /// Says how the cluster is known to a registry.
    SetRegistry {
        /// Which.
        host: RegistryHost,
        /// As whom.
        user: String,
        /// The password, sealed to the cluster's key.
        sealed: Vec<u8>,
        /// Who says it.
        by: String,
    },
    /// Forgets that.
    DeleteRegistry {
        /// Which registry.
        host: RegistryHost,
    },
    /// Gives the cluster another CA.
    RotateCa {
        /// Its certificate, PEM.
        certificate: String,
        /// The same, signed by the CA before it, PEM.
        cross: String,
        /// Until when that is trusted.
        until: Timestamp,
    },
    /// Wants a task to be run once. The same a second time changes nothing.
    SpawnTask {
        /// What its alloc will be called.
        id: AllocId,
        /// Whose it is.
        project: ProjectName,
        /// What it runs: image and secrets pinned.
        spec: Arc<TaskSpec>,
        /// Who asked for it.
        by: String,
    },
    /// Ends a task, wherever it is in its life. One that has ended stays as it is.
    KillTask(AllocId),
    /// Changes nothing. Its author did something outside of the state that is to be written down.
    Witness,
    /// Something on somebody's word: written into the audit log if it is done.
    Audited {
        /// On whose.
        author: Author,
        /// How it is told from another of the same; `None`: each time it is asked for it is done.
        once: Option<Once>,
        /// What. Not another of these.
        command: Box<Command>,
    },
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// What people call it.
    pub name: TokenName,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// When it ends; `None`: it doesn't.
    pub expires_at: Option<Timestamp>,
    /// Who makes it.
    pub by: String,
}

/// An alloc to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAlloc {
    /// Its id.
    pub id: AllocId,
    /// What it is an instance of.
    pub workload: Workload,
    /// Number of the replica.
    pub index: u32,
    /// What it runs.
    pub version: Version,
    /// Where.
    pub node: NodeId,
    /// By which deploy; [`crate::spawn::NO_DEPLOY`]: somebody had it run.
    pub deploy: DeployId,
}

/// What became of one entry, as its proposer is told.
pub type Applied = Result<Done, Rejected>;

/// What a command made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Nothing that has a name.
    Plain,
    /// A deploy.
    Deploy(DeployId),
    /// A version of a secret.
    SecretVersion(u32),
    /// A token.
    Token(TokenId),
    /// A task, or the end of one.
    Task(AllocId),
}
