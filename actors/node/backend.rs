//! What the API asks of its node beyond the replicated state.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use mill_api::daemon::{InitRequest, Initialized};
use mill_api::doctor::Finding;
use mill_api::{ApiError, Code};
use mill_drivers::bundle::{Drivers, Outside};
use mill_drivers::clock::Clock as _;
use mill_drivers::datapath::{Datapath as _, Mode};
use mill_drivers::home::NextCa;
use mill_drivers::random::Random as _;
use mill_model::Timestamp;

use tokio::sync::watch;
use tonic::transport::Endpoint;

use super::Msg;
use crate::http::{Backend, Moment};
use crate::images::Pulls;
use crate::introspect;
use crate::kit::{ActorInfo, Address, Introspect};
use crate::metrics::Used;

/// Looks at the machine.
pub type Doctor = Arc<dyn Fn() -> BoxFuture<'static, Vec<Finding>> + Send + Sync>;

/// The node behind its API.
#[derive(Clone)]
pub struct NodeBackend<O> {
    pub(super) outside: O,
    pub(super) doctor: Doctor,
    pub(super) root: Address<Msg>,
    /// The daemon's tree.
    pub(super) actors: Introspect,
    /// The plane's socket.
    pub(super) plane: PathBuf,
    pub(super) pulls: Pulls,
    pub(super) used: watch::Receiver<Arc<Used>>,
    pub(super) tempo: Arc<mill_model::Tempo>,
}

impl<O: Outside> Backend for NodeBackend<O> {
    type Images = <O::Drivers as Drivers>::Images;
    type Logs = O::Logs;
    type Seal = <O::Drivers as Drivers>::Seal;
    type Containers = <O::Drivers as Drivers>::Containers;

    fn images(&self) -> &Self::Images {
        self.outside.drivers().images()
    }

    fn logs(&self) -> &O::Logs {
        self.outside.logs()
    }

    fn seal(&self) -> &Self::Seal {
        self.outside.drivers().seal()
    }

    fn containers(&self) -> &Self::Containers {
        self.outside.drivers().containers()
    }

    fn draw(&self, bytes: &mut [u8]) -> Result<(), ApiError> {
        self.outside.random().fill(bytes).map_err(|error| {
            ApiError::new(Code::Unavailable, "the system gives no random bytes").because(error.to_string())
        })
    }

    fn now(&self) -> Timestamp {
        self.outside.drivers().clock().now()
    }

    fn moment(&self) -> Moment {
        let unmapped = match self.outside.drivers().datapath().mode() {
            Mode::Kernel => None,
            Mode::Fallback { reason } => Some(reason),
        };
        let used = Arc::clone(&self.used.borrow());
        Moment { pulls: self.pulls.now(), ahead: self.pulls.ahead(), used, unmapped }
    }

    async fn init(&self, request: InitRequest) -> Result<Initialized, ApiError> {
        let deadline = self.tempo.write_deadline * 3;
        let answer = self.root.ask(deadline, |reply| Msg::Init { request, reply }).await;
        answer.unwrap_or_else(|error| {
            Err(ApiError::new(Code::Unavailable, "the daemon did not answer").because(error.to_string()))
        })
    }

    async fn next_ca(&self) -> Result<NextCa, ApiError> {
        let answer = self.root.ask(self.tempo.ask_deadline, |reply| Msg::PrepareCa { reply }).await;
        answer.unwrap_or_else(|error| {
            Err(ApiError::new(Code::Unavailable, "the daemon did not answer").because(error.to_string()))
        })
    }

    async fn doctor(&self) -> Vec<Finding> {
        (self.doctor)().await
    }

    fn daemon_actors(&self) -> Option<Introspect> {
        Some(self.actors.clone())
    }

    async fn plane_actors(&self) -> Result<ActorInfo, ApiError> {
        self.plane_tree()?.tree().await.map_err(|error| away(&error))
    }

    async fn restart_plane_actor(&self, path: &str) -> Result<(), ApiError> {
        self.plane_tree()?.restart(path).await.map_err(|error| away(&error))
    }

    fn plane_pid(&self) -> Option<u32> {
        mill_drivers::process::listener(&self.plane)
    }
}

fn away(error: &dyn std::error::Error) -> ApiError {
    ApiError::new(Code::Unavailable, "the plane did not answer").because(error.to_string())
}

impl<O> NodeBackend<O> {
    /// The plane's tree, over a connection of its own: it is looked at rarely.
    fn plane_tree(&self) -> Result<introspect::Client, ApiError> {
        let endpoint = Endpoint::from_shared(format!("unix:{}", self.plane.display()));
        let channel = endpoint.map_err(|error| away(&error))?.connect_lazy();
        Ok(introspect::Client::new(channel, self.tempo.ask_deadline))
    }
}
