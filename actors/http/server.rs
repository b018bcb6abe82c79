//! What every handler has at hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use mill_api::{ApiError, Code};
use mill_fsm::{Cluster, Command, Done};
use mill_model::{DeployId, NodeName, Tempo, Timestamp};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::backend::Backend;
use super::gate::Caller;
use super::guard::Guard;
use super::present::View;
use super::refusal::{in_trouble, not_proposed, unanswered};
use super::streams::Keeping;
use super::top::Looked;
use super::{About, Member};
use crate::kit::{Address, Path};
use crate::raft::{self, ProposeError};

/// What every handler has at hand. Cheap to clone.
pub(super) struct Server<B> {
    inner: Arc<Inner<B>>,
}

pub(super) struct Inner<B> {
    pub(super) about: About,
    pub(super) member: watch::Receiver<Option<Arc<Member>>>,
    pub(super) bound: watch::Sender<Option<std::net::SocketAddr>>,
    pub(super) published: raft::Published,
    pub(super) raft: watch::Receiver<Option<Address<raft::Msg>>>,
    pub(super) backend: B,
    pub(super) tempo: Arc<Tempo>,
    /// Where this actor is in its tree.
    pub(super) path: Path,
    /// Fired when the actor is about to end: streams end too.
    pub(super) leaving: CancellationToken,
    /// Who knocks too often.
    pub(super) guard: Guard,
    /// Connections that are open, for people to see.
    pub(super) connections: AtomicUsize,
    /// Programs that may still be run in containers for people.
    pub(super) sessions: Arc<Semaphore>,
    /// What containers used when somebody last asked.
    pub(super) looked: Looked,
}

impl<B> Clone for Server<B> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<B> std::ops::Deref for Server<B> {
    type Target = Inner<B>;
    fn deref(&self) -> &Inner<B> {
        &self.inner
    }
}

impl<B: Backend> Server<B> {
    pub(super) fn new(inner: Inner<B>) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// How a stream for `caller` is kept and ended.
    pub(super) fn keeping(&self, caller: Caller) -> Keeping {
        let (every, leaving) = (self.tempo.api_keepalive, self.leaving.clone());
        Keeping { every, leaving, over: Box::pin(caller.over(self.clone())) }
    }
}

impl<B: Backend> Inner<B> {
    /// The state as it is now.
    pub(super) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.published.cluster.borrow())
    }

    /// What an answer is made from.
    pub(super) fn view<'a>(&'a self, cluster: &'a Cluster) -> View<'a> {
        let role = *self.published.role.borrow();
        let halted = self.published.halted.borrow().clone();
        let jump = self.published.stamps.jump(self.tempo.jump_told_for);
        let trouble = self.published.trouble.borrow().clone();
        View { cluster, role, halted, trouble, jump, moment: self.backend.moment(), tempo: &self.tempo }
    }

    /// Wall time, never before the state's.
    pub(super) fn now(&self) -> Timestamp {
        self.backend.now().max(self.published.cluster.borrow().time)
    }

    /// What this node is called, or would be.
    pub(super) fn node_name(&self) -> NodeName {
        let member = self.member.borrow().clone();
        member.map_or_else(|| self.about.node.clone(), |member| member.name.clone())
    }

    /// Where the daemon keeps its data.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.about.data_dir.clone()
    }

    /// Has a command written on the word of whoever asks, and waits until it is applied here.
    pub(super) async fn propose(&self, caller: &Caller, command: Command) -> Result<Done, ApiError> {
        let command = caller.asks(command);
        let deadline = self.tempo.write_deadline;
        let Some(log) = self.raft.borrow().clone() else {
            return Err(not_proposed(ProposeError::NotLeader { leader: None }));
        };
        let refused = match log.ask(deadline, |reply| raft::Msg::Propose { command, reply }).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(rejected @ ProposeError::Rejected(_))) => return Err(not_proposed(rejected)),
            Ok(Err(error)) => not_proposed(error),
            Err(error) => unanswered(&error),
        };
        Err(match &*self.published.trouble.borrow() {
            Some(trouble) => in_trouble(refused, trouble),
            None => refused,
        })
    }

    /// The state once it is so; after the time that a write may take, the state as it is.
    pub(super) async fn reaches(&self, is_so: impl FnMut(&Arc<Cluster>) -> bool) -> Arc<Cluster> {
        let mut published = self.published.cluster.subscribe();
        let there = tokio::time::timeout(self.tempo.write_deadline, published.wait_for(is_so)).await;
        there.ok().and_then(Result::ok).map_or_else(|| self.cluster(), |cluster| Arc::clone(&cluster))
    }

    /// Has a command written, and waits until what it did can be read here: until `is_there`, told what was made.
    pub(super) async fn write(
        &self,
        caller: &Caller,
        command: Command,
        is_there: impl Fn(&Cluster, &Done) -> bool + Send,
    ) -> Result<(Arc<Cluster>, Done), ApiError> {
        let done = self.propose(caller, command).await?;
        let mut published = self.published.cluster.subscribe();
        let there = published.wait_for(|cluster| is_there(cluster, &done));
        match tokio::time::timeout(self.tempo.write_deadline, there).await {
            Ok(Ok(cluster)) => Ok((Arc::clone(&cluster), done)),
            Ok(Err(_)) | Err(_) => Err(ApiError::new(Code::Deadline, "it was done and can't be read yet")
                .hint("look again in a moment: it needn't be done again")),
        }
    }

    /// Has a deploy begun, and waits until it can be read here.
    pub(super) async fn begin(
        &self,
        caller: &Caller,
        command: Command,
    ) -> Result<(Arc<Cluster>, DeployId), ApiError> {
        let Done::Deploy(id) = self.propose(caller, command).await? else {
            return Err(ApiError::new(Code::Crashed, "the deploy was begun and has no number")
                .hint("`mill history PROJECT` shows it; this is a defect of Mill: please report it"));
        };
        let mut published = self.published.cluster.subscribe();
        let there = published.wait_for(|cluster| cluster.deploys.contains_key(&id));
        match tokio::time::timeout(self.tempo.write_deadline, there).await {
            Ok(Ok(cluster)) => Ok((Arc::clone(&cluster), id)),
            Ok(Err(_)) | Err(_) => {
                Err(ApiError::new(Code::Deadline, format!("deploy #{id} was begun and can't be read yet"))
                    .hint(format!("`mill deploy --attach {id}` follows it")))
            }
        }
    }
}
