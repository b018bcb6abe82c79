//! The connection to a plane.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mill_rpc::v1;
use mill_rpc::v1::plane_client::PlaneClient;
use thiserror::Error;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// Why the plane isn't reached.
#[derive(Debug, Error)]
pub enum LinkError {
    /// Nobody listens at its socket.
    #[error("no plane listens at its socket")]
    Absent {
        /// The transport's reason.
        source: tonic::transport::Error,
    },
    /// It didn't answer as it should.
    #[error("the plane did not answer")]
    Call {
        /// What came back.
        source: Box<Status>,
    },
    /// It took longer than it may.
    #[error("the plane did not answer in time")]
    Deadline,
    /// It has ended, or closed the connection.
    #[error("the plane has closed the connection")]
    Closed,
}

/// A plane that is reached.
#[derive(Clone)]
pub(super) struct Plane {
    client: PlaneClient<Channel>,
    pid: u32,
}

impl fmt::Debug for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plane({})", self.pid)
    }
}

/// A fresh connection.
#[derive(Debug)]
pub struct Connected {
    pub(super) plane: Plane,
    pub(super) followed: Followed,
}

/// What the plane says of itself, and where it will say more.
#[derive(Debug)]
pub struct Followed {
    pub(super) status: v1::StatusResponse,
    pub(super) more: Streaming<v1::StatusResponse>,
}

impl Plane {
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends tables; the revision that is installed then.
    pub(super) async fn set(mut self, tables: v1::Tables, deadline: Duration) -> Result<u64, LinkError> {
        let mut request = Request::new(v1::SetTablesRequest { tables: Some(tables) });
        request.set_timeout(deadline);
        let answer = self.client.set_tables(request).await.map_err(call)?;
        Ok(answer.into_inner().installed_revision)
    }
}

/// Reaches the plane at `socket` and hears how it is.
pub(super) async fn connect(socket: PathBuf, deadline: Duration) -> Result<Connected, LinkError> {
    let reach = async {
        let absent = |source| LinkError::Absent { source };
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).map_err(absent)?;
        let mut client = PlaneClient::new(endpoint.connect().await.map_err(absent)?);
        let more = client.status(v1::StatusRequest {}).await.map_err(call)?.into_inner();
        let followed = follow(more).await?;
        Ok(Connected { plane: Plane { client, pid: followed.status.pid }, followed })
    };
    tokio::time::timeout(deadline, reach).await.unwrap_or(Err(LinkError::Deadline))
}

/// Waits for the plane's next word about itself.
pub(super) async fn follow(mut more: Streaming<v1::StatusResponse>) -> Result<Followed, LinkError> {
    let status = more.message().await.map_err(call)?.ok_or(LinkError::Closed)?;
    Ok(Followed { status, more })
}

fn call(status: Status) -> LinkError {
    LinkError::Call { source: Box::new(status) }
}
