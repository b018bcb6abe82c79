//! Invariants. Tests check all of them after every apply; production checks what a command touched.

use std::collections::{BTreeMap, BTreeSet};

use mill_model::{AllocId, NodeId, Pin, ProjectName, Resources, TokenId};
use thiserror::Error;

use crate::cluster::Cluster;

/// What must never be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Broken {
    /// Two live allocs of a node have one mapped port.
    #[error("mapped port {port} on node {node} belongs to `{first}` and `{second}`")]
    PortTwice {
        /// The node.
        node: NodeId,
        /// The port.
        port: u16,
        /// One of them.
        first: AllocId,
        /// The other.
        second: AllocId,
    },
    /// A node's sum of reservations isn't the sum of its live allocs'.
    #[error("the reservations of node {node} don't add up")]
    Reserved {
        /// The node.
        node: NodeId,
    },
    /// An alloc's node or text doesn't exist.
    #[error("alloc `{alloc}` has no node or no text")]
    Dangling {
        /// The alloc.
        alloc: AllocId,
    },
    /// A task that somebody had run isn't what its alloc is, or has nothing to run.
    #[error("the task `{task}` isn't what was asked for")]
    Spawn {
        /// Which.
        task: AllocId,
    },
    /// Two deploys of one project are under way.
    #[error("two deploys of project `{project}` are under way")]
    TwoDeploys {
        /// The project.
        project: ProjectName,
    },
    /// Something that runs, or is to run, names a version of a secret that isn't kept.
    #[error("the secret `{pin}` is used and not kept")]
    SecretGone {
        /// Which version.
        pin: Pin,
    },
    /// Two tokens have one number or one name, or one that was never given.
    #[error("token {token} isn't the only one of its number and name")]
    TokenTwice {
        /// One of them.
        token: TokenId,
    },
    /// The derived indexes differ from the allocs.
    #[error("an index of allocs is wrong")]
    Index,
}

/// What a command changed.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) nodes: BTreeSet<NodeId>,
    pub(crate) secrets: bool,
}

impl Cluster {
    /// Checks everything.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn check(&self) -> Result<(), Broken> {
        for node in self.nodes.keys() {
            self.check_node(*node)?;
        }
        for alloc in self.allocs.values() {
            let runnable = self.runnables.contains_key(&alloc.version.hash);
            if !self.nodes.contains_key(&alloc.node) || !runnable {
                return Err(Broken::Dangling { alloc: alloc.id.clone() });
            }
        }
        if let Some(spawn) = self.spawns.values().find(|spawn| !self.is_sound(spawn)) {
            return Err(Broken::Spawn { task: spawn.id.clone() });
        }
        let mut active = BTreeSet::new();
        for deploy in self.deploys.values().filter(|deploy| deploy.is_active()) {
            if !active.insert(&deploy.project) {
                return Err(Broken::TwoDeploys { project: deploy.project.clone() });
            }
        }
        self.check_secrets()?;
        let (mut numbers, mut names) = (BTreeSet::new(), BTreeSet::new());
        for token in self.tokens.values() {
            let is_new = numbers.insert(token.id) & names.insert(&token.name);
            if !is_new || token.id >= self.next_token {
                return Err(Broken::TokenTwice { token: token.id });
            }
        }
        match self.has_right_indexes() {
            true => Ok(()),
            false => Err(Broken::Index),
        }
    }

    pub(crate) fn check_touched(&self, touched: &Touched) -> Result<(), Broken> {
        if touched.secrets {
            self.check_secrets()?;
        }
        let doubtful = |id: &&NodeId| {
            self.nodes.get(*id).is_some_and(|node| !self.adds_up(node.facts.id, node.reserved))
        };
        touched.nodes.iter().filter(doubtful).try_for_each(|node| self.check_node(*node))
    }

    /// What is used is kept: nothing that runs can be without a secret when it is started again.
    fn check_secrets(&self) -> Result<(), Broken> {
        match self.used_pins().find(|(pin, _)| self.sealed(pin).is_none()) {
            None => Ok(()),
            Some((pin, _)) => Err(Broken::SecretGone { pin: pin.clone() }),
        }
    }

    fn check_node(&self, id: NodeId) -> Result<(), Broken> {
        let Some(node) = self.nodes.get(&id) else { return Ok(()) };
        let mut sum = Resources::default();
        let mut ports: BTreeMap<u16, &AllocId> = BTreeMap::new();
        for alloc in self.allocs_on(id).filter(|alloc| alloc.is_live()) {
            sum = sum.plus(alloc.resources);
            for port in alloc.status.ports.iter().map(|port| port.mapped.get()) {
                if let Some(first) = ports.insert(port, &alloc.id).filter(|first| **first != alloc.id) {
                    let (first, second) = (first.clone(), alloc.id.clone());
                    return Err(Broken::PortTwice { node: id, port, first, second });
                }
            }
        }
        match sum == node.reserved {
            true => Ok(()),
            false => Err(Broken::Reserved { node: id }),
        }
    }
}
