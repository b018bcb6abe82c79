//! Who may do what in that cluster, and who did what.

use mill_api::audit::AuditRecord;
use mill_api::certs::{Certificate, Owner};
use mill_api::registries::RegistryInfo;
use mill_api::token::{Token, TokenKind};
use mill_api::tokens::{CreatedToken, LastUsed, TokenInfo, Whoami};
use mill_api::trust::Fingerprint;
use mill_model::{RoleName, TokenId};

use super::{NOW, ago};

pub(crate) fn tokens() -> Vec<TokenInfo> {
    let token = |id, name: &str, role| TokenInfo {
        id: TokenId(id),
        name: name.parse().unwrap(),
        role,
        projects: None,
        created_at: ago(3 * 86_400),
        created_by: "init".into(),
        expires_at: None,
        expired: false,
        last_used: None,
    };
    let from = "10.0.0.9".parse().unwrap();
    vec![
        token(1, "init", RoleName::Admin),
        TokenInfo {
            projects: Some(["shop".parse().unwrap(), "blog".parse().unwrap()].into()),
            expires_at: Some(NOW.after(std::time::Duration::from_secs(27 * 86_400))),
            last_used: Some(LastUsed { at: ago(40), from }),
            ..token(4, "ci", RoleName::Deployer)
        },
        TokenInfo { expires_at: Some(ago(60)), expired: true, ..token(7, "visitor", RoleName::Viewer) },
    ]
}

pub(crate) fn created_token() -> CreatedToken {
    let token = Token::new(TokenKind::Api, [4; 20], Fingerprint::of(b"ca"));
    CreatedToken { token, info: TokenInfo { last_used: None, ..tokens().remove(1) } }
}

pub(crate) fn whoami() -> Whoami {
    let TokenInfo { role, projects, expires_at, .. } = tokens().remove(1);
    Whoami {
        name: "ci".into(),
        role,
        projects,
        expires_at,
        ca: Some(Fingerprint::of(b"ca")),
        cluster: "6ffd0b2a54a1c2d3e4f5061728394a5b".into(),
        node: "node-1".into(),
    }
}

pub(crate) fn registries() -> Vec<RegistryInfo> {
    let registry = |host: &str, user: &str| RegistryInfo {
        host: host.parse().unwrap(),
        user: user.into(),
        set_at: ago(7200),
        set_by: "init".into(),
    };
    vec![registry("ghcr.io", "ann"), registry("registry.example.com:5000", "mill")]
}

pub(crate) fn audit() -> Vec<AuditRecord> {
    let record = |id, token: &str, from: &str, what: &str, made: Option<&str>| AuditRecord {
        id,
        at: ago(100 - id),
        token: token.into(),
        from: from.into(),
        what: what.into(),
        made: made.map(Into::into),
    };
    vec![
        record(1, "local", "local socket", "POST /v1/tokens", Some("token ci: deployer of blog, shop")),
        record(2, "ci", "10.0.0.9", "POST /v1/deploys", Some("deploy #14 of shop")),
        record(3, "init", "10.0.0.7", "DELETE /v1/tokens/old", None),
    ]
}

pub(crate) fn certificates() -> Vec<Certificate> {
    let days = |days: u64| std::time::Duration::from_secs(days * 86_400);
    let of = |of, until: u64, renewed: Option<u64>, digit: &str| Certificate {
        of,
        fingerprint: digit.repeat(32),
        from: ago(31 * 86_400),
        until: NOW.after(days(until)),
        renewed_at: renewed.map(|renewed| NOW.after(days(renewed))),
    };
    vec![of(Owner::Node, 60, Some(30), "5a"), of(Owner::Ca, 7270, None, "c0")]
}
