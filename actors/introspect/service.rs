//! The answering side.

use mill_rpc::v1;
use mill_rpc::v1::introspect_server::{Introspect as Conversation, IntrospectServer};
use tonic::{Request, Response, Status};

use super::convert::to_wire;
use crate::kit::{Introspect, RestartError};

/// Answers for the actors of one tree.
#[derive(Debug, Clone)]
pub struct Service {
    tree: Introspect,
}

impl Service {
    /// A service that shows `tree`, ready for a router.
    pub fn server(tree: Introspect) -> IntrospectServer<Self> {
        IntrospectServer::new(Self { tree })
    }
}

#[tonic::async_trait]
impl Conversation for Service {
    async fn tree(&self, _request: Request<v1::TreeRequest>) -> Result<Response<v1::TreeResponse>, Status> {
        let root = to_wire(self.tree.tree().await);
        Ok(Response::new(v1::TreeResponse { root: Some(root) }))
    }

    async fn restart(
        &self,
        request: Request<v1::RestartRequest>,
    ) -> Result<Response<v1::RestartResponse>, Status> {
        let restarted = self.tree.restart(&request.into_inner().path).await;
        restarted.map_err(|error| match error {
            RestartError::NoSuchActor { .. } => Status::not_found(error.to_string()),
            RestartError::Stopping { .. } => Status::failed_precondition(error.to_string()),
        })?;
        Ok(Response::new(v1::RestartResponse {}))
    }
}
