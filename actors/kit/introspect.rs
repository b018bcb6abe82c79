//! The view of a running tree. Reading needs no actor's cooperation; only what an actor shows of its state is asked
//! of it, and one that is stuck is shown as such.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use mill_model::Tempo;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::node::{Node, Order, Path};
use super::stats::{Busy, LastError, Status};

/// A view of one tree, for as long as it lives and after.
#[derive(Clone)]
pub struct Introspect {
    root: Arc<Node>,
    tempo: Arc<Tempo>,
}

/// One actor as it is now, and those under it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActorInfo {
    /// Where it is.
    pub path: Path,
    /// Its room's name.
    pub kind: String,
    /// Where it is in its lives.
    pub status: Status,
    /// Messages that wait.
    pub mailbox_depth: u64,
    /// Messages handled, over all lives.
    pub handled: u64,
    /// The same by name.
    pub messages: BTreeMap<String, u64>,
    /// Messages handled per second, over the last ten.
    pub rate: f64,
    /// Median handling time of the last messages, in microseconds.
    pub p50_us: u64,
    /// 99th percentile of the same.
    pub p99_us: u64,
    /// Tasks and timers under way.
    pub tasks: u64,
    /// Lives after the first.
    pub restarts: u64,
    /// Why the last one ended.
    pub last_error: Option<LastError>,
    /// What it is doing right now.
    pub busy_with: Option<Busy>,
    /// What it shows of its state; a text if it didn't answer, null if it doesn't run.
    pub observed: Value,
    /// Those under it, by name.
    pub children: Vec<ActorInfo>,
}

/// Why an actor wasn't restarted by hand.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RestartError {
    /// There is none.
    #[error("there is no actor `{path}`")]
    NoSuchActor {
        /// What was asked for.
        path: String,
    },
    /// It ended, or is about to.
    #[error("actor `{path}` is stopping")]
    Stopping {
        /// What was asked for.
        path: String,
    },
}

impl fmt::Debug for Introspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Introspect({})", self.root.path)
    }
}

impl Introspect {
    pub(super) fn new(root: Arc<Node>, tempo: Arc<Tempo>) -> Self {
        Self { root, tempo }
    }

    /// Every actor of the tree. Takes `Tempo::observe_deadline` if one of them doesn't answer.
    pub async fn tree(&self) -> ActorInfo {
        let asked = Asked::of(&self.root);
        let deadline = Instant::now() + self.tempo.observe_deadline;
        Box::pin(asked.told(deadline)).await
    }

    /// Those of these actors that run and don't take a turn by the deadline: a sign of life that no counter gives. One
    /// that isn't there, or is between two lives, is its supervisor's affair.
    pub async fn silent(&self, paths: &[&str], deadline: Duration) -> Vec<Path> {
        let by = Instant::now() + deadline;
        let again = self.tempo.observe_deadline;
        let turns = paths.iter().filter_map(|path| find(&self.root, path)).map(|node| async move {
            let takes_a_turn = tokio::time::timeout_at(by, turn(&node, again)).await.is_ok();
            let is_silent = !takes_a_turn && node.stats.status() == Status::Running;
            is_silent.then(|| node.path.clone())
        });
        join_all(turns).await.into_iter().flatten().collect()
    }

    /// Kills an actor and has its supervisor start it again at once, children and all; no crash counts for it.
    /// Returns when its next life has begun.
    ///
    /// # Errors
    /// There is no such actor, or it is stopping.
    pub async fn restart(&self, path: &str) -> Result<(), RestartError> {
        let Some(node) = find(&self.root, path) else {
            return Err(RestartError::NoSuchActor { path: path.to_owned() });
        };
        let (asked, done) = oneshot::channel();
        let stopping = RestartError::Stopping { path: path.to_owned() };
        if node.stats.status() == Status::Stopping || !node.order(Order::Restart(asked)) {
            return Err(stopping);
        }
        done.await.map_err(|_| stopping)
    }

    /// Has an actor panic once it comes to it, after the messages that wait: for trying what a defect of it would do. Its
    /// supervisor sees a panic like any other.
    ///
    /// # Errors
    /// There is no such actor, or it is between two lives or about to end.
    pub fn panic(&self, path: &str) -> Result<(), RestartError> {
        let Some(node) = find(&self.root, path) else {
            return Err(RestartError::NoSuchActor { path: path.to_owned() });
        };
        match node.current().is_some_and(|life| life.panic()) {
            true => Ok(()),
            false => Err(RestartError::Stopping { path: path.to_owned() }),
        }
    }
}

fn find(node: &Arc<Node>, path: &str) -> Option<Arc<Node>> {
    if node.path.as_str() == path {
        return Some(Arc::clone(node));
    }
    let children: Vec<Arc<Node>> = node.family().living.values().cloned().collect();
    children.iter().find_map(|child| find(child, path))
}

/// Returns when an actor has shown its state. Somebody else may be asking it at the moment, whose look is over soon.
async fn turn(node: &Node, again: Duration) {
    loop {
        if let Some(answer) = node.current().and_then(|life| life.observe())
            && answer.await.is_ok()
        {
            return;
        }
        tokio::time::sleep(again).await;
    }
}

/// An actor whose state was asked for.
struct Asked {
    node: Arc<Node>,
    answer: Option<oneshot::Receiver<Value>>,
    children: Vec<Asked>,
}

impl Asked {
    /// Asks all of them before waiting for any.
    fn of(node: &Arc<Node>) -> Self {
        let children = node.family().everyone();
        let runs = matches!(node.stats.status(), Status::Running | Status::Stopping);
        Self {
            answer: node.current().filter(|_| runs).and_then(|life| life.observe()),
            children: children.iter().map(Self::of).collect(),
            node: Arc::clone(node),
        }
    }

    async fn told(self, deadline: Instant) -> ActorInfo {
        let answer = match self.answer {
            Some(answer) => tokio::time::timeout_at(deadline, answer).await.ok().and_then(Result::ok),
            None => None,
        };
        let mut children = Vec::with_capacity(self.children.len());
        for child in self.children {
            children.push(Box::pin(child.told(deadline)).await);
        }
        let life = self.node.current();
        let depth = life.as_ref().map_or(0, |life| life.depth.load(Ordering::Relaxed));
        let tasks = life.as_ref().map_or(0, |life| life.tasks.len());
        let counted = self.node.stats.read();
        let observed = answer.unwrap_or_else(|| match (&counted.busy, counted.status) {
            (Some(Busy { message, for_ms }), _) => {
                format!("busy with {message} for {}.{} s", for_ms / 1000, for_ms % 1000 / 100).into()
            }
            (None, Status::Running | Status::Stopping) => format!("no answer; {depth} messages wait").into(),
            (None, _) => Value::Null,
        });
        ActorInfo {
            path: self.node.path.clone(),
            kind: self.node.kind.to_owned(),
            status: counted.status,
            mailbox_depth: count(depth),
            handled: counted.handled,
            messages: counted.messages,
            rate: counted.rate,
            p50_us: u64::try_from(counted.p50.as_micros()).unwrap_or(u64::MAX),
            p99_us: u64::try_from(counted.p99.as_micros()).unwrap_or(u64::MAX),
            tasks: count(tasks),
            restarts: counted.restarts,
            last_error: counted.last_error,
            busy_with: counted.busy,
            observed,
            children,
        }
    }
}

impl ActorInfo {
    /// This actor and all under it, parents first.
    pub fn flat(&self) -> Vec<&Self> {
        let below = self.children.iter().flat_map(Self::flat);
        std::iter::once(self).chain(below).collect()
    }

    /// The actor at `path`, here or below.
    pub fn find(&self, path: &str) -> Option<&Self> {
        self.flat().into_iter().find(|info| info.path.as_str() == path)
    }
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
