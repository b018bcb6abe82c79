//! What a node is told to run.

use std::num::NonZeroU16;
use std::time::Duration;

use mill_model::ports::Protocol;
use mill_model::spec::{ContainerSpec, HealthCheck, Probe, VolumeKind, defaults};
use mill_model::time::human;
use mill_model::{AllocId, DeployId, SpecHash, Workload};
use serde::{Deserialize, Serialize};

/// One alloc as the leader assigns it. Never changes: another version is another alloc.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Which alloc.
    pub alloc: AllocId,
    /// Whose instance it is.
    pub workload: Workload,
    /// The replica's number, from 0.
    pub index: u32,
    /// Whether it runs for ever or to its end.
    pub kind: Kind,
    /// Hash of the spec that it runs.
    pub hash: SpecHash,
    /// What its container is made from, image pinned.
    pub container: ContainerSpec,
    /// The deploy that placed it.
    pub deploy: DeployId,
    /// Failures in a row of the alloc that this one succeeds: the backoff goes with it, so that a bad image
    /// doesn't race around the cluster.
    pub failures: u32,
}

/// Kinds of workload, with what only one of them has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// Restarted whenever it ends.
    Service {
        /// How its health is asked for; `None`: by its running, or by its port.
        health: Option<HealthCheck>,
    },
    /// Runs once.
    Task {
        /// After this it is stopped and counts as failed.
        #[serde(with = "human")]
        timeout: Duration,
    },
}

/// What makes an alloc healthy for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness<'a> {
    /// Its check succeeds, and goes on succeeding.
    Probe(&'a HealthCheck),
    /// Its port accepts, once.
    Port(NonZeroU16),
    /// It has run for `Tempo::healthy_after`.
    Age,
    /// Nothing: tasks aren't healthy, they end.
    Never,
}

impl Assignment {
    /// Whether it runs to its end, once.
    pub const fn is_task(&self) -> bool {
        matches!(self.kind, Kind::Task { .. })
    }

    /// Whether it has directories that end with it.
    pub(crate) fn has_scratch(&self) -> bool {
        self.container.volumes.iter().any(|volume| matches!(volume.kind, VolumeKind::Ephemeral { .. }))
    }

    pub(crate) fn readiness(&self) -> Readiness<'_> {
        let Kind::Service { health } = &self.kind else { return Readiness::Never };
        if let Some(health) = health {
            return Readiness::Probe(health);
        }
        // A UDP port accepts nothing that could be asked.
        let tcp = self.container.ports.iter().find(|port| port.protocol == Protocol::Tcp);
        tcp.map_or(Readiness::Age, |port| Readiness::Port(port.number))
    }

    /// How long failures of a fresh incarnation's check don't count.
    pub(crate) fn start_period(&self) -> Duration {
        match self.readiness() {
            Readiness::Probe(health) => health.start_period,
            _ => defaults::HEALTH_START_PERIOD,
        }
    }

    /// The declared port that a check of this alloc goes to, if it goes to one.
    pub fn checked_port(&self) -> Option<NonZeroU16> {
        match self.readiness() {
            Readiness::Probe(health) => match health.probe {
                Probe::Http { port, .. } | Probe::Tcp { port } | Probe::Grpc { port } => Some(port),
                Probe::Exec { .. } => None,
            },
            Readiness::Port(port) => Some(port),
            Readiness::Age | Readiness::Never => None,
        }
    }
}
