//! Specs.

use mill_model::ports::{Port, Protocol};
use mill_model::spec::{
    ContainerSpec, EnvVar, HealthCheck, Place, Probe, Route, SecretFile, Stop, Update, UpdateOrder,
    VolumeKind, VolumeMount,
};
use mill_model::template::{Part, ServiceField, ServiceRef};
use mill_model::{Bytes, Millicores, Pin, ProjectSpec, Resources, ServiceSpec, TaskSpec, Template};
use mill_protos::v1 as pb;

use super::Wire;
use super::read::{Malformed, duration, each, millis, port, required, text, texts};

impl Wire for ProjectSpec {
    type Message = pb::ProjectSpec;

    fn wire(&self) -> pb::ProjectSpec {
        pb::ProjectSpec {
            name: self.name.to_string(),
            services: self.services.iter().map(Wire::wire).collect(),
            tasks: self.tasks.iter().map(Wire::wire).collect(),
        }
    }
}

pub(super) fn project(message: pb::ProjectSpec) -> Result<ProjectSpec, Malformed> {
    Ok(ProjectSpec {
        name: text(&message.name, "project name")?,
        services: each(message.services, service)?,
        tasks: each(message.tasks, task)?,
    })
}

impl Wire for ServiceSpec {
    type Message = pb::ServiceSpec;

    fn wire(&self) -> pb::ServiceSpec {
        pb::ServiceSpec {
            name: self.name.to_string(),
            container: Some(self.container.wire()),
            replicas: self.replicas,
            health: self.health.as_ref().map(Wire::wire),
            routes: self.routes.iter().map(Wire::wire).collect(),
            update: Some(self.update.wire()),
            depends_on: self.depends_on.iter().map(ToString::to_string).collect(),
            place: self.place.iter().map(Wire::wire).collect(),
        }
    }
}

pub(super) fn service(message: pb::ServiceSpec) -> Result<ServiceSpec, Malformed> {
    Ok(ServiceSpec {
        name: text(&message.name, "service name")?,
        container: container(required(message.container, "container")?)?,
        replicas: message.replicas,
        health: message.health.map(health).transpose()?,
        routes: each(message.routes, route)?,
        update: update(&required(message.update, "update")?)?,
        depends_on: texts(&message.depends_on, "depends_on")?,
        place: each(message.place, place)?,
    })
}

impl Wire for TaskSpec {
    type Message = pb::TaskSpec;

    fn wire(&self) -> pb::TaskSpec {
        pb::TaskSpec {
            name: self.name.to_string(),
            container: Some(self.container.wire()),
            timeout_ms: millis(self.timeout),
            schedule: self.schedule.clone(),
            place: self.place.iter().map(Wire::wire).collect(),
        }
    }
}

pub(super) fn task(message: pb::TaskSpec) -> Result<TaskSpec, Malformed> {
    Ok(TaskSpec {
        name: text(&message.name, "task name")?,
        container: container(required(message.container, "container")?)?,
        timeout: duration(message.timeout_ms),
        schedule: message.schedule,
        place: each(message.place, place)?,
    })
}

impl Wire for ContainerSpec {
    type Message = pb::ContainerSpec;

    fn wire(&self) -> pb::ContainerSpec {
        let arguments = |list: &Option<Vec<Template>>| list.as_deref().map(arguments);
        let env = |var: &EnvVar| pb::EnvVar { name: var.name.clone(), value: Some(var.value.wire()) };
        let secret = |file: &SecretFile| {
            let SecretFile { name, path, owner, mode } = file.clone();
            pb::SecretFile { name, path, owner, mode }
        };
        pb::ContainerSpec {
            image: self.image.to_string(),
            entrypoint: arguments(&self.entrypoint),
            command: arguments(&self.command),
            env: self.env.iter().map(env).collect(),
            resources: Some(self.resources.wire()),
            ports: self.ports.iter().map(Wire::wire).collect(),
            volumes: self.volumes.iter().map(Wire::wire).collect(),
            secrets: self.secrets.iter().map(secret).collect(),
            stop: Some(pb::Stop {
                signal: self.stop.signal.clone(),
                grace_ms: millis(self.stop.grace),
                drain_ms: millis(self.stop.drain),
            }),
            user: self.user.clone(),
            workdir: self.workdir.clone(),
            read_only_root: self.read_only_root,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            devices: self.devices.clone(),
            pins: self.pins.iter().map(Wire::wire).collect(),
        }
    }
}

fn container(message: pb::ContainerSpec) -> Result<ContainerSpec, Malformed> {
    let env =
        |var: pb::EnvVar| Ok(EnvVar { name: var.name, value: template(required(var.value, "env value")?)? });
    let list = |list: Option<pb::Arguments>| list.map(|list| each(list.items, template)).transpose();
    let stop = required(message.stop, "stop")?;
    Ok(ContainerSpec {
        image: text(&message.image, "image")?,
        entrypoint: list(message.entrypoint)?,
        command: list(message.command)?,
        env: each(message.env, env)?,
        resources: required(message.resources, "resources").map(resources)?,
        ports: each(message.ports, declared_port)?,
        volumes: each(message.volumes, volume)?,
        secrets: each(message.secrets, |file| {
            let pb::SecretFile { name, path, owner, mode } = file;
            Ok(SecretFile { name, path, owner, mode })
        })?,
        stop: Stop { signal: stop.signal, grace: duration(stop.grace_ms), drain: duration(stop.drain_ms) },
        user: message.user,
        workdir: message.workdir,
        read_only_root: message.read_only_root,
        cap_add: message.cap_add,
        cap_drop: message.cap_drop,
        devices: message.devices,
        pins: message.pins.iter().map(pin).collect::<Result<_, _>>()?,
    })
}

impl Wire for Pin {
    type Message = pb::Pin;

    fn wire(&self) -> pb::Pin {
        pb::Pin { secret: self.secret.to_string(), version: self.version }
    }
}

pub(super) fn pin(message: &pb::Pin) -> Result<Pin, Malformed> {
    Ok(Pin { secret: text(&message.secret, "secret")?, version: message.version })
}

fn arguments(list: &[Template]) -> pb::Arguments {
    pb::Arguments { items: list.iter().map(Wire::wire).collect() }
}

impl Wire for Template {
    type Message = pb::Template;

    fn wire(&self) -> pb::Template {
        pb::Template { parts: self.parts.iter().map(Wire::wire).collect() }
    }
}

fn template(message: pb::Template) -> Result<Template, Malformed> {
    Ok(Template { parts: each(message.parts, part)? })
}

impl Wire for Part {
    type Message = pb::Part;

    fn wire(&self) -> pb::Part {
        use pb::part::Part as Kind;
        let kind = match self {
            Part::Text(text) => Kind::Text(text.clone()),
            Part::Secret(name) => Kind::Secret(name.clone()),
            Part::Service(service) => Kind::Service(service.wire()),
            Part::AllocId => Kind::AllocId(pb::Empty {}),
            Part::AllocIndex => Kind::AllocIndex(pb::Empty {}),
            Part::NodeName => Kind::NodeName(pb::Empty {}),
        };
        pb::Part { part: Some(kind) }
    }
}

fn part(message: pb::Part) -> Result<Part, Malformed> {
    use pb::part::Part as Kind;
    Ok(match required(message.part, "template part")? {
        Kind::Text(text) => Part::Text(text),
        Kind::Secret(name) => Part::Secret(name),
        Kind::Service(service) => Part::Service(service_ref(service)?),
        Kind::AllocId(_) => Part::AllocId,
        Kind::AllocIndex(_) => Part::AllocIndex,
        Kind::NodeName(_) => Part::NodeName,
    })
}

impl Wire for ServiceRef {
    type Message = pb::ServiceRef;

    fn wire(&self) -> pb::ServiceRef {
        use pb::service_ref::Field;
        let field = match &self.field {
            ServiceField::Address => Field::Address(pb::Empty {}),
            ServiceField::Host => Field::Host(pb::Empty {}),
            ServiceField::Port => Field::Port(pb::Empty {}),
            ServiceField::NamedPort(name) => Field::NamedPort(name.to_string()),
        };
        pb::ServiceRef {
            project: self.project.as_ref().map(ToString::to_string),
            name: self.name.to_string(),
            field: Some(field),
        }
    }
}

fn service_ref(message: pb::ServiceRef) -> Result<ServiceRef, Malformed> {
    use pb::service_ref::Field;
    let field = match required(message.field, "service reference")? {
        Field::Address(_) => ServiceField::Address,
        Field::Host(_) => ServiceField::Host,
        Field::Port(_) => ServiceField::Port,
        Field::NamedPort(name) => ServiceField::NamedPort(text(&name, "port name")?),
    };
    Ok(ServiceRef {
        project: message.project.map(|name| text(&name, "project name")).transpose()?,
        name: text(&message.name, "service name")?,
        field,
    })
}

impl Wire for Resources {
    type Message = pb::Resources;

    fn wire(&self) -> pb::Resources {
        pb::Resources { cpu_millis: self.cpu.0, memory_bytes: self.memory.0 }
    }
}

pub(super) const fn resources(message: pb::Resources) -> Resources {
    Resources { cpu: Millicores(message.cpu_millis), memory: Bytes(message.memory_bytes) }
}

impl Wire for Port {
    type Message = pb::Port;

    fn wire(&self) -> pb::Port {
        let protocol = match self.protocol {
            Protocol::Tcp => pb::Protocol::Tcp,
            Protocol::Udp => pb::Protocol::Udp,
        };
        pb::Port {
            name: self.name.as_ref().map(ToString::to_string),
            number: self.number.get().into(),
            protocol: protocol.into(),
        }
    }
}

pub(super) fn declared_port(message: pb::Port) -> Result<Port, Malformed> {
    let protocol = match message.protocol() {
        pb::Protocol::Tcp => Protocol::Tcp,
        pb::Protocol::Udp => Protocol::Udp,
        pb::Protocol::Unspecified => return Err("port protocol"),
    };
    let name = message.name.map(|name| text(&name, "port name")).transpose()?;
    Ok(Port { name, number: port(message.number)?, protocol })
}

impl Wire for VolumeMount {
    type Message = pb::VolumeMount;

    fn wire(&self) -> pb::VolumeMount {
        use pb::volume_mount::Kind;
        let kind = match &self.kind {
            VolumeKind::Persistent { size } => Kind::PersistentBytes(size.0),
            VolumeKind::Ephemeral { size } => {
                Kind::Ephemeral(pb::EphemeralVolume { size_bytes: size.map(|size| size.0) })
            }
            VolumeKind::Nfs { source } => Kind::Nfs(source.clone()),
        };
        pb::VolumeMount {
            name: self.name.to_string(),
            path: self.path.clone(),
            read_only: self.read_only,
            kind: Some(kind),
        }
    }
}

fn volume(message: pb::VolumeMount) -> Result<VolumeMount, Malformed> {
    use pb::volume_mount::Kind;
    let kind = match required(message.kind, "volume kind")? {
        Kind::PersistentBytes(size) => VolumeKind::Persistent { size: Bytes(size) },
        Kind::Ephemeral(ephemeral) => VolumeKind::Ephemeral { size: ephemeral.size_bytes.map(Bytes) },
        Kind::Nfs(source) => VolumeKind::Nfs { source },
    };
    let name = text(&message.name, "volume name")?;
    Ok(VolumeMount { name, path: message.path, kind, read_only: message.read_only })
}

impl Wire for HealthCheck {
    type Message = pb::HealthCheck;

    fn wire(&self) -> pb::HealthCheck {
        use pb::health_check::Probe as Kind;
        let probe = match &self.probe {
            Probe::Http { path, port } => {
                Kind::Http(pb::HttpProbe { path: Some(path.wire()), port: port.get().into() })
            }
            Probe::Tcp { port } => Kind::TcpPort(port.get().into()),
            Probe::Exec { command } => Kind::Exec(arguments(command)),
            Probe::Grpc { port } => Kind::GrpcPort(port.get().into()),
        };
        pb::HealthCheck {
            probe: Some(probe),
            interval_ms: millis(self.interval),
            timeout_ms: millis(self.timeout),
            retries: self.retries,
            start_period_ms: millis(self.start_period),
        }
    }
}

fn health(message: pb::HealthCheck) -> Result<HealthCheck, Malformed> {
    use pb::health_check::Probe as Kind;
    let probe = match required(message.probe, "health probe")? {
        Kind::Http(http) => {
            Probe::Http { path: template(required(http.path, "health path")?)?, port: port(http.port)? }
        }
        Kind::TcpPort(number) => Probe::Tcp { port: port(number)? },
        Kind::Exec(list) => Probe::Exec { command: each(list.items, template)? },
        Kind::GrpcPort(number) => Probe::Grpc { port: port(number)? },
    };
    Ok(HealthCheck {
        probe,
        interval: duration(message.interval_ms),
        timeout: duration(message.timeout_ms),
        retries: message.retries,
        start_period: duration(message.start_period_ms),
    })
}

impl Wire for Route {
    type Message = pb::Route;

    fn wire(&self) -> pb::Route {
        pb::Route {
            host: self.host.clone(),
            path: self.path.clone(),
            websocket: self.websocket,
            h2c: self.h2c,
            port: self.port.get().into(),
        }
    }
}

fn route(message: pb::Route) -> Result<Route, Malformed> {
    let port = port(message.port)?;
    Ok(Route { host: message.host, path: message.path, websocket: message.websocket, h2c: message.h2c, port })
}

impl Wire for Update {
    type Message = pb::Update;

    fn wire(&self) -> pb::Update {
        let order = match self.order {
            UpdateOrder::StartFirst => pb::UpdateOrder::StartFirst,
            UpdateOrder::StopFirst => pb::UpdateOrder::StopFirst,
        };
        pb::Update { parallel: self.parallel, order: order.into(), deadline_ms: millis(self.deadline) }
    }
}

fn update(message: &pb::Update) -> Result<Update, Malformed> {
    let order = match message.order() {
        pb::UpdateOrder::StartFirst => UpdateOrder::StartFirst,
        pb::UpdateOrder::StopFirst => UpdateOrder::StopFirst,
        pb::UpdateOrder::Unspecified => return Err("update order"),
    };
    Ok(Update { parallel: message.parallel, order, deadline: duration(message.deadline_ms) })
}

impl Wire for Place {
    type Message = pb::Place;

    fn wire(&self) -> pb::Place {
        use pb::place::Place as Kind;
        let kind = match self {
            Place::Label { label, is } => Kind::Label(pb::LabelIs { label: label.clone(), is: is.clone() }),
            Place::Spread { label } => Kind::Spread(label.clone()),
        };
        pb::Place { place: Some(kind) }
    }
}

fn place(message: pb::Place) -> Result<Place, Malformed> {
    use pb::place::Place as Kind;
    Ok(match required(message.place, "place")? {
        Kind::Label(label) => Place::Label { label: label.label, is: label.is },
        Kind::Spread(label) => Place::Spread { label },
    })
}
