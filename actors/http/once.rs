//! Writes that are done once, however often they are asked for: `Idempotency-Key`.
//!
//! The state remembers what was done under a key ([`mill_fsm::Once`]): an entry with a known key changes nothing and is
//! told what the first one made. Most routes make their answer of that. This module answers what they can't: by then
//! their own look at things would refuse a request that was done.

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, header::HeaderName};
use hyper::body::Incoming;
use mill_api::paths::{self, IDEMPOTENCY_KEY, Route};
use mill_api::{ApiError, Code};
use mill_fsm::{Done, DoneOnce, Once};
use mill_model::TokenId;
use mill_model::limits::{IDEMPOTENCY_KEY_CHARS_MAX, ONCE_ANSWER_BYTES_MAX};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::backend::Backend;
use super::body::collect;
use super::gate::Caller;
use super::present::deploys;
use super::refusal::{Refusal, no_such_deploy, not_proposed};
use super::server::Server;
use super::tasks;
use crate::raft::ProposeError;

/// Set in an answer to a request that was done before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What a request with a key comes to.
pub(super) enum Keyed {
    /// It is handled, with this body.
    New(Body),
    /// It was done before.
    Done(Response),
}

/// Reads the key of a request, if it has one that matters, and looks whether it was done before.
pub(super) async fn look<B: Backend>(
    server: &Server<B>,
    caller: &mut Caller,
    parts: &Parts,
    body: Incoming,
) -> Result<Keyed, Refusal> {
    let route = paths::find(parts.method.as_str(), parts.uri.path()).filter(|route| route.is_done_once());
    let (Some(route), Some(key)) = (route, parts.headers.get(IDEMPOTENCY_KEY)) else {
        return Ok(Keyed::New(Body::new(body)));
    };
    let key = readable(key)?;
    let body = collect(body, server).await?;
    let once = once(caller.token(), key, parts, &body);
    let cluster = server.cluster();
    let before =
        cluster.done_before(&once).map_err(|rejected| not_proposed(ProposeError::Rejected(rejected)))?;
    if let Some(answer) = before.map(|before| answer(server, route, before)).transpose()?.flatten() {
        return Ok(Keyed::Done(answer));
    }
    caller.once = Some(once);
    Ok(Keyed::New(Body::from(body)))
}

/// The answer to what was done before; `None`: its route makes it.
fn answer<B: Backend>(
    server: &Server<B>,
    route: &Route,
    before: &DoneOnce,
) -> Result<Option<Response>, ApiError> {
    let mut response = match (&before.once.answer, &before.done) {
        (Some(text), _) => {
            let json = HeaderValue::from_static("application/json");
            ([(CONTENT_TYPE, json)], text.clone()).into_response()
        }
        (None, Done::Deploy(id)) if route.answers == "Deploy" => {
            let cluster = server.cluster();
            let deploy = cluster.deploys.get(id).ok_or_else(|| no_such_deploy(*id))?;
            Json(deploys::deploy(&cluster, deploy)).into_response()
        }
        (None, Done::Task(id)) => Json(tasks::shown(server, &server.cluster(), id)?).into_response(),
        (None, Done::Token(id)) => return Err(shown_once(*id)),
        _ => return Ok(None),
    };
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(Some(response))
}

fn shown_once(id: TokenId) -> ApiError {
    ApiError::new(Code::Conflict, format!("this request has made token {id} already"))
        .because("a token is shown once, in the first answer: the cluster keeps only its hash")
        .hint(format!("if that answer was lost: `mill token revoke {id}`, and make another"))
}

fn readable(key: &HeaderValue) -> Result<&str, ApiError> {
    let is_good = |key: &&str| {
        (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    key.to_str().ok().filter(is_good).ok_or_else(|| {
        ApiError::new(Code::BadRequest, "the idempotency key can't be one")
            .because(format!("a key has 1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters"))
            .hint("a random UUID is a good one")
    })
}

/// What a request is known by. Whoever asks is part of it: nobody meets another's keys.
fn once(token: Option<TokenId>, key: &str, parts: &Parts, body: &Bytes) -> Once {
    let who = token.map_or_else(|| "local".to_owned(), |token| token.to_string());
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    Once {
        key: digest(&[b"key", who.as_bytes(), key.as_bytes()]),
        request: digest(&[
            b"request",
            key.as_bytes(),
            parts.method.as_str().as_bytes(),
            target.as_bytes(),
            body,
        ]),
        answer: None,
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

impl Caller {
    /// The same, with the answer kept for who asks again: what it shows is gone by then.
    pub(super) fn answering(&self, answer: &impl Serialize) -> Self {
        let text = serde_json::to_string(answer).ok().filter(|text| text.len() <= ONCE_ANSWER_BYTES_MAX);
        let mut caller = self.clone();
        caller.once = caller.once.map(|once| Once { answer: text, ..once });
        caller
    }

    /// The same for one of several writes that a request comes to.
    pub(super) fn for_part(&self, part: &str) -> Self {
        let mut caller = self.clone();
        caller.once = caller.once.map(|once| Once { key: digest(&[&once.key, part.as_bytes()]), ..once });
        caller
    }
}
