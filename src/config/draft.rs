//! A project as it was read, each thing with its place: what the rules look at.
//!
//! What couldn't be read is left out or [`Complained`]; only a draft without complaints becomes a spec.

use std::num::NonZeroU16;
use std::time::Duration;

use mill_model::image::ImageRef;
use mill_model::names::{PortName, ProjectName, VolumeName, WorkloadName};
use mill_model::ports::Protocol;
use mill_model::resources::{Bytes, Millicores};
use mill_model::spec::{Place, Stop, UpdateOrder};
use mill_model::template::{Part, Template};

use crate::finding::Complained;
use crate::span::{Span, Spanned};

#[derive(Debug, Clone)]
pub(crate) struct Project {
    pub(crate) name: Result<ProjectName, Complained>,
    pub(crate) workloads: Vec<Workload>,
}

/// A service or a task.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) name: Result<Spanned<WorkloadName>, Complained>,
    /// Its name, or the word `service` or `task`.
    pub(crate) span: Span,
    pub(crate) container: Container,
    pub(crate) kind: Kind,
    pub(crate) place: Vec<Spanned<Place>>,
    /// Fields that the grammar keeps for later, by name.
    pub(crate) reserved: Vec<Spanned<String>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Service(Box<Service>),
    Task(Task),
}

#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) replicas: Spanned<u32>,
    pub(crate) health: Option<Health>,
    pub(crate) routes: Vec<Route>,
    pub(crate) update: Update,
    pub(crate) depends_on: Vec<Spanned<WorkloadName>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) timeout: Duration,
    pub(crate) schedule: Option<Spanned<String>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) image: Result<Spanned<ImageRef>, Complained>,
    pub(crate) entrypoint: Option<Argv>,
    pub(crate) command: Option<Argv>,
    pub(crate) env: Vec<Variable>,
    pub(crate) cpu: Option<Spanned<Millicores>>,
    pub(crate) memory: Option<Spanned<Bytes>>,
    pub(crate) ports: Vec<Port>,
    /// Not all of its ports could be read: one that isn't there is no news.
    pub(crate) ports_broken: Option<Complained>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) secrets: Vec<SecretFile>,
    pub(crate) stop: Stop,
    pub(crate) user: Option<String>,
    pub(crate) workdir: Option<String>,
    pub(crate) read_only_root: bool,
    pub(crate) cap_add: Vec<Spanned<String>>,
    pub(crate) cap_drop: Vec<Spanned<String>>,
    pub(crate) devices: Vec<Spanned<String>>,
}

/// A program and its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Argv {
    pub(crate) words: Vec<Templated>,
}

/// A text with references, and where these are.
#[derive(Debug, Clone)]
pub(crate) struct Templated {
    pub(crate) template: Template,
    pub(crate) references: Vec<Spanned<Part>>,
    pub(crate) span: Span,
}

#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) name: Spanned<String>,
    pub(crate) value: Templated,
}

#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) name: Option<Spanned<PortName>>,
    pub(crate) number: Spanned<NonZeroU16>,
    pub(crate) protocol: Protocol,
}

#[derive(Debug, Clone)]
pub(crate) struct Health {
    pub(crate) probe: Probe,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) start_period: Duration,
}

#[derive(Debug, Clone)]
pub(crate) enum Probe {
    Http { path: Templated, port: NonZeroU16 },
    Tcp { port: NonZeroU16 },
    Exec { command: Vec<Templated> },
    Grpc { port: NonZeroU16 },
}

#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) websocket: bool,
    pub(crate) h2c: bool,
    pub(crate) port: NonZeroU16,
    pub(crate) span: Span,
    /// Fields that the grammar keeps for later, by name.
    pub(crate) reserved: Vec<Spanned<String>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Volume {
    pub(crate) name: Spanned<VolumeName>,
    pub(crate) path: Spanned<String>,
    pub(crate) kind: Result<VolumeKind, Complained>,
    pub(crate) read_only: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum VolumeKind {
    Persistent { size: Spanned<Bytes> },
    Ephemeral { size: Option<Bytes> },
    Nfs { source: Spanned<String> },
}

#[derive(Debug, Clone)]
pub(crate) struct SecretFile {
    pub(crate) name: Spanned<String>,
    pub(crate) path: Spanned<String>,
    pub(crate) owner: Option<String>,
    pub(crate) mode: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) parallel: Spanned<u32>,
    pub(crate) order: Option<Spanned<UpdateOrder>>,
    pub(crate) deadline: Duration,
}

impl Workload {
    /// "service" or "task".
    pub(crate) const fn what(&self) -> &'static str {
        match self.kind {
            Kind::Service(_) => "service",
            Kind::Task(_) => "task",
        }
    }

    pub(crate) fn service(&self) -> Option<&Service> {
        match &self.kind {
            Kind::Service(service) => Some(service),
            Kind::Task(_) => None,
        }
    }

    /// Every reference in it.
    pub(crate) fn references(&self) -> impl Iterator<Item = &Spanned<Part>> {
        let container = &self.container;
        let argv = container.entrypoint.iter().chain(&container.command).flat_map(|argv| &argv.words);
        let env = container.env.iter().map(|variable| &variable.value);
        let probe = self.service().and_then(|service| Some(&service.health.as_ref()?.probe));
        let health = match probe {
            Some(Probe::Http { path, .. }) => std::slice::from_ref(path),
            Some(Probe::Exec { command }) => command.as_slice(),
            _ => &[],
        };
        argv.chain(env).chain(health).flat_map(|templated| &templated.references)
    }
}

impl Container {
    pub(crate) fn persistent_volumes(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.iter().filter(|volume| matches!(volume.kind, Ok(VolumeKind::Persistent { .. })))
    }
}

impl Port {
    /// Its name, else its number: how people and references call it.
    pub(crate) fn label(&self) -> String {
        self.name.as_ref().map_or_else(|| self.number.value.to_string(), |name| name.value.to_string())
    }
}
