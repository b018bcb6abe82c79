//! How a node is known to registries.

use std::collections::BTreeMap;
use std::fmt;

/// What a node is known by, by registry: the host as images name it, with a port if it has one.
pub type Logins = BTreeMap<String, Login>;

/// A user and what proves it. Held in memory only.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password, or the token that stands for it.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}
