//! Events.

use mill_model::{DeployId, Incarnation, NodeId};
use mill_protos::v1 as pb;

use super::Wire;
use super::alloc::{failure, phase, stop_reason, workload};
use super::deploy::{change, deploy_kind, outcome, reason, step_state};
use super::read::{Malformed, required, text, time};
use crate::event::{Event, EventKind};

impl Wire for Event {
    type Message = pb::Event;

    fn wire(&self) -> pb::Event {
        pb::Event { id: self.id, at_ms: self.at.0, kind: Some(self.kind.wire()) }
    }
}

impl Wire for EventKind {
    type Message = pb::event::Kind;

    fn wire(&self) -> pb::event::Kind {
        match self.clone() {
            EventKind::NodeRegistered { node } => {
                pb::event::Kind::NodeRegistered(pb::NodeRegistered { node: node.0 })
            }
            EventKind::SecretSet { secret, version, by } => {
                pb::event::Kind::SecretSet(pb::SecretSet { secret: secret.to_string(), version, by })
            }
            EventKind::SecretDeleted { secret, by } => {
                pb::event::Kind::SecretDeleted(pb::SecretDeleted { secret: secret.to_string(), by })
            }
            EventKind::DeployChanged { deploy, project, kind, started, outcome, by } => {
                pb::event::Kind::DeployChanged(pb::DeployChanged {
                    deploy: deploy.0,
                    project: project.into(),
                    kind: Some(kind.wire()),
                    outcome: outcome.map(|outcome| outcome.wire().into()),
                    started,
                    by,
                })
            }
            EventKind::StepChanged { deploy, workload, change, state, reason } => {
                pb::event::Kind::StepChanged(pb::StepChanged {
                    deploy: deploy.0,
                    workload: Some(workload.wire()),
                    state: state.wire().into(),
                    reason: reason.as_ref().map(Wire::wire),
                    change: change.wire().into(),
                })
            }
            EventKind::TaskSpawned { workload, alloc, by } => {
                let workload = Some(workload.wire());
                pb::event::Kind::TaskSpawned(pb::TaskSpawned { workload, alloc: alloc.into(), by })
            }
            EventKind::TaskCalledOff { workload, alloc } => {
                let workload = Some(workload.wire());
                pb::event::Kind::TaskCalledOff(pb::TaskCalledOff { workload, alloc: alloc.into() })
            }
            EventKind::AllocPlaced { deploy, workload, alloc, node } => {
                pb::event::Kind::AllocPlaced(pb::AllocPlaced {
                    deploy: deploy.0,
                    workload: Some(workload.wire()),
                    alloc: alloc.into(),
                    node: node.0,
                })
            }
            EventKind::AllocStopping { deploy, workload, alloc, reason } => {
                pb::event::Kind::AllocStopping(pb::AllocStopping {
                    deploy: deploy.0,
                    workload: Some(workload.wire()),
                    alloc: alloc.into(),
                    reason: reason.wire().into(),
                })
            }
            EventKind::AllocChanged { deploy, workload, alloc, phase, incarnation, failure, stopping } => {
                pb::event::Kind::AllocChanged(pb::AllocChanged {
                    deploy: deploy.0,
                    workload: Some(workload.wire()),
                    alloc: alloc.into(),
                    phase: phase.wire().into(),
                    incarnation: incarnation.0,
                    failure: failure.as_ref().map(Wire::wire),
                    stopping,
                })
            }
        }
    }
}

pub(super) fn event(message: pb::Event) -> Result<Event, Malformed> {
    let kind = kind(required(message.kind, "event kind")?)?;
    Ok(Event { id: message.id, at: time(message.at_ms), kind })
}

fn kind(message: pb::event::Kind) -> Result<EventKind, Malformed> {
    use pb::event::Kind;
    let of = |message: Option<pb::Workload>| workload(&required(message, "event workload")?);
    Ok(match message {
        Kind::NodeRegistered(event) => EventKind::NodeRegistered { node: NodeId(event.node) },
        Kind::SecretSet(event) => EventKind::SecretSet {
            secret: text(&event.secret, "secret")?,
            version: event.version,
            by: event.by,
        },
        Kind::SecretDeleted(event) => {
            EventKind::SecretDeleted { secret: text(&event.secret, "secret")?, by: event.by }
        }
        Kind::DeployChanged(event) => EventKind::DeployChanged {
            deploy: DeployId(event.deploy),
            kind: deploy_kind(required(event.kind.clone(), "deploy kind")?)?,
            outcome: event.outcome.is_some().then(|| outcome(event.outcome())).transpose()?,
            project: text(&event.project, "project name")?,
            started: event.started,
            by: event.by,
        },
        Kind::StepChanged(event) => EventKind::StepChanged {
            deploy: DeployId(event.deploy),
            change: change(event.change())?,
            state: step_state(event.state())?,
            workload: of(event.workload)?,
            reason: event.reason.map(reason).transpose()?,
        },
        Kind::TaskSpawned(event) => EventKind::TaskSpawned {
            workload: of(event.workload)?,
            alloc: text(&event.alloc, "alloc id")?,
            by: event.by,
        },
        Kind::TaskCalledOff(event) => {
            EventKind::TaskCalledOff { workload: of(event.workload)?, alloc: text(&event.alloc, "alloc id")? }
        }
        Kind::AllocPlaced(event) => EventKind::AllocPlaced {
            deploy: DeployId(event.deploy),
            workload: of(event.workload)?,
            alloc: text(&event.alloc, "alloc id")?,
            node: NodeId(event.node),
        },
        Kind::AllocStopping(event) => EventKind::AllocStopping {
            deploy: DeployId(event.deploy),
            reason: stop_reason(event.reason())?,
            workload: of(event.workload)?,
            alloc: text(&event.alloc, "alloc id")?,
        },
        Kind::AllocChanged(event) => EventKind::AllocChanged {
            deploy: DeployId(event.deploy),
            phase: phase(event.phase())?,
            workload: of(event.workload)?,
            alloc: text(&event.alloc, "alloc id")?,
            incarnation: Incarnation(event.incarnation),
            failure: event.failure.map(failure).transpose()?,
            stopping: event.stopping,
        },
    })
}
