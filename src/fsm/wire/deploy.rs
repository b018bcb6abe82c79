//! Deploys and their steps.

use std::sync::Arc;

use imbl::OrdMap;
use mill_model::{DeployId, WorkloadName};
use mill_protos::v1 as pb;

use super::Wire;
use super::alloc::{failure, version};
use super::read::{Malformed, duration, each, hash, millis, required, text, time};
use super::spec;
use crate::deploy::{Change, Deploy, DeployKind, Outcome, Step, StepReason, StepState, Target};
use crate::project::{Past, Service, Task};

macro_rules! enums {
    ($($kind:ident $read:ident $name:literal { $($variant:ident)* })*) => { $(
        impl Wire for $kind {
            type Message = pb::$kind;

            fn wire(&self) -> pb::$kind {
                match self { $($kind::$variant => pb::$kind::$variant,)* }
            }
        }

        pub(super) fn $read(value: pb::$kind) -> Result<$kind, Malformed> {
            match value {
                $(pb::$kind::$variant => Ok($kind::$variant),)*
                pb::$kind::Unspecified => Err($name),
            }
        }
    )* };
}

enums! {
    Outcome outcome "outcome" { Succeeded Failed Cancelled Replaced }
    Change change "change" { Create Replace Scale Settings Remove Run Nothing }
    StepState step_state "step state" { Waiting Rolling RollingBack Done RolledBack Skipped }
}

impl Wire for DeployKind {
    type Message = pb::DeployKind;

    fn wire(&self) -> pb::DeployKind {
        use pb::deploy_kind::Kind;
        let kind = match self {
            Self::Deploy => Kind::Deploy(pb::Empty {}),
            Self::Rollback { to } => Kind::Rollback(to.0),
            Self::Scale { service } => Kind::Scale(service.to_string()),
            Self::Restart { service } => Kind::Restart(service.to_string()),
            Self::Undeploy => Kind::Undeploy(pb::Empty {}),
            Self::Roll { secret } => Kind::Roll(secret.to_string()),
        };
        pb::DeployKind { kind: Some(kind) }
    }
}

pub(super) fn deploy_kind(message: pb::DeployKind) -> Result<DeployKind, Malformed> {
    use pb::deploy_kind::Kind;
    Ok(match required(message.kind, "deploy kind")? {
        Kind::Deploy(_) => DeployKind::Deploy,
        Kind::Rollback(to) => DeployKind::Rollback { to: DeployId(to) },
        Kind::Scale(service) => DeployKind::Scale { service: text(&service, "service name")? },
        Kind::Restart(service) => DeployKind::Restart { service: text(&service, "service name")? },
        Kind::Undeploy(_) => DeployKind::Undeploy,
        Kind::Roll(secret) => DeployKind::Roll { secret: text(&secret, "secret")? },
    })
}

impl Wire for Deploy {
    type Message = pb::Deploy;

    fn wire(&self) -> pb::Deploy {
        let outcome = |outcome: Option<Outcome>| outcome.map(|outcome| outcome.wire().into());
        pb::Deploy {
            id: self.id.0,
            project: self.project.to_string(),
            kind: Some(self.kind.wire()),
            by: self.by.clone(),
            created_at_ms: self.created_at.0,
            started_at_ms: self.started_at.map(|at| at.0),
            ended_at_ms: self.ended_at.map(|at| at.0),
            target: Some(self.target.wire()),
            steps: self.steps.values().map(Wire::wire).collect(),
            cancelled: outcome(self.cancelled),
            outcome: outcome(self.outcome),
            before: self.before.values().map(Wire::wire).collect(),
        }
    }
}

pub(super) fn deploy(message: pb::Deploy) -> Result<Deploy, Malformed> {
    let cancelled = message.cancelled.is_some().then(|| outcome(message.cancelled())).transpose()?;
    let ended = message.outcome.is_some().then(|| outcome(message.outcome())).transpose()?;
    let kind = deploy_kind(required(message.kind, "deploy kind")?)?;
    let steps = each(message.steps, step)?;
    let before = each(message.before, service)?;
    Ok(Deploy {
        id: DeployId(message.id),
        project: text(&message.project, "project name")?,
        kind,
        by: message.by,
        created_at: time(message.created_at_ms),
        started_at: message.started_at_ms.map(time),
        ended_at: message.ended_at_ms.map(time),
        target: Arc::new(spec::project(required(message.target, "deploy target")?)?),
        before: by_name(before, |service| service.spec.name.clone()),
        steps: by_name(steps, |step| step.name.clone()),
        cancelled,
        outcome: ended,
    })
}

/// Keyed by name.
pub(super) fn by_name<T: Clone>(list: Vec<T>, name: impl Fn(&T) -> WorkloadName) -> OrdMap<WorkloadName, T> {
    list.into_iter().map(|item| (name(&item), item)).collect()
}

impl Wire for Step {
    type Message = pb::Step;

    fn wire(&self) -> pb::Step {
        pb::Step {
            name: self.name.to_string(),
            change: self.change.wire().into(),
            from: self.from.as_ref().map(Wire::wire),
            to: self.to.as_ref().map(Wire::wire),
            state: self.state.wire().into(),
            reason: self.reason.as_ref().map(Wire::wire),
            since_ms: self.since.0,
            started_at_ms: self.started_at.map(|at| at.0),
            is_task: self.is_task,
        }
    }
}

fn step(message: pb::Step) -> Result<Step, Malformed> {
    Ok(Step {
        name: text(&message.name, "step name")?,
        is_task: message.is_task,
        change: change(message.change())?,
        state: step_state(message.state())?,
        from: message.from.as_ref().map(target).transpose()?,
        to: message.to.as_ref().map(target).transpose()?,
        reason: message.reason.map(reason).transpose()?,
        since: time(message.since_ms),
        started_at: message.started_at_ms.map(time),
    })
}

impl Wire for Target {
    type Message = pb::Target;

    fn wire(&self) -> pb::Target {
        pb::Target { version: Some(self.version.wire()), replicas: self.replicas }
    }
}

fn target(message: &pb::Target) -> Result<Target, Malformed> {
    let version = version(required(message.version.as_ref(), "target version")?)?;
    Ok(Target { version, replicas: message.replicas })
}

impl Wire for StepReason {
    type Message = pb::StepReason;

    fn wire(&self) -> pb::StepReason {
        use pb::step_reason::Reason;
        let reason = match self {
            StepReason::AllocFailed { alloc, failure } => Reason::AllocFailed(pb::AllocFailed {
                alloc: alloc.to_string(),
                failure: Some(failure.wire()),
            }),
            StepReason::FetchFailed { node, failure } => {
                Reason::FetchFailed(pb::FetchFailed { node: node.to_string(), failure: Some(failure.wire()) })
            }
            StepReason::Deadline { deadline } => {
                Reason::Deadline(pb::DeadlinePassed { deadline_ms: millis(*deadline) })
            }
            StepReason::Dependency { name } => Reason::Dependency(name.to_string()),
            StepReason::StillUsed { name } => Reason::StillUsed(name.to_string()),
            StepReason::Cancelled => Reason::Cancelled(pb::Empty {}),
        };
        pb::StepReason { reason: Some(reason) }
    }
}

pub(super) fn reason(message: pb::StepReason) -> Result<StepReason, Malformed> {
    use pb::step_reason::Reason;
    Ok(match required(message.reason, "step reason")? {
        Reason::AllocFailed(failed) => StepReason::AllocFailed {
            alloc: text(&failed.alloc, "alloc id")?,
            failure: failure(required(failed.failure, "failure")?)?,
        },
        Reason::FetchFailed(failed) => StepReason::FetchFailed {
            node: text(&failed.node, "node name")?,
            failure: failure(required(failed.failure, "failure")?)?,
        },
        Reason::Deadline(passed) => StepReason::Deadline { deadline: duration(passed.deadline_ms) },
        Reason::Dependency(name) => StepReason::Dependency { name: text(&name, "dependency")? },
        Reason::StillUsed(name) => StepReason::StillUsed { name: text(&name, "user")? },
        Reason::Cancelled(_) => StepReason::Cancelled,
    })
}

impl Wire for Service {
    type Message = pb::Service;

    fn wire(&self) -> pb::Service {
        pb::Service { spec: Some(self.spec.wire()), version: Some(self.version.wire()) }
    }
}

pub(super) fn service(message: pb::Service) -> Result<Service, Malformed> {
    let spec = spec::service(required(message.spec, "service spec")?)?;
    Ok(Service { spec: Arc::new(spec), version: version(&required(message.version, "service version")?)? })
}

impl Wire for Task {
    type Message = pb::Task;

    fn wire(&self) -> pb::Task {
        pb::Task { spec: Some(self.spec.wire()), hash: self.hash.0.to_vec() }
    }
}

pub(super) fn task(message: pb::Task) -> Result<Task, Malformed> {
    let spec = spec::task(required(message.spec, "task spec")?)?;
    Ok(Task { spec: Arc::new(spec), hash: hash(&message.hash)? })
}

impl Wire for Past {
    type Message = pb::Past;

    fn wire(&self) -> pb::Past {
        pb::Past {
            deploy: self.deploy.0,
            kind: Some(self.kind.wire()),
            outcome: self.outcome.wire().into(),
            target: Some(self.target.wire()),
            started_at_ms: self.started_at.0,
            ended_at_ms: self.ended_at.0,
            by: self.by.clone(),
        }
    }
}

pub(super) fn past(message: pb::Past) -> Result<Past, Malformed> {
    Ok(Past {
        deploy: DeployId(message.deploy),
        outcome: outcome(message.outcome())?,
        kind: deploy_kind(required(message.kind, "deploy kind")?)?,
        started_at: time(message.started_at_ms),
        target: Arc::new(spec::project(required(message.target, "past target")?)?),
        ended_at: time(message.ended_at_ms),
        by: message.by,
    })
}
