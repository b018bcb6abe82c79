//! From a draft without complaints to a spec, every default filled in.

use mill_model::ports::Port;
use mill_model::resources::Resources;
use mill_model::spec::{
    ContainerSpec, EnvVar, HealthCheck, Probe, ProjectSpec, Route, SecretFile, ServiceSpec, TaskSpec, Update,
    UpdateOrder, VolumeKind, VolumeMount, defaults,
};
use mill_model::template::Template;

use crate::draft::{self, Argv, Container, Kind, Project, Service, Templated, Workload};
use crate::finding::Complained;
use crate::span::Spanned;

/// The spec. A hole in the draft is proof of a complaint.
pub(crate) fn project(project: &Project) -> Result<ProjectSpec, Complained> {
    let (mut services, mut tasks) = (vec![], vec![]);
    for workload in &project.workloads {
        let name = workload.name.as_ref().map_err(|complained| *complained)?.value.clone();
        let container = container(&workload.container)?;
        let place = workload.place.iter().map(|place| place.value.clone()).collect();
        match &workload.kind {
            Kind::Service(service) => services.push(ServiceSpec {
                name,
                container,
                replicas: service.replicas.value,
                health: service.health.as_ref().map(health),
                routes: service.routes.iter().map(route).collect(),
                update: update(workload, service),
                depends_on: values(&service.depends_on),
                place,
            }),
            Kind::Task(task) => {
                let schedule = task.schedule.as_ref().map(|schedule| schedule.value.clone());
                tasks.push(TaskSpec { name, container, timeout: task.timeout, schedule, place });
            }
        }
    }
    Ok(ProjectSpec { name: project.name.clone()?, services, tasks })
}

fn values<T: Clone>(list: &[Spanned<T>]) -> Vec<T> {
    list.iter().map(|item| item.value.clone()).collect()
}

fn templates(words: &[Templated]) -> Vec<Template> {
    words.iter().map(|word| word.template.clone()).collect()
}

fn container(container: &Container) -> Result<ContainerSpec, Complained> {
    let argv = |argv: &Argv| templates(&argv.words);
    let env = container.env.iter();
    let ports = container.ports.iter();
    let cpu = container.cpu.as_ref().map_or(defaults::RESOURCES.cpu, |cpu| cpu.value);
    let memory = container.memory.as_ref().map_or(defaults::RESOURCES.memory, |memory| memory.value);
    Ok(ContainerSpec {
        image: container.image.clone()?.value,
        entrypoint: container.entrypoint.as_ref().map(argv),
        command: container.command.as_ref().map(argv),
        env: env.map(|v| EnvVar { name: v.name.value.clone(), value: v.value.template.clone() }).collect(),
        resources: Resources { cpu, memory },
        ports: ports.map(port).collect(),
        volumes: container.volumes.iter().map(volume).collect::<Result<_, _>>()?,
        secrets: container.secrets.iter().map(secret).collect(),
        stop: container.stop.clone(),
        user: container.user.clone(),
        workdir: container.workdir.clone(),
        read_only_root: container.read_only_root,
        cap_add: values(&container.cap_add),
        cap_drop: values(&container.cap_drop),
        devices: values(&container.devices),
        pins: vec![],
    })
}

fn port(port: &draft::Port) -> Port {
    Port {
        name: port.name.as_ref().map(|name| name.value.clone()),
        number: port.number.value,
        protocol: port.protocol,
    }
}

fn volume(volume: &draft::Volume) -> Result<VolumeMount, Complained> {
    let kind = match volume.kind.as_ref().map_err(|complained| *complained)? {
        draft::VolumeKind::Persistent { size } => VolumeKind::Persistent { size: size.value },
        draft::VolumeKind::Ephemeral { size } => VolumeKind::Ephemeral { size: *size },
        draft::VolumeKind::Nfs { source } => VolumeKind::Nfs { source: source.value.clone() },
    };
    let (name, path) = (volume.name.value.clone(), volume.path.value.clone());
    Ok(VolumeMount { name, path, kind, read_only: volume.read_only })
}

fn secret(secret: &draft::SecretFile) -> SecretFile {
    SecretFile {
        name: secret.name.value.clone(),
        path: secret.path.value.clone(),
        owner: secret.owner.clone(),
        mode: secret.mode,
    }
}

fn health(health: &draft::Health) -> HealthCheck {
    let probe = match &health.probe {
        draft::Probe::Http { path, port } => Probe::Http { path: path.template.clone(), port: *port },
        draft::Probe::Tcp { port } => Probe::Tcp { port: *port },
        draft::Probe::Exec { command } => Probe::Exec { command: templates(command) },
        draft::Probe::Grpc { port } => Probe::Grpc { port: *port },
    };
    let draft::Health { interval, timeout, retries, start_period, .. } = *health;
    HealthCheck { probe, interval, timeout, retries, start_period }
}

fn route(route: &draft::Route) -> Route {
    let (host, path) = (route.host.clone(), route.path.clone());
    Route { host, path, websocket: route.websocket, h2c: route.h2c, port: route.port }
}

/// A persistent volume implies stop-first: it has one writer.
fn update(workload: &Workload, service: &Service) -> Update {
    let persistent = workload.container.persistent_volumes().next().is_some();
    let implied = if persistent { UpdateOrder::StopFirst } else { UpdateOrder::default() };
    let order = service.update.order.as_ref().map_or(implied, |order| order.value);
    Update { parallel: service.update.parallel.value, order, deadline: service.update.deadline }
}
