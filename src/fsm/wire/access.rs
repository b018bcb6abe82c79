//! Tokens, the audit log, registries' logins.

use mill_model::{Projects, Role, TokenId};
use mill_protos::v1 as pb;

use super::Wire;
use super::once::done_once;
use super::read::{Malformed, each, required, text, texts, time};
use crate::access::{AuditRecord, Author, RegistryLogin, RetiringCa, Token};
use crate::cluster::Cluster;
use crate::command::NewToken;

pub(super) fn wire(cluster: &Cluster) -> pb::Access {
    let token = |(hash, token): (&[u8; 32], &Token)| pb::Token {
        id: token.id.0,
        name: token.name.to_string(),
        hash: hash.to_vec(),
        role: Some(token.role.wire()),
        created_at_ms: token.created_at.0,
        created_by: token.created_by.clone(),
        expires_at_ms: token.expires_at.map(|end| end.0),
    };
    let registry = |(host, login): (&mill_model::RegistryHost, &RegistryLogin)| pb::RegistryLogin {
        host: host.to_string(),
        user: login.user.clone(),
        sealed: login.sealed.clone(),
        set_at_ms: login.set_at.0,
        set_by: login.set_by.clone(),
    };
    pb::Access {
        tokens: cluster.tokens.iter().map(token).collect(),
        next_token: cluster.next_token.0,
        audit: cluster.audit.iter().map(Wire::wire).collect(),
        next_audit: cluster.next_audit,
        registries: cluster.registries.iter().map(registry).collect(),
        retiring_ca: cluster.retiring_ca.as_ref().map(Wire::wire),
        once: cluster.once.iter().map(Wire::wire).collect(),
    }
}

/// Puts what a snapshot says of it into `cluster`.
pub(super) fn read(message: pb::Access, cluster: &mut Cluster) -> Result<(), Malformed> {
    cluster.tokens = each(message.tokens, token)?.into_iter().collect();
    cluster.next_token = TokenId(message.next_token);
    cluster.audit = each(message.audit, audit_record)?.into_iter().collect();
    cluster.next_audit = message.next_audit;
    cluster.registries = each(message.registries, registry)?.into_iter().collect();
    cluster.retiring_ca = message.retiring_ca.map(retiring_ca);
    cluster.once = each(message.once, done_once)?.into_iter().collect();
    Ok(())
}

fn token(message: pb::Token) -> Result<([u8; 32], Token), Malformed> {
    let token = Token {
        id: TokenId(message.id),
        name: text(&message.name, "token name")?,
        role: role(required(message.role, "role")?)?,
        created_at: time(message.created_at_ms),
        created_by: message.created_by,
        expires_at: message.expires_at_ms.map(time),
    };
    Ok((hash(&message.hash)?, token))
}

fn hash(bytes: &[u8]) -> Result<[u8; 32], Malformed> {
    bytes.try_into().map_err(|_| "token hash")
}

fn registry(message: pb::RegistryLogin) -> Result<(mill_model::RegistryHost, RegistryLogin), Malformed> {
    let login = RegistryLogin {
        user: message.user,
        sealed: message.sealed,
        set_at: time(message.set_at_ms),
        set_by: message.set_by,
    };
    Ok((text(&message.host, "registry")?, login))
}

impl Wire for RetiringCa {
    type Message = pb::RetiringCa;

    fn wire(&self) -> pb::RetiringCa {
        let Self { certificate, cross, until } = self;
        pb::RetiringCa { certificate: certificate.clone(), cross: cross.clone(), until_ms: until.0 }
    }
}

fn retiring_ca(message: pb::RetiringCa) -> RetiringCa {
    let pb::RetiringCa { certificate, cross, until_ms } = message;
    RetiringCa { certificate, cross, until: time(until_ms) }
}

impl Wire for Role {
    type Message = pb::Role;

    fn wire(&self) -> pb::Role {
        let projects = |projects: &Projects| match projects {
            Projects::All => None,
            Projects::Only(only) => {
                Some(pb::Projects { projects: only.iter().map(ToString::to_string).collect() })
            }
        };
        let role = match self {
            Self::Viewer => pb::role::Role::Viewer(pb::Viewer {}),
            Self::Deployer(of) => pb::role::Role::Deployer(pb::Deployer { only: projects(of) }),
            Self::Admin => pb::role::Role::Admin(pb::Admin {}),
        };
        pb::Role { role: Some(role) }
    }
}

fn role(message: pb::Role) -> Result<Role, Malformed> {
    Ok(match required(message.role, "role")? {
        pb::role::Role::Viewer(pb::Viewer {}) => Role::Viewer,
        pb::role::Role::Deployer(pb::Deployer { only: None }) => Role::Deployer(Projects::All),
        pb::role::Role::Deployer(pb::Deployer { only: Some(only) }) => {
            let projects: Vec<_> = texts(&only.projects, "project name")?;
            Role::Deployer(Projects::Only(projects.into_iter().collect()))
        }
        pb::role::Role::Admin(pb::Admin {}) => Role::Admin,
    })
}

impl Wire for Author {
    type Message = pb::Author;

    fn wire(&self) -> pb::Author {
        pb::Author { token: self.token.clone(), from: self.from.clone(), what: self.what.clone() }
    }
}

pub(super) fn author(message: pb::Author) -> Author {
    Author { token: message.token, from: message.from, what: message.what }
}

impl Wire for AuditRecord {
    type Message = pb::AuditRecord;

    fn wire(&self) -> pb::AuditRecord {
        pb::AuditRecord {
            id: self.id,
            at_ms: self.at.0,
            author: Some(self.author.wire()),
            made: self.made.clone(),
        }
    }
}

fn audit_record(message: pb::AuditRecord) -> Result<AuditRecord, Malformed> {
    Ok(AuditRecord {
        id: message.id,
        at: time(message.at_ms),
        author: author(required(message.author, "author")?),
        made: message.made,
    })
}

impl Wire for NewToken {
    type Message = pb::CreateToken;

    fn wire(&self) -> pb::CreateToken {
        pb::CreateToken {
            name: self.name.to_string(),
            hash: self.hash.to_vec(),
            role: Some(self.role.wire()),
            expires_at_ms: self.expires_at.map(|end| end.0),
            by: self.by.clone(),
        }
    }
}

pub(super) fn new_token(message: pb::CreateToken) -> Result<NewToken, Malformed> {
    Ok(NewToken {
        name: text(&message.name, "token name")?,
        role: role(required(message.role, "role")?)?,
        hash: hash(&message.hash)?,
        expires_at: message.expires_at_ms.map(time),
        by: message.by,
    })
}
