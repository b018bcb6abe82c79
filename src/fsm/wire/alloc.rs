//! Allocs, versions and what nodes say of them.

use mill_model::ports::MappedPort;
use mill_model::{AllocId, AllocStatus, Ended, Failure, Incarnation, NodeId, Phase, Workload};
use mill_protos::v1 as pb;

use super::Wire;
use super::read::{Malformed, each, hash, port, required, text, time};
use super::spec::{declared_port, pin};
use crate::alloc::{Alloc, StopReason, Version};
use crate::cluster::Runnable;

impl Wire for Workload {
    type Message = pb::Workload;

    fn wire(&self) -> pb::Workload {
        pb::Workload { project: self.project.to_string(), name: self.name.to_string() }
    }
}

pub(super) fn workload(message: &pb::Workload) -> Result<Workload, Malformed> {
    Ok(Workload {
        project: text(&message.project, "project name")?,
        name: text(&message.name, "workload name")?,
    })
}

impl Wire for Version {
    type Message = pb::Version;

    fn wire(&self) -> pb::Version {
        pb::Version { hash: self.hash.0.to_vec(), restarts: self.restarts }
    }
}

pub(super) fn version(message: &pb::Version) -> Result<Version, Malformed> {
    Ok(Version { hash: hash(&message.hash)?, restarts: message.restarts })
}

impl Wire for StopReason {
    type Message = pb::StopReason;

    fn wire(&self) -> pb::StopReason {
        match self {
            StopReason::Replaced => pb::StopReason::Replaced,
            StopReason::RolledBack => pb::StopReason::RolledBack,
            StopReason::Surplus => pb::StopReason::Surplus,
            StopReason::Removed => pb::StopReason::Removed,
            StopReason::Killed => pb::StopReason::Killed,
        }
    }
}

pub(super) fn stop_reason(reason: pb::StopReason) -> Result<StopReason, Malformed> {
    Ok(match reason {
        pb::StopReason::Replaced => StopReason::Replaced,
        pb::StopReason::RolledBack => StopReason::RolledBack,
        pb::StopReason::Surplus => StopReason::Surplus,
        pb::StopReason::Removed => StopReason::Removed,
        pb::StopReason::Killed => StopReason::Killed,
        pb::StopReason::Unspecified => return Err("stop reason"),
    })
}

impl Wire for Alloc {
    type Message = pb::Alloc;

    fn wire(&self) -> pb::Alloc {
        pb::Alloc {
            id: self.id.to_string(),
            workload: Some(self.workload.wire()),
            index: self.index,
            version: Some(self.version.wire()),
            node: self.node.0,
            deploy: self.deploy.0,
            placed_at_ms: self.placed_at.0,
            is_task: self.is_task,
            stop: self.stop.map(|reason| reason.wire().into()),
            status: Some(self.status.wire()),
        }
    }
}

/// Reads an alloc; what it reserves comes from the text that it runs.
pub(super) fn alloc(
    message: pb::Alloc,
    runnable: impl Fn(&Version) -> Option<Runnable>,
) -> Result<Alloc, Malformed> {
    let stop = message.stop.is_some().then(|| stop_reason(message.stop())).transpose()?;
    let version = version(&required(message.version, "alloc version")?)?;
    let runnable = required(runnable(&version), "alloc text")?;
    Ok(Alloc {
        id: text(&message.id, "alloc id")?,
        workload: workload(&required(message.workload, "alloc workload")?)?,
        is_task: message.is_task,
        index: message.index,
        version,
        node: NodeId(message.node),
        deploy: mill_model::DeployId(message.deploy),
        placed_at: time(message.placed_at_ms),
        resources: runnable.container().resources,
        stop,
        status: status(required(message.status, "alloc status")?)?,
    })
}

impl Wire for AllocStatus {
    type Message = pb::AllocStatus;

    fn wire(&self) -> pb::AllocStatus {
        pb::AllocStatus {
            id: self.id.to_string(),
            incarnation: self.incarnation.0,
            revision: self.revision,
            phase: self.phase.wire().into(),
            since_ms: self.since.0,
            failures: self.failures,
            given_back: self.given_back,
            ports: self.ports.iter().map(Wire::wire).collect(),
            last_end: self.last_end.as_ref().map(Wire::wire),
            ailment: self.ailment.as_ref().map(Wire::wire),
        }
    }
}

pub(super) fn status(message: pb::AllocStatus) -> Result<AllocStatus, Malformed> {
    let id: AllocId = text(&message.id, "alloc id")?;
    Ok(AllocStatus {
        id,
        incarnation: Incarnation(message.incarnation),
        revision: message.revision,
        phase: phase(message.phase())?,
        since: time(message.since_ms),
        failures: message.failures,
        given_back: message.given_back,
        ports: each(message.ports, mapped_port)?,
        last_end: message.last_end.map(ended).transpose()?,
        ailment: message.ailment.map(failure).transpose()?,
    })
}

impl Wire for MappedPort {
    type Message = pb::MappedPort;

    fn wire(&self) -> pb::MappedPort {
        pb::MappedPort {
            declared: Some(self.declared.wire()),
            mapped: self.mapped.get().into(),
            seen: self.seen.map(|seen| seen.to_string()).unwrap_or_default(),
        }
    }
}

fn mapped_port(message: pb::MappedPort) -> Result<MappedPort, Malformed> {
    let declared = declared_port(required(message.declared, "declared port")?)?;
    let seen = (!message.seen.is_empty()).then(|| text(&message.seen, "address")).transpose()?;
    Ok(MappedPort { seen, ..MappedPort::new(declared, port(message.mapped)?) })
}

impl Wire for Ended {
    type Message = pb::Ended;

    fn wire(&self) -> pb::Ended {
        pb::Ended {
            incarnation: self.incarnation.0,
            failure: self.failure.as_ref().map(Wire::wire),
            at_ms: self.at.0,
            code: self.code.map(u32::from),
        }
    }
}

fn ended(message: pb::Ended) -> Result<Ended, Malformed> {
    let incarnation = Incarnation(message.incarnation);
    let code = message.code.map(u8::try_from).transpose().map_err(|_| "exit code")?;
    let failure = message.failure.map(failure).transpose()?;
    Ok(Ended { incarnation, failure, at: time(message.at_ms), code })
}

macro_rules! phases {
    ($($name:ident)*) => {
        impl Wire for Phase {
            type Message = pb::Phase;

            fn wire(&self) -> pb::Phase {
                match self { $(Phase::$name => pb::Phase::$name,)* }
            }
        }

        pub(super) fn phase(phase: pb::Phase) -> Result<Phase, Malformed> {
            match phase {
                $(pb::Phase::$name => Ok(Phase::$name),)*
                pb::Phase::Unspecified => Err("phase"),
            }
        }
    };
}

phases! { Pending Pulling Starting Running Healthy Unhealthy Stopping Waiting Stopped Failed Lost }

impl Wire for Failure {
    type Message = pb::Failure;

    fn wire(&self) -> pb::Failure {
        use pb::failure::Kind;
        let empty = pb::Empty {};
        let kind = match self {
            Failure::Exited { code } => Kind::Exited((*code).into()),
            Failure::Signalled { signal } => Kind::Signalled((*signal).into()),
            Failure::OutOfMemory => Kind::OutOfMemory(empty),
            Failure::NodeOutOfMemory => Kind::NodeOutOfMemory(empty),
            Failure::Unhealthy { last } => Kind::Unhealthy(last.clone()),
            Failure::TimedOut => Kind::TimedOut(empty),
            Failure::NoSuchImage { detail } => Kind::NoSuchImage(detail.clone()),
            Failure::PullFailed { detail } => Kind::PullFailed(detail.clone()),
            Failure::NoSuchCommand { command } => Kind::NoSuchCommand(command.clone()),
            Failure::NoSuchUser { user } => Kind::NoSuchUser(user.clone()),
            Failure::PortTaken { port, holder } => {
                Kind::PortTaken(pb::PortTaken { port: (*port).into(), holder: holder.clone() })
            }
            Failure::Runtime { detail } => Kind::Runtime(detail.clone()),
            Failure::SecretUnavailable { secret, detail } => Kind::SecretUnavailable(pb::SecretUnavailable {
                secret: Some(secret.wire()),
                detail: detail.clone(),
            }),
            Failure::Vanished => Kind::Vanished(empty),
        };
        pb::Failure { kind: Some(kind) }
    }
}

pub(super) fn failure(message: pb::Failure) -> Result<Failure, Malformed> {
    use pb::failure::Kind;
    let byte = |number: u32| u8::try_from(number).map_err(|_| "exit status");
    Ok(match required(message.kind, "failure")? {
        Kind::Exited(code) => Failure::Exited { code: byte(code)? },
        Kind::Signalled(signal) => Failure::Signalled { signal: byte(signal)? },
        Kind::OutOfMemory(_) => Failure::OutOfMemory,
        Kind::NodeOutOfMemory(_) => Failure::NodeOutOfMemory,
        Kind::Unhealthy(last) => Failure::Unhealthy { last },
        Kind::TimedOut(_) => Failure::TimedOut,
        Kind::NoSuchImage(detail) => Failure::NoSuchImage { detail },
        Kind::PullFailed(detail) => Failure::PullFailed { detail },
        Kind::NoSuchCommand(command) => Failure::NoSuchCommand { command },
        Kind::NoSuchUser(user) => Failure::NoSuchUser { user },
        Kind::PortTaken(taken) => Failure::PortTaken { port: port(taken.port)?.get(), holder: taken.holder },
        Kind::Runtime(detail) => Failure::Runtime { detail },
        Kind::SecretUnavailable(unavailable) => Failure::SecretUnavailable {
            secret: Box::new(pin(&required(unavailable.secret, "failure secret")?)?),
            detail: unavailable.detail,
        },
        Kind::Vanished(_) => Failure::Vanished,
    })
}
