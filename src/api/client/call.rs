//! One request and its answer.

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use mill_model::Tempo;
use mill_model::limits::API_ANSWER_BYTES_MAX;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::error::{ClientError, Cut};
use super::transport::{Sender, Transport};
use crate::error::ApiError;
use crate::exec::PROTOCOL;
use crate::paths::IDEMPOTENCY_KEY;
use crate::sse;

/// What is asked.
pub(super) struct Request<'a> {
    pub method: Method,
    /// With its query.
    pub path: &'a str,
    /// JSON.
    pub body: Option<Vec<u8>>,
    /// What tells this write from another of the same.
    pub once: Option<String>,
    /// Given for streams: where to go on, empty at first.
    pub last_event_id: Option<&'a str>,
}

/// The whole body of a successful answer.
pub(super) async fn whole(
    transport: &Transport,
    tempo: &Tempo,
    request: &Request<'_>,
) -> Result<Bytes, ClientError> {
    let (_sender, body) = open(transport, tempo, request).await?;
    collect(transport, body).await
}

/// The body of a successful answer, still to be read. The sender holds the connection open.
pub(super) async fn open(
    transport: &Transport,
    tempo: &Tempo,
    request: &Request<'_>,
) -> Result<(Sender, Incoming), ClientError> {
    let mut sender = transport.connect(tempo).await?;
    let response =
        sender.send_request(encode(transport, request)?).await.map_err(|source| cut(transport, source))?;
    match response.status().is_success() {
        true => Ok((sender, response.into_body())),
        false => Err(refused(transport, response).await?),
    }
}

/// A connection that became a WebSocket's (RFC 6455 §4.1).
pub(super) async fn upgrade(
    transport: &Transport,
    tempo: &Tempo,
    path: &str,
) -> Result<Upgraded, ClientError> {
    let mut sender = transport.connect(tempo).await?;
    let request = Request { method: Method::GET, path, body: None, once: None, last_event_id: None };
    let mut request = encode(transport, &request)?;
    let key = generate_key();
    let invalid = |wrong: http::header::InvalidHeaderValue| ClientError::Request {
        source: serde::ser::Error::custom(wrong),
    };
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(&key).map_err(invalid)?);
    let response = sender.send_request(request).await.map_err(|source| cut(transport, source))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(transport, response).await?);
    }
    let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
    if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        let status = response.status().as_u16();
        return Err(ClientError::Unexplained { endpoint: transport.to_string(), status });
    }
    hyper::upgrade::on(response).await.map_err(|source| cut(transport, source))
}

/// Why an answer isn't what was asked for.
async fn refused(
    transport: &Transport,
    response: http::Response<Incoming>,
) -> Result<ClientError, ClientError> {
    let (head, body) = response.into_parts();
    let body = collect(transport, body).await?;
    Ok(match serde_json::from_slice::<ApiError>(&body) {
        Ok(error) => ClientError::Refused(Box::new(error)),
        Err(_) => ClientError::Unexplained { endpoint: transport.to_string(), status: head.status.as_u16() },
    })
}

fn encode(transport: &Transport, request: &Request<'_>) -> Result<http::Request<Full<Bytes>>, ClientError> {
    let mut http = http::Request::new(Full::new(Bytes::from(request.body.clone().unwrap_or_default())));
    let invalid =
        |source: &dyn std::fmt::Display| ClientError::Request { source: serde::ser::Error::custom(source) };
    *http.method_mut() = request.method.clone();
    *http.uri_mut() = request.path.parse().map_err(|wrong: http::uri::InvalidUri| invalid(&wrong))?;
    let headers = http.headers_mut();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|wrong| invalid(&wrong));
    headers.insert(HOST, value(&transport.host())?);
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("mill/", env!("CARGO_PKG_VERSION"))));
    if let Some(authorization) = transport.authorization() {
        let mut authorization = value(&authorization)?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
    }
    if request.body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(key) = &request.once {
        headers.insert(IDEMPOTENCY_KEY, value(key)?);
    }
    match request.last_event_id {
        None => drop(headers.insert(ACCEPT, HeaderValue::from_static("application/json"))),
        Some(id) => {
            headers.insert(ACCEPT, HeaderValue::from_static(sse::CONTENT_TYPE));
            if !id.is_empty() {
                headers.insert(sse::LAST_EVENT_ID, value(id)?);
            }
        }
    }
    Ok(http)
}

async fn collect(transport: &Transport, mut body: Incoming) -> Result<Bytes, ClientError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| cut(transport, source))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > API_ANSWER_BYTES_MAX {
            return Err(ClientError::TooLarge { endpoint: transport.to_string(), max: API_ANSWER_BYTES_MAX });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

fn cut(transport: &Transport, source: hyper::Error) -> ClientError {
    ClientError::Cut { endpoint: transport.to_string(), source: Cut::Broken(source) }
}
