//! Tokens are made, listed and revoked; who asks is told who they are.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use mill_api::names::closest;
use mill_api::token::{SECRET_BYTES, TokenKind};
use mill_api::tokens::{CreateToken, CreatedToken, TokenInfo, Whoami, role};
use mill_api::trust::{Fingerprint, Trust};
use mill_api::{ApiError, Code, Token};
use mill_fsm::{Cluster, Command, Done, NewToken};
use mill_model::limits::{DURATION_MAX, TOKEN_PROJECTS_MAX};
use mill_model::{RoleName, Timestamp, TokenId, TokenName};

use super::backend::Backend;
use super::body::{Body, Named};
use super::gate::Caller;
use super::reads::Answer;
use super::server::Server;

/// Longest life that a token can be given: longer is for ever. Ten years.
const LIFE_MAX: Duration = DURATION_MAX.saturating_mul(122);

pub(super) async fn whoami<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
) -> Json<Whoami> {
    let ca = match Trust::from_pem(&server.cluster().ca_certificate) {
        Ok(Trust::Certificate(ca)) => Some(Fingerprint::of(&ca)),
        Ok(Trust::Pinned(_)) | Err(_) => None,
    };
    Json(Whoami {
        ca,
        role: caller.role.name(),
        projects: caller.role.only().cloned(),
        name: caller.name,
        expires_at: caller.expires_at,
        cluster: server.cluster().id.clone(),
        node: server.node_name().to_string(),
    })
}

pub(super) async fn list<B: Backend>(State(server): State<Server<B>>) -> Json<Vec<TokenInfo>> {
    let cluster = server.cluster();
    let mut tokens: Vec<&mill_fsm::Token> = cluster.tokens.values().collect();
    tokens.sort_by_key(|token| token.id);
    Json(tokens.into_iter().map(|token| info(&server, token)).collect())
}

/// What is shown of a token.
pub(super) fn info<B: Backend>(server: &Server<B>, token: &mill_fsm::Token) -> TokenInfo {
    TokenInfo {
        id: token.id,
        name: token.name.clone(),
        role: token.role.name(),
        projects: token.role.only().cloned(),
        created_at: token.created_at,
        created_by: token.created_by.clone(),
        expires_at: token.expires_at,
        expired: token.is_expired(server.now()),
        last_used: server.guard.last_used(token.id),
    }
}

pub(super) async fn create<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<CreateToken>,
) -> Answer<CreatedToken> {
    let cluster = server.cluster();
    let role = role(request.role, request.projects.as_ref()).ok_or_else(|| no_such_role(&request))?;
    if role.only().is_some_and(|only| only.len() > TOKEN_PROJECTS_MAX) {
        return Err(ApiError::new(Code::BadRequest, "the token names too many projects")
            .because(format!("a token is held to at most {TOKEN_PROJECTS_MAX}"))
            .hint("a deployer without projects has all of them")
            .into());
    }
    let expires_at = match request.expires_in_ms {
        None => None,
        Some(ms) => Some(end(server.now(), Duration::from_millis(ms), server.tempo.token_life_min)?),
    };
    let name = match request.name {
        Some(name) => name,
        None => free_name(&cluster, request.role)?,
    };
    let mut secret = [0; SECRET_BYTES];
    server.backend.draw(&mut secret)?;
    let ca = Trust::from_pem(&cluster.ca_certificate);
    let Ok(Trust::Certificate(ca)) = ca else {
        return Err(ApiError::new(Code::Crashed, "the cluster's CA certificate can't be read")
            .hint("this is a defect of Mill: please report it")
            .into());
    };
    let token = Token::new(TokenKind::Api, secret, Fingerprint::of(&ca));
    let new = NewToken { name, role, hash: token.secret_hash(), expires_at, by: caller.name.clone() };
    let hash = new.hash;
    let is_there = |cluster: &Cluster, _: &Done| cluster.tokens.contains_key(&hash);
    let (cluster, _) = server.write(&caller, Command::CreateToken(new), is_there).await?;
    let made = cluster.tokens.get(&hash).ok_or_else(|| {
        ApiError::new(Code::Conflict, "the token was made, and revoked before it could be shown")
            .hint("`mill token list` shows those that there are")
    })?;
    Ok(Json(CreatedToken { token, info: info(&server, made) }))
}

fn no_such_role(request: &CreateToken) -> ApiError {
    let role = request.role;
    ApiError::new(Code::BadRequest, format!("there is no {role} of these projects"))
        .because(match role {
            RoleName::Deployer => "an empty list of projects would be nobody's",
            RoleName::Viewer | RoleName::Admin => "only deployers are held to projects",
        })
        .hint("leave the projects away, or make it a deployer's")
}

/// When a token that lives so long ends.
fn end(now: Timestamp, life: Duration, shortest: Duration) -> Result<Timestamp, ApiError> {
    if life < shortest || life > LIFE_MAX {
        let shown = humantime::format_duration;
        return Err(ApiError::new(Code::BadRequest, format!("a token can't live for {}", shown(life)))
            .because(format!(
                "it lives at least {} and at most {} days",
                shown(shortest),
                LIFE_MAX.as_secs() / 86_400
            ))
            .hint("without an end it lives until it is revoked"));
    }
    Ok(now.after(life))
}

/// The first of `deployer-1`, `deployer-2` that is free.
fn free_name(cluster: &Cluster, role: RoleName) -> Result<TokenName, ApiError> {
    let free = |name: &TokenName| !cluster.tokens.values().any(|token| token.name == *name);
    let numbered =
        (1..=cluster.tokens.len() + 1).filter_map(|number| TokenName::new(format!("{role}-{number}")).ok());
    let name = numbered.into_iter().find(free);
    name.ok_or_else(|| ApiError::new(Code::Conflict, "no name is free").hint("give the token one"))
}

fn by_id(cluster: &Cluster, id: TokenId) -> Option<&mill_fsm::Token> {
    cluster.tokens.values().find(|token| token.id == id)
}

pub(super) async fn revoke<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Named(name): Named<String>,
) -> Answer<TokenInfo> {
    let cluster = server.cluster();
    let number = name.parse().ok().map(TokenId);
    let named = cluster.tokens.values().find(|token| token.name.as_str() == name);
    let token = named.or_else(|| by_id(&cluster, number?)).ok_or_else(|| no_such_token(&cluster, &name))?;
    let revoked = info(&server, token);
    // Who is root on a node can make another; from afar nobody could.
    let even_last_admin = caller.is_local();
    let command = Command::RevokeToken { token: token.id, even_last_admin };
    let caller = caller.answering(&revoked);
    server.write(&caller, command, |cluster, _| by_id(cluster, revoked.id).is_none()).await?;
    Ok(Json(revoked))
}

fn no_such_token(cluster: &Cluster, name: &str) -> ApiError {
    let shown: String = name.chars().take(mill_model::limits::NAME_LENGTH_MAX).collect();
    let similar = closest(name, cluster.tokens.values().map(|token| token.name.to_string()));
    ApiError::new(Code::NotFound, format!("there is no token `{shown}`")).hint(match similar.first() {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => "`mill token list` shows those that there are".to_owned(),
    })
}
