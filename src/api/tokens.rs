//! `GET /v1/tokens`, `POST /v1/tokens`, `DELETE /v1/tokens/{token}`, `GET /v1/whoami`: who may do what.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use mill_model::{ProjectName, Projects, Role, RoleName, Timestamp, TokenId, TokenName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::token::Token;
use crate::trust::Fingerprint;

/// A token, without what proves it: that is shown once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenInfo {
    /// Its number. Never given again.
    pub id: TokenId,
    /// What people call it.
    pub name: TokenName,
    /// What it may do.
    pub role: RoleName,
    /// The projects that a deployer is held to; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projects: Option<BTreeSet<ProjectName>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// When it ends; absent: it doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether that time has come.
    pub expired: bool,
    /// When it was last used, as far as the node that answers knows: since its daemon began, and by itself only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<LastUsed>,
}

/// When a token was last used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastUsed {
    /// When.
    pub at: Timestamp,
    /// From where.
    pub from: IpAddr,
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it may do.
    pub role: RoleName,
    /// The projects that a deployer shall be held to; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projects: Option<BTreeSet<ProjectName>>,
    /// What to call it; absent: by its role and a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<TokenName>,
    /// How long it shall live; absent: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
}

/// A new token. Shown once: the cluster keeps only its hash.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    /// The token itself.
    pub token: Token,
    /// What is kept of it.
    #[serde(flatten)]
    pub info: TokenInfo,
}

impl fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedToken").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Who asks, as the cluster sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Whoami {
    /// The token's name, or `local`.
    pub name: String,
    /// What it may do.
    pub role: RoleName,
    /// The projects that a deployer is held to; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projects: Option<BTreeSet<ProjectName>>,
    /// When the token ends; absent: it doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The fingerprint of the cluster's CA: what the token should carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Fingerprint>,
    /// The cluster's id.
    pub cluster: String,
    /// The node that answers.
    pub node: String,
}

/// The role that a word and projects mean; `None`: they don't go together.
pub fn role(name: RoleName, projects: Option<&BTreeSet<ProjectName>>) -> Option<Role> {
    match (name, projects) {
        (RoleName::Viewer, None) => Some(Role::Viewer),
        (RoleName::Admin, None) => Some(Role::Admin),
        (RoleName::Deployer, None) => Some(Role::Deployer(Projects::All)),
        (RoleName::Deployer, Some(only)) if !only.is_empty() => {
            Some(Role::Deployer(Projects::Only(only.clone())))
        }
        (_, Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_deployers_have_projects_and_none_is_not_all() {
        let (none, shop) = (BTreeSet::new(), BTreeSet::from(["shop".parse::<ProjectName>().unwrap()]));
        for name in RoleName::ALL {
            assert_eq!(role(name, None).unwrap().name(), name);
            assert_eq!(role(name, Some(&none)), None, "{name}");
            let held = role(name, Some(&shop));
            assert_eq!(held.is_some(), name == RoleName::Deployer, "{name}");
            assert!(held.is_none_or(|held| held.only() == Some(&shop)));
        }
    }

    #[test]
    fn a_new_token_in_a_log_shows_no_secret() {
        let token = Token::new(crate::token::TokenKind::Api, [7; 20], Fingerprint::of(b"ca"));
        let info = TokenInfo {
            id: TokenId(2),
            name: "ci".parse().unwrap(),
            role: RoleName::Viewer,
            projects: None,
            created_at: Timestamp(1),
            created_by: "init".into(),
            expires_at: None,
            expired: false,
            last_used: None,
        };
        let created = CreatedToken { token, info };
        assert!(!format!("{created:?}").contains("0707"));
        let text = serde_json::to_string(&created).unwrap();
        assert!(text.contains("mill_t_0707") && text.contains(r#""name":"ci""#));
        assert_eq!(serde_json::from_str::<CreatedToken>(&text).unwrap(), created);
    }
}
