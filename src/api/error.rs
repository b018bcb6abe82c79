//! What every refusal looks like (product.md P10): what, why and what to do.

use std::time::Duration;

use http::StatusCode;
use mill_config::Complaint;
use mill_model::Advice;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The body of every answer that isn't a success.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize, JsonSchema)]
#[error("{message}")]
pub struct ApiError {
    /// For programs.
    pub code: Code,
    /// What was refused, in a sentence.
    pub message: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When the same may be asked again, in seconds; also the answer's `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// What is wrong with the config file, all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub complaints: Vec<Complaint>,
}

impl ApiError {
    /// A refusal without reason and hint yet.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reason: None,
            hint: None,
            retry_after_s: None,
            complaints: vec![],
        }
    }

    /// Says why.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Says when to ask again.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        // Whoever comes at the second's beginning would come too early.
        Self { retry_after_s: Some(wait.as_secs().saturating_add(1)), ..self }
    }

    /// Says what is wrong with the config file.
    #[must_use]
    pub fn complaints(self, complaints: Vec<Complaint>) -> Self {
        Self { complaints, ..self }
    }
}

/// Why a call was refused, for programs. Each has one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request makes no sense.
    BadRequest,
    /// The path is there and doesn't take this method; the answer's `Allow` says which it takes.
    BadMethod,
    /// The config file is wrong; `complaints` says where.
    BadConfig,
    /// A registry doesn't have, or doesn't give, an image that the config file names; `complaints` says which.
    NoImage,
    /// The token is missing or unknown.
    Unauthorized,
    /// The token may not do this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// A name means several things; the reason lists them.
    Ambiguous,
    /// It can't be done as things stand: another deploy's outcome, a state that forbids it.
    Conflict,
    /// The request is larger than [`mill_model::limits::API_REQUEST_BYTES_MAX`].
    TooLarge,
    /// As things stand no node can hold it.
    Unplaceable,
    /// Valid, but served by a later version of Mill only.
    NotYet,
    /// The queue for this is full, or it was asked too often. Later it may work.
    Overloaded,
    /// The daemon belongs to no cluster yet, has no leader, or is stopping. Later it may work.
    Unavailable,
    /// It took too long; whether it was done isn't known.
    Deadline,
    /// A part of the daemon crashed over it. It was started again.
    Crashed,
    /// A code of a later version.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// All that a server sends.
    pub const ALL: [Self; 16] = [
        Self::BadRequest,
        Self::BadMethod,
        Self::BadConfig,
        Self::NoImage,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Ambiguous,
        Self::Conflict,
        Self::TooLarge,
        Self::Unplaceable,
        Self::NotYet,
        Self::Overloaded,
        Self::Unavailable,
        Self::Deadline,
        Self::Crashed,
    ];

    /// What it says, for people who write programs.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::BadRequest => "the request makes no sense",
            Self::BadMethod => {
                "the path is there and doesn't take this method; the answer's `Allow` says which it takes"
            }
            Self::BadConfig => "the config file is wrong; `complaints` says where",
            Self::NoImage => {
                "a registry doesn't have, or doesn't give, an image that the config file names; `complaints` says which"
            }
            Self::Unauthorized => "the token is missing, unknown, revoked or expired",
            Self::Forbidden => "the token may not do this, or it is for the machine itself",
            Self::NotFound => "there is no such thing",
            Self::Ambiguous => "a name means several things; the reason lists them",
            Self::Conflict => "it can't be done as things stand",
            Self::TooLarge => "the request is too large",
            Self::Unplaceable => "as things stand no node can hold it",
            Self::NotYet => "valid, but only a later version does it",
            Self::Overloaded => "the queue for this is full, or it was asked too often",
            Self::Unavailable => "the daemon belongs to no cluster yet, has no leader, or is stopping",
            Self::Deadline => "it took too long; whether it was done isn't known",
            Self::Crashed => "a part of the daemon crashed over it, and was started again",
            Self::Unknown => "a code of a later version",
        }
    }

    /// What it means, and what to do about it where the answer's own hint says nothing.
    pub const fn advice(self) -> Advice {
        let todo = match self {
            Self::BadRequest => {
                "docs/api.md has the routes with what they take; is `mill` of the server's version?"
            }
            Self::BadMethod => "docs/api.md has the methods that each path takes",
            Self::BadConfig => {
                "each complaint has its place and a hint; `mill plan` shows them without changing anything"
            }
            Self::NoImage => {
                "was it pushed, under that name? `mill registry login HOST` gives the cluster credentials"
            }
            Self::Unauthorized => {
                "`mill login URL` with a token that is good; an admin makes one: `mill token create`"
            }
            Self::Forbidden => "ask an admin for a token with that role: `mill token create --role ROLE`",
            Self::NotFound => "is it spelt so? `mill inspect NAME` suggests what is called alike",
            Self::Ambiguous => "say the whole name, or `KIND:NAME` to `mill inspect`",
            Self::Conflict => "the reason says what is in the way; wait for it, or end it",
            Self::TooLarge => "the reason says how much it may be",
            Self::Unplaceable => {
                "ask for less `cpu` or `memory`, or make room: `mill nodes` shows what is reserved"
            }
            Self::NotYet => "take it out of the config, or wait for the version that does it",
            Self::Overloaded => "ask less often; `Retry-After` says when again",
            Self::Unavailable => {
                "`mill status` and `mill doctor` on the node say what it waits for; before `mill init` there is no cluster"
            }
            Self::Deadline => "look whether it was done before asking again; `mill actors` shows who is busy",
            Self::Crashed => "`journalctl -u mill` on the node has the crash; please report it",
            Self::Unknown => "use a `mill` of the server's version",
        };
        Advice::mend(self.meaning(), todo)
    }

    /// The HTTP status that goes with it.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::BadMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadConfig | Self::NoImage | Self::Unplaceable => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Ambiguous | Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotYet => StatusCode::NOT_IMPLEMENTED,
            Self::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Self::Crashed | Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the same call may succeed a little later.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Overloaded | Self::Unavailable | Self::Deadline | Self::Crashed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_back_and_leaves_out_what_it_has_not() {
        let error = ApiError::new(Code::NotFound, "there is no service `wbe`").hint("did you mean `web`?");
        let text = serde_json::to_string(&error).unwrap();
        assert_eq!(
            text,
            r#"{"code":"not_found","message":"there is no service `wbe`","hint":"did you mean `web`?"}"#
        );
        assert_eq!(serde_json::from_str::<ApiError>(&text).unwrap(), error);
        let later = r#"{"code":"too_hot","message":"m","new":1}"#;
        assert_eq!(serde_json::from_str::<ApiError>(later).unwrap().code, Code::Unknown);
    }

    #[test]
    fn every_code_is_an_error_status() {
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
        }
    }
}
