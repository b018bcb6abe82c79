//! Who may come in, and for what. The rule is one table, [`mill_api::paths::ROUTES`]; what isn't in it is nobody's.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use mill_api::paths::{self, Access, Route};
use mill_api::token::TokenKind;
use mill_api::{ApiError, Code, Token};
use mill_fsm::{Author, Cluster, Command, Once};
use mill_model::{ProjectName, Role, Timestamp, TokenId};
use mill_rpc::v1::introspect_server;
use tokio::time::Instant;

use super::backend::Backend;
use super::guard::Source;
use super::refusal::Refusal;
use super::routes;
use super::server::{Inner, Server};

/// Where a connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Over the root-only socket.
    Local,
    /// Over TLS, from this address.
    Remote(IpAddr),
}

/// Who asks, and for what: in every request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// Name of the token, or `local`.
    pub(super) name: String,
    /// What it may do.
    pub(super) role: Role,
    /// Its token; `None`: it needs none.
    token: Option<TokenId>,
    /// When that ends.
    pub(super) expires_at: Option<Timestamp>,
    origin: Origin,
    /// How its write is told from another of the same.
    pub(super) once: Option<Once>,
    /// Method and path.
    what: String,
}

impl Caller {
    /// `command` on this one's word: the audit log will have it.
    pub(super) fn asks(&self, command: Command) -> Command {
        let from = match self.origin {
            Origin::Local => "local socket".to_owned(),
            Origin::Remote(address) => address.to_string(),
        };
        let author = Author { token: self.name.clone(), from, what: self.what.clone() };
        Command::Audited { author, once: self.once.clone(), command: Box::new(command) }
    }

    /// The same, with more to be said of what it asks for.
    pub(super) fn doing(&self, what: &str) -> Self {
        Self { what: cut(&format!("{}: {what}", self.what)), ..self.clone() }
    }

    /// Its token; `None`: it needs none.
    pub(super) const fn token(&self) -> Option<TokenId> {
        self.token
    }

    /// Whether it came over the node's own socket.
    pub(super) fn is_local(&self) -> bool {
        self.origin == Origin::Local
    }

    /// Returns when its token is good for nothing any more, with the refusal: what it began before ends then.
    pub(super) async fn over<B: Backend>(self, server: Server<B>) -> ApiError {
        let refused = |why: &str| {
            ApiError::new(Code::Unauthorized, "the request isn't authorized any more").because(why)
        };
        let Some(token) = self.token else { return std::future::pending().await };
        let mut published = server.published.cluster.subscribe();
        let is_gone = |cluster: &Arc<Cluster>| !cluster.tokens.values().any(|known| known.id == token);
        let revoked = async {
            // Nobody publishes any more: the daemon ends, and says so itself.
            if published.wait_for(is_gone).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let expiry = async {
            let Some(end) = self.expires_at else { return std::future::pending().await };
            // A wall clock that was set meanwhile is looked at anew.
            while server.now() < end {
                tokio::time::sleep(end.since(server.now()).min(server.tempo.collect_every)).await;
            }
        };
        tokio::select! {
            () = revoked => refused("its token was revoked"),
            () = expiry => refused("its token has expired"),
        }
    }

    /// Lets it change a project, or says why not: for those whose request names the project elsewhere than in its path.
    pub(super) fn may_deploy(&self, project: &ProjectName) -> Result<(), ApiError> {
        match self.role.deploys(project) {
            true => Ok(()),
            false => Err(forbidden(self, Access::Deploy, Some(project))),
        }
    }
}

/// The state as far as whoever asks may see it.
pub(super) struct Seen(pub(super) Arc<Cluster>);

impl<B: Backend> FromRequestParts<Server<B>> for Seen {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Server<B>) -> Result<Self, Refusal> {
        match parts.extensions.get::<Caller>() {
            Some(caller) => Ok(Self(server.cluster().seen_by(&caller.role))),
            None => Err(ApiError::new(Code::Forbidden, "nobody is known to have asked").into()),
        }
    }
}

/// Lets a request in, or says why not.
pub(super) fn admit<B: Backend>(
    server: &Inner<B>,
    origin: Origin,
    request: &Parts,
) -> Result<Caller, ApiError> {
    let (method, path) = (request.method.as_str(), request.uri.path());
    let cluster = server.cluster();
    let route = paths::find(method, path);
    let of_the_machine = route.is_some_and(|route| route.is_local() || route.path == paths::DOCTOR);
    let needs_no_cluster = of_the_machine && origin == Origin::Local;
    if !needs_no_cluster && !cluster.is_bootstrapped() {
        return Err(no_cluster(server.member.borrow().is_some()));
    }
    let caller = match origin {
        Origin::Local => Caller {
            name: "local".to_owned(),
            role: Role::Admin,
            token: None,
            expires_at: None,
            origin,
            once: None,
            what: what(method, path),
        },
        Origin::Remote(address) => {
            let caller = identify(server, &cluster, address, request)?;
            judge(server, &caller, route, request)?;
            caller
        }
    };
    Ok(caller)
}

fn what(method: &str, path: &str) -> String {
    cut(&format!("{method} {path}"))
}

fn cut(text: &str) -> String {
    text.chars().take(mill_model::limits::AUDIT_TEXT_CHARS_MAX).collect()
}

/// Finds out who asks, unless they have asked too often.
fn identify<B: Backend>(
    server: &Inner<B>,
    cluster: &Cluster,
    address: IpAddr,
    request: &Parts,
) -> Result<Caller, ApiError> {
    let (source, now, wall) = (Source::from(address), Instant::now(), server.now());
    let locked = server.guard.locked(source, now);
    let known = |token: TokenId| server.guard.knows(source, token, now, &server.tempo);
    let found = authenticate(cluster, request, wall);
    if let Some(wait) = locked
        && !found.as_ref().is_ok_and(|token| known(token.id))
    {
        return Err(locked_out(wait));
    }
    let token = match found {
        Ok(token) => token,
        Err(refused) => {
            let tried = request.headers.contains_key(AUTHORIZATION);
            let locked = tried.then(|| server.guard.failed(source, now, &server.tempo)).flatten();
            if let Some(wait) = locked {
                tracing::warn!(%address, ?wait, "address locked out: too many failed authentications");
            }
            return Err(refused);
        }
    };
    server.guard.forget(|id| cluster.tokens.values().any(|token| token.id == id));
    server.guard.opened(address, token.id, now, wall).map_err(|wait| too_often(token.name.as_str(), wait))?;
    Ok(Caller {
        name: token.name.to_string(),
        role: token.role.clone(),
        token: Some(token.id),
        expires_at: token.expires_at,
        origin: Origin::Remote(address),
        once: None,
        what: what(request.method.as_str(), request.uri.path()),
    })
}

/// Holds who asks against the table.
fn judge<B: Backend>(
    server: &Inner<B>,
    caller: &Caller,
    route: Option<&'static Route>,
    request: &Parts,
) -> Result<(), ApiError> {
    let path = request.uri.path();
    let Some(route) = route else {
        let inside = path.strip_prefix('/').and_then(|path| path.split('/').next());
        return match inside == Some(introspect_server::SERVICE_NAME) {
            // The tree of actors, for programs that speak gRPC: it can be looked at and restarted.
            true if Access::Admin.admits(&caller.role, None) => Ok(()),
            true => Err(forbidden(caller, Access::Admin, None)),
            false => Err(routes::no_such(&request.method, path)),
        };
    };
    if route.is_local() {
        return Err(ApiError::new(Code::Forbidden, format!("{path} is for the machine itself"))
            .because("it is answered over the node's local socket only")
            .hint("log in to the node and ask there, as root"));
    }
    let named = route.names_in(path).into_iter().flatten().find(|(name, _)| *name == "project");
    let project: Option<ProjectName> =
        named.map(|(_, text)| text.parse()).transpose().map_err(|error: mill_model::names::NameError| {
            ApiError::new(Code::BadRequest, "the path names nothing that can exist")
                .because(error.to_string())
        })?;
    if route.access.admits(&caller.role, project.as_ref()) {
        return Ok(());
    }
    let refused = forbidden(caller, route.access, project.as_ref());
    note_refused(server, caller, &refused.message);
    Err(refused)
}

/// Puts a refused write into the node's log, as long as it isn't full of them.
pub(super) fn note_refused<B: Backend>(server: &Inner<B>, caller: &Caller, why: &str) {
    let is_write = caller.what.split_once(' ').and_then(|(method, path)| paths::find(method, path));
    if !is_write.is_some_and(Route::is_write) {
        return;
    }
    let Some(unsaid) = server.guard.refused(Instant::now()) else { return };
    let (token, what) = (&caller.name, &caller.what);
    match caller.origin {
        Origin::Local => tracing::info!(%token, %what, %why, unsaid, "write refused"),
        Origin::Remote(from) => tracing::info!(%token, %from, %what, %why, unsaid, "write refused"),
    }
}

fn forbidden(caller: &Caller, access: Access, project: Option<&ProjectName>) -> ApiError {
    let Caller { name, role, what, .. } = caller;
    let error = ApiError::new(Code::Forbidden, format!("token `{name}` may not do this"));
    let elsewhere = project.filter(|project| !role.sees(project));
    let error = match elsewhere {
        Some(project) => error.because(format!("its role is {role}, and this is about `{project}`")),
        None => error.because(format!("its role is {role}, and {what} is for {}", access.who())),
    };
    error.hint(match (access, project) {
        (Access::See | Access::Deploy, Some(project)) => {
            format!("ask an admin for one that may: `mill token create --role deployer --project {project}`")
        }
        (Access::Deploy | Access::DeployAll, _) => {
            "ask an admin for one that may: `mill token create --role deployer`".to_owned()
        }
        (Access::See | Access::SeeAll, _) => {
            "ask an admin for one that may: `mill token create --role viewer`".to_owned()
        }
        (Access::Admin | Access::Local, _) => {
            "ask an admin; `mill token create --role admin`, as root on a node, makes one".to_owned()
        }
    })
}

fn locked_out(wait: Duration) -> ApiError {
    ApiError::new(Code::Overloaded, "too many authentications from this address have failed")
        .because("nothing from there is tried for a while, whatever its token is")
        .hint(format!(
            "try again in {} s; over the node's local socket there is no such wait",
            wait.as_secs().saturating_add(1)
        ))
        .retry_after(wait)
}

fn too_often(token: &str, wait: Duration) -> ApiError {
    ApiError::new(Code::Overloaded, format!("token `{token}` asks too often"))
        .because(format!(
            "it has {} requests a second in the long run",
            mill_model::limits::TOKEN_REQUESTS_PER_SECOND
        ))
        .hint("wait a moment between requests, or follow a stream instead of asking again and again")
        .retry_after(wait)
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

/// The token of a request, if it is one of the cluster's that isn't over.
fn authenticate<'a>(
    cluster: &'a Cluster,
    request: &Parts,
    now: Timestamp,
) -> Result<&'a mill_fsm::Token, ApiError> {
    let refused = |why: &str| {
        ApiError::new(Code::Unauthorized, "the request isn't authorized")
            .because(why)
            .hint("MILL_TOKEN, the file that MILL_TOKEN_FILE names, or the context holds the token; `mill login` takes another")
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
    for (known, token) in &cluster.tokens {
        if same(known, &hash) {
            found = Some(token);
        }
    }
    let found = found
        .ok_or_else(|| refused("the cluster knows no such token: it was revoked, or isn't this cluster's"))?;
    match found.expires_at.filter(|_| found.is_expired(now)) {
        None => Ok(found),
        Some(end) => Err(refused(&format!("token `{}` expired at {end}; it is {now} now", found.name)).hint(
            "ask an admin for another: `mill token create`; if the time is wrong, the node's clock is",
        )),
    }
}

/// Compares in a time that doesn't depend on where they differ.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
    black_box(difference) == 0
}
