//! What a registry wants to see before it answers: nothing, a token, or user and password.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::RequestBuilder;

use crate::images::logins::{Login, Logins};

/// What a request shows.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// A token, from the server that the registry named.
    Bearer(String),
    /// User and password themselves.
    Basic(Login),
}

impl Proof {
    /// The request, showing it.
    pub(super) fn on(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Bearer(token) => request.bearer_auth(token),
            Self::Basic(Login { user, password }) => request.basic_auth(user, Some(password)),
        }
    }
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bearer(_) => "Bearer(…)",
            Self::Basic(_) => "Basic(…)",
        })
    }
}

/// Whose answers a proof is for: a registry and a repository.
pub(super) type Whose = (String, String);

/// What is known and what was proved with it.
#[derive(Debug, Default)]
pub(super) struct Proofs(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    logins: Logins,
    /// Counts what was known before.
    age: u64,
    /// Registries let tokens live for minutes; a refusal fetches a new one.
    proofs: HashMap<Whose, Proof>,
}

/// What to ask a registry with.
pub(super) struct Known {
    /// How the node is known to it.
    pub(super) login: Option<Login>,
    /// What opened the last time.
    pub(super) proof: Option<Proof>,
    age: u64,
}

impl Proofs {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the node is known so. What was proved otherwise is forgotten.
    pub(super) fn know(&self, logins: Logins) {
        let mut inner = self.inner();
        if inner.logins != logins {
            *inner = Inner { logins, age: inner.age + 1, proofs: HashMap::new() };
        }
    }

    /// What to begin with.
    pub(super) fn of(&self, whose: &Whose) -> Known {
        let inner = self.inner();
        let (login, proof) = (inner.logins.get(&whose.0).cloned(), inner.proofs.get(whose).cloned());
        Known { login, proof, age: inner.age }
    }

    /// Keeps what opened, unless the node is known otherwise by now.
    pub(super) fn keep(&self, whose: Whose, known: &Known, proof: Proof) {
        let mut inner = self.inner();
        if inner.age == known.age {
            inner.proofs.insert(whose, proof);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_proved_with_an_old_password_is_forgotten_with_it() {
        let proofs = Proofs::default();
        let whose = || ("r.test".to_owned(), "web".to_owned());
        let login = |password: &str| Login { user: "ann".to_owned(), password: password.to_owned() };
        let known = proofs.of(&whose());
        assert!(known.login.is_none() && known.proof.is_none());
        proofs.keep(whose(), &known, Proof::Bearer("anonymous".to_owned()));
        assert_eq!(proofs.of(&whose()).proof, Some(Proof::Bearer("anonymous".to_owned())));

        proofs.know([("r.test".to_owned(), login("one"))].into());
        let before = proofs.of(&whose());
        assert_eq!((before.login.clone(), before.proof.clone()), (Some(login("one")), None));
        proofs.know([("r.test".to_owned(), login("two"))].into());
        proofs.keep(whose(), &before, Proof::Basic(login("one")));
        assert_eq!(proofs.of(&whose()).proof, None, "it came too late");
        let other = proofs.of(&("other.test".to_owned(), "web".to_owned()));
        assert_eq!(other.login, None, "a password goes to its registry only");
        let shown = format!("{proofs:?} {:?}", Proof::Basic(login("hunter2")));
        assert!(!shown.contains("hunter2") && !shown.contains("two"), "{shown}");
    }
}
