//! The plane's side of the conversation with the daemon.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use mill_model::Tempo;
use mill_rpc::v1;
use mill_rpc::v1::plane_server::Plane as Conversation;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use super::wire::stream_id;
use crate::kit::{Address, AskError};
use crate::logs::Progress;
use crate::tables::{self, SetError};

/// Answers the daemon.
pub(super) struct Rpc {
    pub(super) tables: Address<tables::Msg>,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) tempo: Arc<Tempo>,
}

#[tonic::async_trait]
impl Conversation for Rpc {
    async fn set_tables(
        &self,
        request: Request<v1::SetTablesRequest>,
    ) -> Result<Response<v1::SetTablesResponse>, Status> {
        let tables = request.into_inner().tables;
        let tables = tables.ok_or_else(|| Status::invalid_argument("there are no tables"))?;
        let set = |reply| tables::Msg::Set { tables, reply };
        let revision = self.tables.ask(self.tempo.ask_deadline, set).await.map_err(not_asked)?;
        let revision = revision.map_err(|error| refused(&error))?;
        // On disk isn't installed: whoever gets the answer counts on the streams being captured.
        let mut progress = self.progress.clone();
        let installed = progress.wait_for(|progress| progress.revision >= revision);
        match tokio::time::timeout(self.tempo.ask_deadline, installed).await {
            Ok(Ok(progress)) => {
                Ok(Response::new(v1::SetTablesResponse { installed_revision: progress.revision }))
            }
            Ok(Err(_)) => Err(Status::unavailable("the plane is restarting")),
            Err(_) => Err(Status::deadline_exceeded("the tables are kept and not installed yet")),
        }
    }

    type StatusStream = Pin<Box<dyn Stream<Item = Result<v1::StatusResponse, Status>> + Send>>;

    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<Self::StatusStream>, Status> {
        let told = WatchStream::new(self.progress.clone()).map(|progress| {
            Ok(v1::StatusResponse {
                installed_revision: progress.revision,
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                drained: progress.drained.iter().map(stream_id).collect(),
            })
        });
        Ok(Response::new(Box::pin(told)))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used with map_err")]
fn not_asked(error: AskError) -> Status {
    Status::unavailable(error.to_string())
}

fn refused(error: &SetError) -> Status {
    match error {
        SetError::Stale { .. } => Status::failed_precondition(error.to_string()),
        SetError::Unreadable { source } => Status::invalid_argument(format!("{error}: {source}")),
        SetError::Disk { source } => Status::unavailable(format!("{error}: {source}")),
    }
}
