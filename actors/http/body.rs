//! What comes in with a request, read within bounds and refused in words.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use mill_api::{ApiError, Code};
use mill_model::limits::API_REQUEST_BYTES_MAX;
use serde::de::DeserializeOwned;

use super::backend::Backend;
use super::refusal::Refusal;
use super::server::Server;

/// A body of JSON.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, B: Backend> FromRequest<Server<B>> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, server: &Server<B>) -> Result<Self, Refusal> {
        let bytes = whole(request, server).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let why = ApiError::new(Code::BadRequest, "the request's body isn't what this route takes");
            why.because(error.to_string()).hint("a body is JSON; `mill --help` sends the right one").into()
        })
    }
}

/// A body of JSON with something in it that no answer and no log may repeat. A parser's complaint would.
pub(super) struct Private<T>(pub(super) T);

impl<T: DeserializeOwned, B: Backend> FromRequest<Server<B>> for Private<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, server: &Server<B>) -> Result<Self, Refusal> {
        let bytes = whole(request, server).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let why = ApiError::new(Code::BadRequest, "the request's body isn't what this route takes");
            let place = format!("at line {}, column {}", error.line(), error.column());
            why.because(format!("{place}; what stands there isn't repeated, it may be a secret"))
                .hint("a body is JSON; `mill --help` sends the right one")
                .into()
        })
    }
}

async fn whole<B: Backend>(request: Request, server: &Server<B>) -> Result<Bytes, Refusal> {
    collect(request.into_body(), server).await
}

/// All of a body, within bounds of length and time.
pub(super) async fn collect<B: Backend, T>(body: T, server: &Server<B>) -> Result<Bytes, Refusal>
where
    T: hyper::body::Body,
    T::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let deadline = server.tempo.api_body_deadline;
    let body = Limited::new(body, API_REQUEST_BYTES_MAX).collect();
    match tokio::time::timeout(deadline, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large().into()),
        Ok(Err(error)) => Err(unreadable().because(error.to_string()).into()),
        Err(_) => Err(unreadable().because(format!("it took longer than {deadline:?}")).into()),
    }
}

fn unreadable() -> ApiError {
    ApiError::new(Code::BadRequest, "the request's body can't be read")
}

fn too_large() -> ApiError {
    ApiError::new(Code::TooLarge, "the request is too large")
        .because(format!("a request's body has at most {API_REQUEST_BYTES_MAX} bytes"))
        .hint("is it the right file?")
}

/// Segments of the path.
pub(super) struct Named<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Path::<T>::from_request_parts(parts, state).await.map(|Path(named)| Self(named)).map_err(
            |rejection: PathRejection| {
                ApiError::new(Code::BadRequest, "the path names nothing that can exist")
                    .because(rejection.body_text())
                    .into()
            },
        )
    }
}

/// The query.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Query::<T>::from_request_parts(parts, state).await.map(|Query(asked)| Self(asked)).map_err(
            |rejection: QueryRejection| {
                ApiError::new(Code::BadRequest, "the query isn't what this route takes")
                    .because(rejection.body_text())
                    .into()
            },
        )
    }
}
