//! How the cluster is known to registries: said, listed, forgotten. A password comes in, is sealed before it is written,
//! and isn't given out again.

use axum::Json;
use axum::extract::{Extension, State};
use mill_api::registries::{RegistryInfo, SetRegistry};
use mill_api::{ApiError, Code};
use mill_drivers::seal::Seal as _;
use mill_fsm::{Command, RegistryLogin};
use mill_model::limits::{NAME_LENGTH_MAX, REGISTRY_PASSWORD_BYTES_MAX};
use mill_model::{Hidden, RegistryHost};

use super::actors::Nothing;
use super::backend::Backend;
use super::body::{Named, Private};
use super::gate::Caller;
use super::reads::Answer;
use super::server::Server;
use crate::logins;

/// What is shown of a login.
pub(super) fn info(host: &RegistryHost, login: &RegistryLogin) -> RegistryInfo {
    RegistryInfo {
        host: host.clone(),
        user: login.user.clone(),
        set_at: login.set_at,
        set_by: login.set_by.clone(),
    }
}

pub(super) async fn list<B: Backend>(State(server): State<Server<B>>) -> Json<Vec<RegistryInfo>> {
    Json(server.cluster().registries.iter().map(|(host, login)| info(host, login)).collect())
}

pub(super) async fn set<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Private(SetRegistry { host, user, password }): Private<SetRegistry>,
) -> Answer<RegistryInfo> {
    let password = Hidden::new(password.into_bytes());
    check(&user, password.expose())?;
    let sealed = server.backend.seal().seal(&logins::label(&host), &password).map_err(|error| {
        ApiError::new(Code::Unavailable, "the password can't be sealed")
            .because(error.to_string())
            .hint("is `keys/cluster.key` in the node's data directory as Mill wrote it?")
    })?;
    let command = Command::SetRegistry {
        host: host.clone(),
        user: user.clone(),
        sealed: sealed.clone(),
        by: caller.name.clone(),
    };
    let is_there = |cluster: &mill_fsm::Cluster, _: &mill_fsm::Done| {
        cluster.registries.get(&host).is_some_and(|login| login.sealed == sealed)
    };
    // Sealed anew each time: only this text can tell it to who asks again.
    let told = RegistryInfo { host: host.clone(), user, set_at: server.now(), set_by: caller.name.clone() };
    let (cluster, _) = server.write(&caller.answering(&told), command, is_there).await?;
    match cluster.registries.contains_key(&host) {
        true => Ok(Json(told)),
        false => Err(ApiError::new(Code::Conflict, "the credentials were set, and forgotten at once")
            .hint("`mill registry list`")
            .into()),
    }
}

/// What HTTP's basic authentication can carry (RFC 7617 §2).
fn check(user: &str, password: &[u8]) -> Result<(), ApiError> {
    let bad = |what: &str, why: String| {
        Err(ApiError::new(Code::BadRequest, format!("the {what} can't be used"))
            .because(why)
            .hint("is it the right one?"))
    };
    let most = 8 * NAME_LENGTH_MAX;
    match () {
        () if user.is_empty() || user.len() > most => bad("user", format!("it has 1 to {most} bytes")),
        () if user.contains(':') || user.chars().any(char::is_control) => {
            bad("user", "it has a colon or a control character".to_owned())
        }
        () if password.is_empty() || password.len() > REGISTRY_PASSWORD_BYTES_MAX => {
            bad("password", format!("it has 1 to {REGISTRY_PASSWORD_BYTES_MAX} bytes"))
        }
        () if password.iter().any(u8::is_ascii_control) => {
            bad("password", "it has a control character".to_owned())
        }
        () => Ok(()),
    }
}

pub(super) async fn forget<B: Backend>(
    State(server): State<Server<B>>,
    Extension(caller): Extension<Caller>,
    Named(host): Named<RegistryHost>,
) -> Answer<Nothing> {
    let command = Command::DeleteRegistry { host: host.clone() };
    let caller = caller.answering(&Nothing {});
    server.write(&caller, command, |cluster, _| !cluster.registries.contains_key(&host)).await?;
    Ok(Json(Nothing {}))
}
