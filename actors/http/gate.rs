//! Who may come in, and when.

use std::hint::black_box;

use http::header::AUTHORIZATION;
use http::request::Parts;
use mill_api::token::TokenKind;
use mill_api::{ApiError, Code, Token, paths};
use mill_fsm::Cluster;

use super::backend::Backend;
use super::server::Inner;

/// Where a connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Over the root-only socket.
    Local,
    /// Over TLS.
    Remote,
}

/// Who asks: in every request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// Name of the token, or `local`.
    pub(super) name: String,
}

/// Lets a request in, or says why not.
pub(super) fn admit<B: Backend>(
    server: &Inner<B>,
    origin: Origin,
    request: &Parts,
) -> Result<Caller, ApiError> {
    let path = request.uri.path();
    let cluster = server.cluster();
    let of_the_machine = paths::LOCAL.contains(&path) || path == paths::DOCTOR;
    let needs_no_cluster = of_the_machine && origin == Origin::Local;
    if !needs_no_cluster && !cluster.is_bootstrapped() {
        return Err(no_cluster(server.member.borrow().is_some()));
    }
    match origin {
        Origin::Local => Ok(Caller { name: "local".to_owned() }),
        Origin::Remote => {
            let caller = authenticate(&cluster, request)?;
            match paths::LOCAL.contains(&path) {
                false => Ok(caller),
                true => Err(ApiError::new(Code::Forbidden, format!("{path} is for the machine itself"))
                    .because("it is answered over the node's local socket only")
                    .hint("log in to the node and ask there, as root")),
            }
        }
    }
}

fn no_cluster(is_member: bool) -> ApiError {
    match is_member {
        true => ApiError::new(Code::Unavailable, "the daemon is starting")
            .because("it hasn't read its log to the end yet")
            .hint("try again in a moment; a `mill init` that was cut short goes on by another"),
        false => ApiError::new(Code::Unavailable, "this daemon belongs to no cluster yet")
            .hint("`mill init` makes a cluster of this node"),
    }
}

fn authenticate(cluster: &Cluster, request: &Parts) -> Result<Caller, ApiError> {
    let refused = |why: &str| {
        ApiError::new(Code::Unauthorized, "the request isn't authorized")
            .because(why)
            .hint("MILL_TOKEN, the file that MILL_TOKEN_FILE names, or the context holds the token that `mill init` printed")
    };
    let header = request.headers.get(AUTHORIZATION).ok_or_else(|| refused("there is no token"))?;
    let text = header.to_str().map_err(|_| refused("the token is misspelt"))?;
    let text = text.strip_prefix("Bearer ").ok_or_else(|| refused("there is no bearer token"))?;
    // The text itself is never repeated: it may be almost a token.
    let token: Token = text.parse().map_err(|error| refused(&format!("{error}")))?;
    if token.kind != TokenKind::Api {
        return Err(refused("this token is for machines that join"));
    }
    let hash = token.secret_hash();
    let mut found = None;
    // All of them are looked at, whether or not one fits: the time tells nothing about any.
    for (known, named) in &cluster.tokens {
        if same(known, &hash) {
            found = Some(named.name.clone());
        }
    }
    found.map(|name| Caller { name }).ok_or_else(|| refused("the cluster knows no such token"))
}

/// Compares in a time that doesn't depend on where they differ.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
    black_box(difference) == 0
}
