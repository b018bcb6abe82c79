//! Log entries.

use std::sync::Arc;

use mill_model::{AllocId, DeployId, NodeId, ProjectName, TaskSpec, TokenId};
use mill_protos::v1 as pb;
use pb::entry::Command as Kind;
use prost::Message as _;

use super::Wire;
use super::access::{author, new_token};
use super::alloc::{status, stop_reason, version, workload};
use super::deploy::{deploy_kind, outcome, reason, step_state};
use super::once::once;
use super::read::{Malformed, each, required, text, texts, time};
use super::{spec, state};
use crate::command::{Command, Entry, NewAlloc};
use crate::level::LEVEL;
use crate::rejected::Halt;

impl Entry {
    /// The bytes that the log keeps.
    pub fn encode(&self) -> Vec<u8> {
        let (author, once, command) = match &self.command {
            Command::Audited { author, once, command } => {
                (Some(author.wire()), once.as_ref().map(Wire::wire), command.as_ref())
            }
            command => (None, None, command),
        };
        let command = Some(command.wire());
        pb::Entry { level: LEVEL, now_ms: self.now.0, command, author, once }.encode_to_vec()
    }

    /// Reads an entry of this binary's level or below.
    ///
    /// # Errors
    /// The entry is above the level, or its bytes make no sense.
    pub fn decode(bytes: &[u8]) -> Result<Self, Halt> {
        let message = pb::Entry::decode(bytes).map_err(Halt::Undecodable)?;
        if message.level > LEVEL {
            return Err(Halt::Level { needs: message.level });
        }
        let read = || {
            let command = command(required(message.command, "command")?)?;
            let command = match message.author.map(author) {
                Some(author) => {
                    let once = message.once.map(once).transpose()?;
                    Command::Audited { author, once, command: Box::new(command) }
                }
                None => command,
            };
            Ok(Self { now: time(message.now_ms), command })
        };
        read().map_err(Halt::Malformed)
    }
}

impl Wire for Command {
    type Message = Kind;

    fn wire(&self) -> Kind {
        match self {
            Command::Bootstrap { cluster_id, node, admin_token_hash, ca_certificate } => {
                let (cluster_id, ca_certificate) = (cluster_id.clone(), ca_certificate.clone());
                let (node, admin_token_hash) = (Some(node.wire()), admin_token_hash.to_vec());
                Kind::Bootstrap(pb::Bootstrap { cluster_id, node, admin_token_hash, ca_certificate })
            }
            Command::RegisterNode(facts) => Kind::RegisterNode(pb::RegisterNode { node: Some(facts.wire()) }),
            Command::BeginDeploy { project, kind, target, replace, by } => {
                let (project, by) = (project.to_string(), by.clone());
                let (kind, target) = (Some(kind.wire()), Some(target.wire()));
                Kind::BeginDeploy(pb::BeginDeploy { project, kind, target, replace: *replace, by })
            }
            Command::CancelDeploy { deploy, outcome } => {
                Kind::CancelDeploy(pb::CancelDeploy { deploy: deploy.0, outcome: outcome.wire().into() })
            }
            Command::AdvanceStep { deploy, name, state, reason } => Kind::AdvanceStep(pb::AdvanceStep {
                deploy: deploy.0,
                name: name.to_string(),
                state: state.wire().into(),
                reason: reason.as_ref().map(Wire::wire),
            }),
            Command::EndDeploy(deploy) => Kind::EndDeploy(pb::EndDeploy { deploy: deploy.0 }),
            Command::PlaceAllocs(allocs) => {
                Kind::PlaceAllocs(pb::PlaceAllocs { allocs: allocs.iter().map(Wire::wire).collect() })
            }
            Command::StopAllocs { allocs, reason } => Kind::StopAllocs(pb::StopAllocs {
                allocs: allocs.iter().map(ToString::to_string).collect(),
                reason: reason.wire().into(),
            }),
            Command::ReportAllocs { node, statuses } => Kind::ReportAllocs(pb::ReportAllocs {
                node: node.0,
                statuses: statuses.iter().map(Wire::wire).collect(),
            }),
            Command::ForgetProject(project) => {
                Kind::ForgetProject(pb::ForgetProject { project: project.to_string() })
            }
            Command::SetSecret { secret, sealed, by } => {
                let (secret, by) = (secret.to_string(), by.clone());
                Kind::SetSecret(pb::SetSecret { secret, sealed: sealed.clone(), by })
            }
            Command::DeleteSecret { secret, by } => {
                Kind::DeleteSecret(pb::DeleteSecret { secret: secret.to_string(), by: by.clone() })
            }
            Command::ForgetAllocs(allocs) => Kind::ForgetAllocs(pb::ForgetAllocs {
                allocs: allocs.iter().map(ToString::to_string).collect(),
            }),
            Command::CreateToken(new) => Kind::CreateToken(new.wire()),
            Command::RevokeToken { token, even_last_admin } => {
                Kind::RevokeToken(pb::RevokeToken { token: token.0, even_last_admin: *even_last_admin })
            }
            Command::SetRegistry { host, user, sealed, by } => {
                let (host, user) = (host.to_string(), user.clone());
                Kind::SetRegistry(pb::SetRegistry { host, user, sealed: sealed.clone(), by: by.clone() })
            }
            Command::DeleteRegistry { host } => {
                Kind::DeleteRegistry(pb::DeleteRegistry { host: host.to_string() })
            }
            Command::RotateCa { certificate, cross, until } => {
                let (certificate, cross) = (certificate.clone(), cross.clone());
                Kind::RotateCa(pb::RotateCa { certificate, cross, until_ms: until.0 })
            }
            Command::Witness => Kind::Witness(pb::Witness {}),
            Command::SpawnTask { id, project, spec, by } => {
                Kind::SpawnTask(spawn_task(id, project, spec, by))
            }
            Command::KillTask(id) => Kind::KillTask(pb::KillTask { id: id.to_string() }),
            // Its author stands beside it in the entry.
            Command::Audited { command, .. } => command.wire(),
        }
    }
}

fn spawn_task(id: &AllocId, project: &ProjectName, spec: &TaskSpec, by: &str) -> pb::SpawnTask {
    let (id, project) = (id.to_string(), project.to_string());
    pb::SpawnTask { id, project, spec: Some(spec.wire()), by: by.to_owned() }
}

fn command(kind: Kind) -> Result<Command, Malformed> {
    Ok(match kind {
        Kind::Bootstrap(message) => bootstrap(message)?,
        Kind::RegisterNode(message) => Command::RegisterNode(state::facts(required(message.node, "node")?)?),
        Kind::BeginDeploy(message) => Command::BeginDeploy {
            project: text(&message.project, "project name")?,
            kind: deploy_kind(required(message.kind, "deploy kind")?)?,
            target: Arc::new(spec::project(required(message.target, "target")?)?),
            replace: message.replace,
            by: message.by,
        },
        Kind::CancelDeploy(message) => {
            Command::CancelDeploy { deploy: DeployId(message.deploy), outcome: outcome(message.outcome())? }
        }
        Kind::AdvanceStep(message) => Command::AdvanceStep {
            deploy: DeployId(message.deploy),
            name: text(&message.name, "step name")?,
            state: step_state(message.state())?,
            reason: message.reason.map(reason).transpose()?,
        },
        Kind::EndDeploy(message) => Command::EndDeploy(DeployId(message.deploy)),
        Kind::PlaceAllocs(message) => Command::PlaceAllocs(each(message.allocs, new_alloc)?),
        Kind::StopAllocs(message) => Command::StopAllocs {
            reason: stop_reason(message.reason())?,
            allocs: texts(&message.allocs, "alloc id")?,
        },
        Kind::ReportAllocs(message) => {
            Command::ReportAllocs { node: NodeId(message.node), statuses: each(message.statuses, status)? }
        }
        Kind::ForgetProject(message) => Command::ForgetProject(text(&message.project, "project name")?),
        Kind::SetSecret(message) => Command::SetSecret {
            secret: text(&message.secret, "secret")?,
            sealed: message.sealed,
            by: message.by,
        },
        Kind::DeleteSecret(message) => {
            Command::DeleteSecret { secret: text(&message.secret, "secret")?, by: message.by }
        }
        Kind::ForgetAllocs(message) => Command::ForgetAllocs(texts(&message.allocs, "alloc id")?),
        Kind::CreateToken(message) => Command::CreateToken(new_token(message)?),
        Kind::RevokeToken(message) => {
            Command::RevokeToken { token: TokenId(message.token), even_last_admin: message.even_last_admin }
        }
        Kind::SetRegistry(message) => Command::SetRegistry {
            host: text(&message.host, "registry")?,
            user: message.user,
            sealed: message.sealed,
            by: message.by,
        },
        Kind::Witness(pb::Witness {}) => Command::Witness,
        Kind::SpawnTask(message) => spawned(message)?,
        Kind::KillTask(message) => Command::KillTask(text(&message.id, "alloc id")?),
        Kind::RotateCa(pb::RotateCa { certificate, cross, until_ms }) => {
            Command::RotateCa { certificate, cross, until: time(until_ms) }
        }
        Kind::DeleteRegistry(message) => Command::DeleteRegistry { host: text(&message.host, "registry")? },
    })
}

fn spawned(message: pb::SpawnTask) -> Result<Command, Malformed> {
    Ok(Command::SpawnTask {
        id: text(&message.id, "alloc id")?,
        project: text(&message.project, "project name")?,
        spec: Arc::new(spec::task(required(message.spec, "task")?)?),
        by: message.by,
    })
}

fn bootstrap(message: pb::Bootstrap) -> Result<Command, Malformed> {
    Ok(Command::Bootstrap {
        cluster_id: message.cluster_id,
        node: state::facts(required(message.node, "node")?)?,
        admin_token_hash: message.admin_token_hash.as_slice().try_into().map_err(|_| "token hash")?,
        ca_certificate: message.ca_certificate,
    })
}

impl Wire for NewAlloc {
    type Message = pb::NewAlloc;

    fn wire(&self) -> pb::NewAlloc {
        pb::NewAlloc {
            id: self.id.to_string(),
            workload: Some(self.workload.wire()),
            index: self.index,
            version: Some(self.version.wire()),
            node: self.node.0,
            deploy: self.deploy.0,
        }
    }
}

fn new_alloc(message: pb::NewAlloc) -> Result<NewAlloc, Malformed> {
    Ok(NewAlloc {
        id: text(&message.id, "alloc id")?,
        workload: workload(&required(message.workload, "workload")?)?,
        index: message.index,
        version: version(&required(message.version, "version")?)?,
        node: NodeId(message.node),
        deploy: DeployId(message.deploy),
    })
}
