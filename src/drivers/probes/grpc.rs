//! The gRPC health checking protocol, as much of it as a check needs.
//!
//! Written by hand after `grpc/health/v1/health.proto`: two messages of one field each.

use std::net::SocketAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::ProbeFailure;

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckRequest {
    /// Empty: the server as a whole.
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckResponse {
    /// `ServingStatus`
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

const SERVING: i32 = 1;
const METHOD: &str = "/grpc.health.v1.Health/Check";

/// The protocol's name of a `ServingStatus`.
const fn name(status: i32) -> &'static str {
    match status {
        SERVING => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

pub(super) async fn check(at: SocketAddr, timeout: Duration) -> Result<(), ProbeFailure> {
    let failed = |status: Status| ProbeFailure::Grpc { at, code: status.code(), source: Box::new(status) };
    let unavailable = |error: tonic::transport::Error| failed(Status::from_error(Box::new(error)));
    let endpoint = Endpoint::from_shared(format!("http://{at}")).map_err(unavailable)?;
    let channel = endpoint.connect_timeout(timeout).connect().await.map_err(unavailable)?;
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(unavailable)?;
    let request = Request::new(HealthCheckRequest { service: String::new() });
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let answer = client.unary(request, PathAndQuery::from_static(METHOD), codec).await.map_err(failed)?;
    match answer.into_inner().status {
        SERVING => Ok(()),
        status => Err(ProbeFailure::NotServing { at, status: name(status) }),
    }
}
