//! Specs at random, as far as files can ask for them.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::time::Duration;

use mill_model::image::ImageRef;
use mill_model::names::{PortName, ProjectName, VolumeName, WorkloadName};
use mill_model::ports::{Port, Protocol};
use mill_model::resources::{Bytes, Millicores, Resources};
use mill_model::spec::{
    ContainerSpec, EnvVar, HealthCheck, Place, Probe, ProjectSpec, Route, SecretFile, ServiceSpec, Stop,
    TaskSpec, Update, UpdateOrder, VolumeKind, VolumeMount,
};
use mill_model::template::{Part, ServiceField, ServiceRef, Template};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use crate::interpolate::join;

fn name() -> impl Strategy<Value = String> {
    "[a-z]([a-z0-9-]{0,8}[a-z0-9])?"
}

/// Text as people and programs write it, and as nobody would.
fn anything() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,12}",
        "[a-z$\\{}\"'\\\\ \n\t|;#]{0,12}",
        "\\PC{0,8}",
        Just("\u{85}\u{2028}\u{202e}\u{feff}\u{7f}\u{1}".to_owned()),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    let field = prop_oneof![
        Just(ServiceField::Address),
        Just(ServiceField::Host),
        Just(ServiceField::Port),
        name().prop_map(|port| ServiceField::NamedPort(PortName::new(port).unwrap())),
    ];
    // Only other projects': whether the own one has the service is the rules' affair.
    let service = (name(), name(), field).prop_map(|(project, name, field)| ServiceRef {
        project: Some(ProjectName::new(format!("x-{project}")).unwrap()),
        name: WorkloadName::new(name).unwrap(),
        field,
    });
    prop_oneof![
        4 => anything().prop_filter("no text is empty", |text| !text.is_empty()).prop_map(Part::Text),
        1 => "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,8}".prop_map(Part::Secret),
        1 => service.prop_map(Part::Service),
        1 => Just(Part::AllocId),
        1 => Just(Part::AllocIndex),
        1 => Just(Part::NodeName),
    ]
}

fn template() -> impl Strategy<Value = Template> {
    vec(part(), 0..4).prop_map(join)
}

fn argv() -> impl Strategy<Value = Vec<Template>> {
    let first = vec(part(), 1..3).prop_map(join);
    (first, vec(template(), 0..3)).prop_map(|(first, rest)| [vec![first], rest].concat())
}

/// Between bounds, in milliseconds.
fn duration(least: u64, most: u64) -> impl Strategy<Value = Duration> {
    (least..=most).prop_map(Duration::from_millis)
}

const DAY: u64 = 24 * 3600 * 1000;

fn path() -> impl Strategy<Value = String> {
    "(/[a-zA-Z0-9 éä._-]{0,6}[a-z]){1,3}"
}

fn image() -> impl Strategy<Value = ImageRef> {
    let images = ["nginx", "r.example:5000/a/b:v1", "[::1]:5000/a"].map(str::to_owned);
    let pinned = format!("r.example/x:v1@sha256:{}", "a1".repeat(32));
    proptest::sample::select([images.to_vec(), vec![pinned]].concat())
        .prop_map(|image| image.parse().unwrap())
}

fn ports() -> impl Strategy<Value = Vec<Port>> {
    let protocol = prop_oneof![3 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp)];
    btree_map((1..=u16::MAX, protocol), option::of(name()), 0..4).prop_map(|ports| {
        let mut names = BTreeSet::new();
        let fresh = |name: Option<String>| name.filter(|name| names.insert(name.clone()));
        let named: Vec<_> =
            ports.into_iter().scan(fresh, |fresh, (port, name)| Some((port, fresh(name)))).collect();
        let port = |((number, protocol), name): ((u16, Protocol), Option<String>)| Port {
            name: name.map(|name| PortName::new(name).unwrap()),
            number: NonZeroU16::new(number).unwrap(),
            protocol,
        };
        named.into_iter().map(port).collect()
    })
}

fn volumes(persistent: bool) -> impl Strategy<Value = Vec<VolumeMount>> {
    let size = (1..u64::MAX).prop_map(Bytes);
    let lasting = size.clone().prop_map(|size| VolumeKind::Persistent { size });
    let passing = option::of(size).prop_map(|size| VolumeKind::Ephemeral { size });
    let nfs = Just(VolumeKind::Nfs { source: "[fd00::1]:/export".to_owned() });
    let kind = prop_oneof![u32::from(persistent) => lasting, 1 => passing, 1 => nfs];
    btree_map(name(), (path(), kind, any::<bool>()), 0..4).prop_map(|volumes| {
        let mount = |(index, (name, (path, kind, read_only))): (usize, (String, _))| VolumeMount {
            name: VolumeName::new(name).unwrap(),
            path: format!("/v{index}{path}"),
            kind,
            read_only,
        };
        volumes.into_iter().enumerate().map(mount).collect()
    })
}

fn secrets() -> impl Strategy<Value = Vec<SecretFile>> {
    let owner = option::of("[a-z][a-z0-9]{0,4}(:[0-9]{1,4})?");
    let mode = (0..=0o777_u32).prop_map(|mode| mode | 0o400);
    vec(("[a-z0-9][a-zA-Z0-9._-]{0,8}", path(), owner, mode), 0..3).prop_map(|secrets| {
        let secret = |(index, (name, path, owner, mode))| SecretFile {
            name,
            path: format!("/s{index}{path}"),
            owner,
            mode,
        };
        secrets.into_iter().enumerate().map(secret).collect()
    })
}

fn env() -> impl Strategy<Value = Vec<EnvVar>> {
    let name = prop_oneof!["[A-Z_][A-Z0-9_]{0,6}", "[^=\\x00]{1,6}"];
    btree_map(name, template(), 0..4)
        .prop_map(|env| env.into_iter().map(|(name, value)| EnvVar { name, value }).collect())
}

fn stop() -> impl Strategy<Value = Stop> {
    let signal = option::of(proptest::sample::select(vec!["SIGTERM", "SIGQUIT", "SIGRTMIN+3", "SIGRTMIN"]));
    (signal, duration(0, DAY), duration(0, DAY)).prop_map(|(signal, grace, drain)| Stop {
        signal: signal.map(str::to_owned),
        grace,
        drain,
    })
}

fn resources() -> impl Strategy<Value = Resources> {
    let memory = prop_oneof![(6_u64 << 20)..=(1 << 50), (6_u64..1 << 20).prop_map(|mib| mib << 20)];
    (10..=1_024_000_u32, memory)
        .prop_map(|(cpu, memory)| Resources { cpu: Millicores(cpu), memory: Bytes(memory) })
}

/// What a task's container can have.
fn task_container() -> impl Strategy<Value = ContainerSpec> {
    let stop = Stop {
        signal: None,
        grace: mill_model::spec::defaults::STOP_GRACE,
        drain: mill_model::spec::defaults::STOP_DRAIN,
    };
    (image(), option::of(argv()), option::of(argv()), env(), resources(), volumes(false), secrets()).prop_map(
        move |(image, entrypoint, command, env, resources, volumes, secrets)| ContainerSpec {
            image,
            entrypoint,
            command,
            env,
            resources,
            ports: vec![],
            volumes,
            secrets,
            stop: stop.clone(),
            user: None,
            workdir: None,
            read_only_root: false,
            cap_add: vec![],
            cap_drop: vec![],
            devices: vec![],
            pins: vec![],
        },
    )
}

fn container() -> impl Strategy<Value = ContainerSpec> {
    let caps = |names: &'static [&'static str]| {
        btree_set(proptest::sample::select(names), 0..3)
            .prop_map(|set| set.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let user = option::of("[a-z0-9_]{1,6}(:[a-z0-9]{1,4})?".prop_filter("in range", |user| !user.is_empty()));
    let devices = btree_set("/dev/[a-z0-9]{1,6}", 0..3).prop_map(|set| set.into_iter().collect::<Vec<_>>());
    let rights = (
        user,
        option::of(path()),
        any::<bool>(),
        caps(&["NET_ADMIN", "SYS_NICE", "BPF"]),
        caps(&["ALL", "CHOWN", "KILL"]),
        devices,
    );
    (task_container(), ports(), volumes(true), stop(), rights).prop_map(
        |(container, ports, volumes, stop, rights)| {
            let (user, workdir, read_only_root, cap_add, cap_drop, devices) = rights;
            ContainerSpec {
                ports,
                volumes,
                stop,
                user,
                workdir,
                read_only_root,
                cap_add,
                cap_drop,
                devices,
                ..container
            }
        },
    )
}

/// One of the TCP ports, if there is one.
fn tcp(ports: &[Port], index: usize) -> Option<NonZeroU16> {
    let tcp: Vec<_> = ports.iter().filter(|port| port.protocol == Protocol::Tcp).collect();
    tcp.get(index % tcp.len().max(1)).map(|port| port.number)
}

fn health() -> impl Strategy<Value = (usize, Template, Vec<Template>, HealthCheck)> {
    let path =
        vec("[a-z0-9/._~%?=&-]{1,6}", 0..3).prop_map(|parts| Template::text(format!("/{}", parts.concat())));
    let waits = (duration(100, DAY), duration(1, DAY), 1..=1000_u32, duration(0, DAY));
    (0..5_usize, path, argv(), waits).prop_map(
        |(kind, path, argv, (interval, timeout, retries, start_period))| {
            let probe = Probe::Exec { command: argv.clone() };
            (kind, path, argv, HealthCheck { probe, interval, timeout, retries, start_period })
        },
    )
}

fn routes() -> impl Strategy<Value = BTreeMap<(String, String), (bool, bool, usize)>> {
    let host = "(\\*\\.)?[a-z0-9]{1,5}(\\.[a-z]{2,5}){0,2}";
    let path = prop_oneof![Just("/".to_owned()), "(/[a-z0-9._~-]{0,4}[a-z]){1,2}"];
    btree_map((host, path), (any::<bool>(), any::<bool>(), 0..4_usize), 0..3)
}

fn place() -> impl Strategy<Value = Vec<Place>> {
    let label = "[a-z][a-z0-9./_-]{0,6}";
    let place = prop_oneof![
        (label, label).prop_map(|(label, is)| Place::Label { label, is }),
        label.prop_map(|label| Place::Spread { label }),
    ];
    vec(place, 0..3)
}

fn service() -> impl Strategy<Value = ServiceSpec> {
    let update = (1..=1000_u32, any::<bool>(), duration(1000, DAY));
    (container(), 0..=1000_u32, health(), routes(), update, place()).prop_map(
        |(
            container,
            replicas,
            (kind, path, _, mut health),
            routes,
            (parallel, stop_first, deadline),
            place,
        )| {
            let persistent =
                container.volumes.iter().any(|v| matches!(v.kind, VolumeKind::Persistent { .. }));
            let port = tcp(&container.ports, kind);
            health.probe = match (kind, port) {
                (0, Some(port)) => Probe::Http { path, port },
                (1, Some(port)) => Probe::Tcp { port },
                (2, Some(port)) => Probe::Grpc { port },
                _ => health.probe,
            };
            let first_stop = stop_first || persistent;
            let order = if first_stop { UpdateOrder::StopFirst } else { UpdateOrder::StartFirst };
            let route = |((host, path), (websocket, h2c, index)): ((String, String), (bool, bool, usize))| {
                Some(Route { host, path, websocket, h2c, port: tcp(&container.ports, index)? })
            };
            ServiceSpec {
                name: WorkloadName::new("x").unwrap(),
                replicas: if persistent { replicas.min(1) } else { replicas },
                health: (kind < 4).then_some(health),
                routes: routes.into_iter().filter_map(route).collect(),
                update: Update { parallel, order, deadline },
                depends_on: vec![],
                place,
                container,
            }
        },
    )
}

fn task() -> impl Strategy<Value = TaskSpec> {
    let schedule = option::of(proptest::sample::select(vec!["* * * * *", "*/5 0-6 1,15 jan mon"]));
    (task_container(), duration(1000, 30 * DAY), schedule, place()).prop_map(
        |(container, timeout, schedule, place)| {
            let name = WorkloadName::new("x").unwrap();
            TaskSpec { name, container, timeout, schedule: schedule.map(str::to_owned), place }
        },
    )
}

/// A project that keeps every rule.
pub(crate) fn project() -> impl Strategy<Value = ProjectSpec> {
    (name(), vec(service(), 0..4), vec(task(), 0..3), any::<u64>())
        .prop_filter("something to run", |(_, services, tasks, _)| !services.is_empty() || !tasks.is_empty())
        .prop_map(|(name, mut services, mut tasks, seed)| {
            let mut hosts = BTreeSet::new();
            let mut volumes = BTreeSet::new();
            let task_names: Vec<_> =
                (0..tasks.len()).map(|n| WorkloadName::new(format!("t{n}")).unwrap()).collect();
            let mut earlier = task_names.clone();
            for (index, service) in services.iter_mut().enumerate() {
                service.name = WorkloadName::new(format!("s{index}")).unwrap();
                let wanted = |name: &&WorkloadName| (seed >> (name.as_str().len() + index)) & 1 == 1;
                service.depends_on = earlier.iter().filter(wanted).cloned().collect();
                earlier.push(service.name.clone());
                service.routes.retain(|route| hosts.insert((route.host.clone(), route.path.clone())));
                service.container.volumes.retain(|volume| {
                    !matches!(volume.kind, VolumeKind::Persistent { .. })
                        || volumes.insert(volume.name.clone())
                });
            }
            for (task, name) in tasks.iter_mut().zip(task_names) {
                task.name = name;
            }
            ProjectSpec { name: ProjectName::new(name).unwrap(), services, tasks }
        })
}
