//! The answering side.

use std::fmt;
use std::sync::Arc;

use mill_rpc::v1;
use mill_rpc::v1::introspect_server::{Introspect as Conversation, IntrospectServer};
use tonic::{Request, Response, Status};

use super::convert::to_wire;
use crate::kit::{Introspect, RestartError};

/// Answers for the actors of one tree.
#[derive(Clone)]
pub struct Service {
    tree: Arc<dyn Fn() -> Option<Introspect> + Send + Sync>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// A service that shows `tree`, ready for a router; for as long as that answers `None` it says that it starts.
    pub fn server(tree: impl Fn() -> Option<Introspect> + Send + Sync + 'static) -> IntrospectServer<Self> {
        IntrospectServer::new(Self { tree: Arc::new(tree) })
    }

    fn tree(&self) -> Result<Introspect, Status> {
        (self.tree)().ok_or_else(|| Status::unavailable("the process is starting"))
    }
}

#[tonic::async_trait]
impl Conversation for Service {
    async fn tree(&self, _request: Request<v1::TreeRequest>) -> Result<Response<v1::TreeResponse>, Status> {
        let root = to_wire(self.tree()?.tree().await);
        Ok(Response::new(v1::TreeResponse { root: Some(root) }))
    }

    async fn restart(
        &self,
        request: Request<v1::RestartRequest>,
    ) -> Result<Response<v1::RestartResponse>, Status> {
        let restarted = self.tree()?.restart(&request.into_inner().path).await;
        restarted.map_err(|error| match error {
            RestartError::NoSuchActor { .. } => Status::not_found(error.to_string()),
            RestartError::Stopping { .. } => Status::failed_precondition(error.to_string()),
        })?;
        Ok(Response::new(v1::RestartResponse {}))
    }
}
