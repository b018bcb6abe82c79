//! The client: one method per route, the same over the local socket and over TLS.
//!
//! Every call has a deadline, every answer a bound. A write that lost its connection is asked for again
//! with the same idempotency key, so that it is done once; one that can't have a key isn't, and the error says that it
//! isn't known whether it was done. Reads of streams go on by themselves where they were cut.

mod access;
mod address;
mod call;
mod error;
mod exec;
mod secrets;
mod stream;
#[cfg(test)]
mod tests;
mod transport;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use mill_model::{DeployId, ProjectName, Tempo, Workload};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

pub use address::{Address, AddressError, DEFAULT_PORT};
pub use error::{ClientError, Cut};
pub use exec::{Exec, ExecHeard};
pub use stream::{Follow, Heard};

use crate::actors::{Actors, RestartActor};
use crate::allocs::{Alloc, AllocQuery};
use crate::daemon::{Daemon, InitRequest, Initialized};
use crate::deploys::{Deploy, DeployRequest, RollbackRequest, ScaleRequest};
use crate::doctor::Report;
use crate::events::{Event, EventQuery};
use crate::inspect::Inspected;
use crate::logs::{LogLine, LogQuery};
use crate::nodes::Node;
use crate::paths::{self, Route, fill, with_query};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::projects::{HistoryEntry, Project};
use crate::services::Service;
use crate::status::Status;
use crate::tasks::{SignalRequest, SpawnRequest, Task, TaskQuery};
use crate::token::Token;
use crate::tokens::Whoami;
use crate::top::Top;
use crate::trust::{Trust, TrustError};
use crate::why::Why;
use call::Request;
use transport::Transport;

/// A way to a cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    transport: Arc<Transport>,
    tempo: Arc<Tempo>,
}

impl Api {
    /// Over the local, root-only socket of this machine's daemon. No token is asked for there.
    pub fn local(socket: impl Into<PathBuf>) -> Self {
        Self::over(Transport::Socket { path: socket.into() })
    }

    /// Over TLS, with a token.
    ///
    /// # Errors
    /// The CA's certificate can't be used.
    pub fn remote(address: Address, token: Token, trust: &Trust) -> Result<Self, TrustError> {
        let config = Arc::new(trust.client_config()?);
        Ok(Self::over(Transport::Tls { address, token: Box::new(token), config }))
    }

    fn over(transport: Transport) -> Self {
        Self { transport: Arc::new(transport), tempo: Arc::new(Tempo::default()) }
    }

    /// With other durations.
    #[must_use]
    pub fn with_tempo(self, tempo: Tempo) -> Self {
        Self { tempo: Arc::new(tempo), ..self }
    }

    /// Where it leads, for people: a socket's path or a URL.
    pub fn endpoint(&self) -> String {
        self.transport.to_string()
    }

    /// The cluster on one page.
    ///
    /// # Errors
    /// As every call: [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get(paths::STATUS).await
    }

    /// Its nodes.
    ///
    /// # Errors
    /// As every call.
    pub async fn nodes(&self) -> Result<Vec<Node>, ClientError> {
        self.get(paths::NODES).await
    }

    /// Its services and tasks.
    ///
    /// # Errors
    /// As every call.
    pub async fn services(&self) -> Result<Vec<Service>, ClientError> {
        self.get(paths::SERVICES).await
    }

    /// Its allocs.
    ///
    /// # Errors
    /// As every call.
    pub async fn allocs(&self, query: &AllocQuery) -> Result<Vec<Alloc>, ClientError> {
        self.get(&with_query(paths::ALLOCS, query)).await
    }

    /// What nodes and allocs use now.
    ///
    /// # Errors
    /// As every call.
    pub async fn top(&self) -> Result<Top, ClientError> {
        self.get(paths::TOP).await
    }

    /// Its tasks.
    ///
    /// # Errors
    /// As every call.
    pub async fn tasks(&self, query: &TaskQuery) -> Result<Vec<Task>, ClientError> {
        self.get(&with_query(paths::TASKS, query)).await
    }

    /// Has a task run once.
    ///
    /// # Errors
    /// As every call.
    pub async fn spawn(&self, request: &SpawnRequest) -> Result<Task, ClientError> {
        self.write(Method::POST, paths::TASKS, request).await
    }

    /// A task, by its whole id.
    ///
    /// # Errors
    /// As every call.
    pub async fn task(&self, id: &str) -> Result<Task, ClientError> {
        self.get(&fill(paths::TASK, &[id])).await
    }

    /// Ends a task.
    ///
    /// # Errors
    /// As every call.
    pub async fn kill(&self, id: &str) -> Result<Task, ClientError> {
        self.write(Method::POST, &fill(paths::KILL, &[id]), &Nothing {}).await
    }

    /// Sends a task's program a signal.
    ///
    /// # Errors
    /// As every call.
    pub async fn signal(&self, id: &str, request: &SignalRequest) -> Result<Task, ClientError> {
        self.write(Method::POST, &fill(paths::SIGNAL, &[id]), request).await
    }

    /// Its projects.
    ///
    /// # Errors
    /// As every call.
    pub async fn projects(&self) -> Result<Vec<Project>, ClientError> {
        self.get(paths::PROJECTS).await
    }

    /// A project's deploys, newest first.
    ///
    /// # Errors
    /// As every call.
    pub async fn history(&self, project: &ProjectName) -> Result<Vec<HistoryEntry>, ClientError> {
        self.get(&fill(paths::HISTORY, &[project.as_str()])).await
    }

    /// What a deploy would do.
    ///
    /// # Errors
    /// As every call.
    pub async fn plan(&self, request: &DeployRequest) -> Result<Plan, ClientError> {
        self.write(Method::POST, paths::PLAN, request).await
    }

    /// Begins a deploy.
    ///
    /// # Errors
    /// As every call.
    pub async fn deploy(&self, request: &DeployRequest) -> Result<Deploy, ClientError> {
        self.write(Method::POST, paths::DEPLOYS, request).await
    }

    /// A deploy.
    ///
    /// # Errors
    /// As every call.
    pub async fn deploy_status(&self, id: DeployId) -> Result<Deploy, ClientError> {
        self.get(&fill(paths::DEPLOY, &[&id.to_string()])).await
    }

    /// What happens in a deploy, from its beginning to its end.
    ///
    /// # Errors
    /// As every call.
    pub async fn progress(&self, id: DeployId) -> Result<Follow<Progress>, ClientError> {
        self.follow(fill(paths::PROGRESS, &[&id.to_string()])).await
    }

    /// Calls a deploy off: it goes back to what was before.
    ///
    /// # Errors
    /// As every call.
    pub async fn cancel(&self, id: DeployId) -> Result<Deploy, ClientError> {
        self.write(Method::POST, &fill(paths::CANCEL, &[&id.to_string()]), &Nothing {}).await
    }

    /// Begins a deploy of an earlier config.
    ///
    /// # Errors
    /// As every call.
    pub async fn rollback(&self, project: &ProjectName, to: Option<DeployId>) -> Result<Deploy, ClientError> {
        let path = fill(paths::ROLLBACK, &[project.as_str()]);
        self.write(Method::POST, &path, &RollbackRequest { to }).await
    }

    /// Begins a deploy of another number of replicas.
    ///
    /// # Errors
    /// As every call.
    pub async fn scale(&self, service: &Workload, replicas: u32) -> Result<Deploy, ClientError> {
        let path = of_service(paths::SCALE, service);
        self.write(Method::POST, &path, &ScaleRequest { replicas }).await
    }

    /// Begins a deploy of the same again.
    ///
    /// # Errors
    /// As every call.
    pub async fn restart(&self, service: &Workload) -> Result<Deploy, ClientError> {
        self.write(Method::POST, &of_service(paths::RESTART, service), &Nothing {}).await
    }

    /// Begins to stop and forget all of a project.
    ///
    /// # Errors
    /// As every call.
    pub async fn undeploy(&self, project: &ProjectName) -> Result<Deploy, ClientError> {
        self.write(Method::DELETE, &fill(paths::PROJECT, &[project.as_str()]), &Nothing {}).await
    }

    /// Why a service is as it is.
    ///
    /// # Errors
    /// As every call.
    pub async fn why(&self, service: &Workload) -> Result<Why, ClientError> {
        self.get(&of_service(paths::WHY, service)).await
    }

    /// All that is known about one thing, by any of its names ([`crate::anything`]).
    ///
    /// # Errors
    /// As every call.
    pub async fn inspect(&self, anything: &str) -> Result<Inspected, ClientError> {
        self.get(&fill(paths::INSPECT, &[anything])).await
    }

    /// Lines that programs wrote.
    ///
    /// # Errors
    /// As every call.
    pub async fn logs(&self, query: &LogQuery) -> Result<Follow<LogLine>, ClientError> {
        self.follow(with_query(paths::LOGS, query)).await
    }

    /// Runs a program in a container: in an alloc, or in the only one that a service has.
    ///
    /// # Errors
    /// As every call.
    pub async fn exec(&self, name: &str) -> Result<Exec, ClientError> {
        Exec::open(&self.transport, &self.tempo, &fill(paths::EXEC, &[name])).await
    }

    /// What happened in the cluster, after event `since_id`.
    ///
    /// # Errors
    /// As every call.
    pub async fn events(&self, since_id: Option<u64>) -> Result<Vec<Event>, ClientError> {
        self.get(&with_query(paths::EVENTS, &EventQuery { follow: false, since_id })).await
    }

    /// What happens in the cluster, from after event `since_id` on.
    ///
    /// # Errors
    /// As every call.
    pub async fn follow_events(&self, since_id: Option<u64>) -> Result<Follow<Event>, ClientError> {
        self.follow(with_query(paths::EVENTS, &EventQuery { follow: true, since_id })).await
    }

    /// Both trees of actors of the node that answers.
    ///
    /// # Errors
    /// As every call.
    pub async fn actors(&self) -> Result<Actors, ClientError> {
        self.get(paths::ACTORS).await
    }

    /// Has an actor started again by its supervisor.
    ///
    /// # Errors
    /// As every call.
    pub async fn restart_actor(&self, path: &str) -> Result<(), ClientError> {
        let request = RestartActor { path: path.to_owned() };
        let Nothing {} = self.write(Method::POST, paths::ACTORS_RESTART, &request).await?;
        Ok(())
    }

    /// What the node that answers finds wrong with its machine.
    ///
    /// # Errors
    /// As every call.
    pub async fn doctor(&self) -> Result<Report, ClientError> {
        self.get(paths::DOCTOR).await
    }

    /// Who the cluster takes this one for.
    ///
    /// # Errors
    /// As every call.
    pub async fn whoami(&self) -> Result<Whoami, ClientError> {
        self.get(paths::WHOAMI).await
    }

    /// How this machine's daemon is. Local socket only.
    ///
    /// # Errors
    /// As every call.
    pub async fn daemon(&self) -> Result<Daemon, ClientError> {
        self.get(paths::DAEMON).await
    }

    /// Makes a new cluster of this machine's daemon. Local socket only.
    ///
    /// # Errors
    /// As every call.
    pub async fn init(&self, request: &InitRequest) -> Result<Initialized, ClientError> {
        self.write(Method::POST, paths::INIT, request).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, None, self.tempo.api_read_deadline).await
    }

    async fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|source| ClientError::Request { source })?;
        let after = self.tempo.api_write_deadline;
        let route = paths::find(method.as_str(), path.split('?').next().unwrap_or_default());
        if !route.is_some_and(Route::is_done_once) {
            return self.call(method, path, Some(body), after).await;
        }
        self.repeated(Request {
            method,
            path,
            body: Some(body),
            once: Some(generate_key()),
            last_event_id: None,
        })
        .await
    }

    /// Asks again when the connection was cut before the answer came, with the same key: it is done once.
    async fn repeated<T: DeserializeOwned>(&self, request: Request<'_>) -> Result<T, ClientError> {
        let begun = Instant::now();
        let mut cuts = 0;
        loop {
            let error = match self.ask(&request, self.tempo.api_write_deadline).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // Who never reached anybody hears so at once; a daemon that went while it answered comes back.
            let was_cut = matches!(error, ClientError::Cut { .. });
            if !(was_cut || cuts > 0 && error.is_transient())
                || begun.elapsed() >= self.tempo.api_reconnect_for
            {
                return Err(error);
            }
            cuts += 1;
            sleep(self.tempo.reconnect_delay(cuts)).await;
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        deadline: Duration,
    ) -> Result<T, ClientError> {
        self.ask(&Request { method, path, body, once: None, last_event_id: None }, deadline).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: &Request<'_>,
        deadline: Duration,
    ) -> Result<T, ClientError> {
        let answer = tokio::time::timeout(deadline, call::whole(&self.transport, &self.tempo, request))
            .await
            .map_err(|_| ClientError::Deadline { endpoint: self.endpoint(), after: deadline })??;
        serde_json::from_slice(&answer)
            .map_err(|source| ClientError::Garbled { endpoint: self.endpoint(), source })
    }

    async fn follow<T: DeserializeOwned>(&self, path: String) -> Result<Follow<T>, ClientError> {
        Follow::open(Arc::clone(&self.transport), Arc::clone(&self.tempo), path).await
    }
}

/// A request or an answer that says nothing.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Nothing {}

fn of_service(route: &str, service: &Workload) -> String {
    fill(route, &[service.project.as_str(), service.name.as_str()])
}
