//! What a project's config asks for, checked and with every default filled in (product.md §2).
//!
//! `src/config` makes these from text; `src/fsm` keeps them; a node runs them. Order within lists is the
//! config's.

use std::num::NonZeroU16;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::image::ImageRef;
use crate::names::{ProjectName, VolumeName, WorkloadName};
use crate::ports::Port;
use crate::resources::{Bytes, Resources};
use crate::secret::Pin;
use crate::template::Template;
use crate::time::human;

/// A project: everything that one file describes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectSpec {
    /// Its name.
    pub name: ProjectName,
    /// Its services. Names are unique among services and tasks together.
    pub services: Vec<ServiceSpec>,
    /// Its tasks.
    pub tasks: Vec<TaskSpec>,
}

/// A long-running, replicated program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceSpec {
    /// Its name.
    pub name: WorkloadName,
    /// What each replica runs.
    pub container: ContainerSpec,
    /// How many.
    pub replicas: u32,
    /// How its health is asked for; `None`: by its running (product.md §2).
    pub health: Option<HealthCheck>,
    /// Where ingress sends requests to it from.
    pub routes: Vec<Route>,
    /// How a new version replaces an old one.
    pub update: Update,
    /// What must be healthy, or have succeeded, before it is started in a deploy.
    pub depends_on: Vec<WorkloadName>,
    /// Where it may run and should run.
    pub place: Vec<Place>,
}

/// A program that runs to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskSpec {
    /// Its name.
    pub name: WorkloadName,
    /// What it runs.
    pub container: ContainerSpec,
    /// After this it is stopped and counts as failed.
    #[serde(with = "human")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// When it starts by itself: a cron expression.
    pub schedule: Option<String>,
    /// Where it may run and should run.
    pub place: Vec<Place>,
}

/// What a container is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerSpec {
    /// Its image; pinned to a digest by the deploy.
    pub image: ImageRef,
    /// Replaces the image's entrypoint.
    pub entrypoint: Option<Vec<Template>>,
    /// Replaces the image's command.
    pub command: Option<Vec<Template>>,
    /// Environment variables, over the image's.
    pub env: Vec<EnvVar>,
    /// What it reserves and can't exceed.
    pub resources: Resources,
    /// What it listens on. The first is *the* port.
    pub ports: Vec<Port>,
    /// Its directories that aren't the image's.
    pub volumes: Vec<VolumeMount>,
    /// Secrets that it reads as files.
    pub secrets: Vec<SecretFile>,
    /// How it is stopped.
    pub stop: Stop,
    /// `user`, `user:group`, by name or number; `None`: the image's.
    pub user: Option<String>,
    /// Absolute path; `None`: the image's.
    pub workdir: Option<String>,
    /// Whether its root file system can't be written.
    pub read_only_root: bool,
    /// Capabilities beyond the defaults: `NET_ADMIN`, without `CAP_`.
    pub cap_add: Vec<String>,
    /// Capabilities taken away; `ALL` takes all of the defaults.
    pub cap_drop: Vec<String>,
    /// Paths of the node's devices that it may use.
    pub devices: Vec<String>,
    /// The versions of the secrets that it names, in the secrets' order; none until a deploy pins them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvVar {
    /// Its name: no `=`, no NUL, not empty.
    pub name: String,
    /// Its value.
    pub value: Template,
}

/// How a service says that it is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Time between two checks, from the start of one to the start of the next.
    #[serde(with = "human")]
    #[schemars(with = "String")]
    pub interval: Duration,
    /// After this without an answer a check has failed.
    #[serde(with = "human")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Failed checks in a row that make it unhealthy.
    pub retries: u32,
    /// After its start, failures for this long don't count.
    #[serde(with = "human")]
    #[schemars(with = "String")]
    pub start_period: Duration,
}

/// A kind of health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Probe {
    /// GET, and 2xx or 3xx.
    Http {
        /// Starts with `/`.
        path: Template,
        /// Which declared port.
        port: NonZeroU16,
    },
    /// The port accepts.
    Tcp {
        /// Which declared port.
        port: NonZeroU16,
    },
    /// A program inside the container exits with 0.
    Exec {
        /// The program and its arguments.
        command: Vec<Template>,
    },
    /// `grpc.health.v1.Health/Check` answers SERVING.
    Grpc {
        /// Which declared port.
        port: NonZeroU16,
    },
}

/// A rule of the ingress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// Host name, lower case; the first label may be `*`.
    pub host: String,
    /// Path prefix, cut at `/` borders.
    pub path: String,
    /// Whether connections may be upgraded to WebSocket.
    pub websocket: bool,
    /// Whether the service speaks HTTP/2 without TLS (gRPC).
    pub h2c: bool,
    /// Which declared port.
    pub port: NonZeroU16,
}

/// A directory of a container that isn't its image's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeMount {
    /// Its name in the project.
    pub name: VolumeName,
    /// Where, absolute.
    pub path: String,
    /// What it is.
    pub kind: VolumeKind,
    /// Whether it can't be written.
    pub read_only: bool,
}

/// Kinds of volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum VolumeKind {
    /// Outlives its allocs.
    Persistent {
        /// At least this large.
        size: Bytes,
    },
    /// Made empty for an alloc and removed with it.
    Ephemeral {
        /// At most this large; `None`: the node's default.
        size: Option<Bytes>,
    },
    /// A directory of a file server.
    Nfs {
        /// `HOST:/EXPORT`
        source: String,
    },
}

/// A secret as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretFile {
    /// The secret's name.
    pub name: String,
    /// Where, absolute.
    pub path: String,
    /// Whose it is: `user`, `user:group`, by name or number; `None`: the user's that the program runs as.
    pub owner: Option<String>,
    /// Permission bits.
    pub mode: u32,
}

/// How a container is asked to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stop {
    /// A signal's name, `SIGQUIT`; `None`: the image's, else SIGTERM.
    pub signal: Option<String>,
    /// Time from the signal to SIGKILL.
    #[serde(with = "human")]
    #[schemars(with = "String")]
    pub grace: Duration,
    /// Longest wait for open requests before the signal.
    #[serde(with = "human")]
    #[schemars(with = "String")]
    pub drain: Duration,
}

/// How a new version replaces an old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Update {
    /// Replicas replaced at a time.
    pub parallel: u32,
    /// Which goes first.
    pub order: UpdateOrder,
    /// After this without an end the deploy of the service has failed.
    #[serde(with = "human")]
    #[schemars(with = "String")]
    pub deadline: Duration,
}

/// Which goes first in an update.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOrder {
    /// The new replica is healthy before the old one stops: no gap.
    #[default]
    StartFirst,
    /// The old replica has stopped before the new one starts: one writer.
    StopFirst,
}

/// A constraint or preference on nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Only nodes whose label has this value.
    Label {
        /// The label.
        label: String,
        /// Its value.
        is: String,
    },
    /// Spread over the values of a label.
    Spread {
        /// The label.
        label: String,
    },
}

impl ProjectSpec {
    /// What the containers of its services and tasks are made from.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerSpec> {
        let services = self.services.iter().map(|service| &service.container);
        services.chain(self.tasks.iter().map(|task| &task.container))
    }

    /// The secrets that its containers run with.
    pub fn pins(&self) -> impl Iterator<Item = &Pin> {
        self.containers().flat_map(|container| &container.pins)
    }
}

impl ServiceSpec {
    /// A service of one replica of `image`, everything else by default.
    pub fn new(name: WorkloadName, image: ImageRef) -> Self {
        Self {
            name,
            container: ContainerSpec::new(image),
            replicas: 1,
            health: None,
            routes: vec![],
            update: Update::default(),
            depends_on: vec![],
            place: vec![],
        }
    }
}

impl TaskSpec {
    /// A task that runs `image`, everything else by default.
    pub fn new(name: WorkloadName, image: ImageRef) -> Self {
        let container = ContainerSpec::new(image);
        Self { name, container, timeout: defaults::TASK_TIMEOUT, schedule: None, place: vec![] }
    }
}

impl ContainerSpec {
    /// A container of `image`, everything else by default.
    pub fn new(image: ImageRef) -> Self {
        Self {
            image,
            entrypoint: None,
            command: None,
            env: vec![],
            resources: defaults::RESOURCES,
            ports: vec![],
            volumes: vec![],
            secrets: vec![],
            stop: Stop::default(),
            user: None,
            workdir: None,
            read_only_root: false,
            cap_add: vec![],
            cap_drop: vec![],
            devices: vec![],
            pins: vec![],
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: None, grace: defaults::STOP_GRACE, drain: defaults::STOP_DRAIN }
    }
}

impl Default for Update {
    fn default() -> Self {
        Self {
            parallel: defaults::UPDATE_PARALLEL,
            order: UpdateOrder::default(),
            deadline: defaults::UPDATE_DEADLINE,
        }
    }
}

/// Defaults of product.md §2.
pub mod defaults {
    use std::time::Duration;

    use crate::resources::{Bytes, Millicores, Resources};

    /// A quarter of a core, 256 MiB.
    pub const RESOURCES: Resources = Resources { cpu: Millicores(250), memory: Bytes(256 << 20) };
    /// `health interval`
    pub const HEALTH_INTERVAL: Duration = Duration::from_secs(10);
    /// `health timeout`
    pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
    /// `health retries`
    pub const HEALTH_RETRIES: u32 = 3;
    /// `health start-period`
    pub const HEALTH_START_PERIOD: Duration = Duration::from_secs(30);
    /// `stop grace`
    pub const STOP_GRACE: Duration = Duration::from_secs(10);
    /// `stop drain`
    pub const STOP_DRAIN: Duration = Duration::from_secs(10);
    /// `update parallel`
    pub const UPDATE_PARALLEL: u32 = 1;
    /// `update deadline`
    pub const UPDATE_DEADLINE: Duration = Duration::from_secs(600);
    /// `mode` of a secret's file: its owner's alone.
    pub const SECRET_MODE: u32 = 0o400;
    /// `timeout` of a task
    pub const TASK_TIMEOUT: Duration = Duration::from_secs(3600);
}
