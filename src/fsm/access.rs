//! Who may do what, and who did what.
//!
//! # Why
//! - **An entry carries its author** ([`Author`]), and what it did is put into the audit log by applying it: a write
//!   without its record can't be, nor a record without its write, and it costs no second entry. What was refused is in
//!   no log that all share: a flood of refusals must not fill that.
//! - **Only hashes of tokens.** Their secrets have 160 random bits, so that a plain hash can't be turned back.
//! - **When a token was last used is a fact of the node** that it was shown to, and no state: it changes with each request.

use mill_model::{Role, Timestamp, TokenId, TokenName};

/// A key to the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its number.
    pub id: TokenId,
    /// What people call it.
    pub name: TokenName,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it: a token's name, or `local`.
    pub created_by: String,
    /// When it ends; `None`: it doesn't.
    pub expires_at: Option<Timestamp>,
}

impl Token {
    /// Whether it is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// On whose word an entry is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The token's name, or `local`.
    pub token: String,
    /// The address that it was asked from, or `local socket`.
    pub from: String,
    /// What was asked: method and path. Never a body.
    pub what: String,
}

/// A write that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Counts up over the cluster's whole life.
    pub id: u64,
    /// When, by the state's time.
    pub at: Timestamp,
    /// On whose word.
    pub author: Author,
    /// What came of it, in words; empty: nothing that has a name.
    pub made: String,
}

/// The CA before this one, while it is still trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetiringCa {
    /// Its certificate, PEM: tokens that were made under it carry its fingerprint.
    pub certificate: String,
    /// The new CA's certificate, signed by this one, PEM.
    pub cross: String,
    /// Until when it is trusted.
    pub until: Timestamp,
}

/// How the cluster is known to a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryLogin {
    /// The user.
    pub user: String,
    /// The password, sealed to the cluster's key.
    pub sealed: Vec<u8>,
    /// When it was set.
    pub set_at: Timestamp,
    /// Who set it.
    pub set_by: String,
}

impl std::fmt::Debug for RegistryLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryLogin").field("user", &self.user).finish_non_exhaustive()
    }
}
