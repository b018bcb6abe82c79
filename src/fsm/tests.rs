//! Whatever comes, in whatever order: no invariant breaks, a rejected command leaves no trace, and a snapshot
//! holds everything.

use std::sync::Arc;

use mill_model::node::NodeFacts;
use mill_model::ports::{MappedPort, Port, Protocol};
use mill_model::{
    AllocId, AllocStatus, Bytes, DeployId, Ended, Failure, Incarnation, Millicores, NodeId, Phase, Pin,
    ProjectSpec, Projects, Resources, Role, SecretId, ServiceSpec, TaskSpec, Timestamp, TokenId, Workload,
    WorkloadName,
};
use proptest::prelude::*;

use crate::command::NewAlloc;
use crate::*;

/// A number that says little: most of what is drawn from it hits something that exists.
type Dice = u32;

fn pick<T: Clone>(list: &[T], dice: Dice) -> T {
    list[dice as usize % list.len()].clone()
}

fn name(dice: Dice) -> WorkloadName {
    WorkloadName::new(pick(&["web", "db", "job"], dice)).unwrap()
}

fn secret(dice: Dice) -> SecretId {
    pick(&["key", "shop/key", "blog/key"], dice).parse().unwrap()
}

/// The same target with a version of a secret that mostly there is, and mostly may be seen.
fn pinned(cluster: &Cluster, target: &ProjectSpec, dice: Dice) -> Arc<ProjectSpec> {
    let mut target = target.clone();
    let version = |id: &SecretId| {
        let kept: Vec<u32> = cluster.secret(id)?.versions.keys().copied().collect();
        (dice & 8 == 0).then(|| pick(&kept, dice >> 9)).or(kept.last().copied())
    };
    let id = secret(dice >> 7);
    let version = version(&id).unwrap_or(dice % 3);
    let containers = target.services.iter_mut().map(|service| &mut service.container);
    for container in containers.chain(target.tasks.iter_mut().map(|task| &mut task.container)) {
        container.pins.push(Pin { secret: id.clone(), version });
    }
    Arc::new(target)
}

fn target(project: &str, dice: Dice) -> Arc<ProjectSpec> {
    let image = |bit: u32| format!("r.test/app:v{}", (dice >> bit) % 3).parse().unwrap();
    let mut web = ServiceSpec::new(name(0), image(0));
    web.replicas = dice % 4;
    web.container.resources = Resources { cpu: Millicores(300), memory: Bytes(1 << 20) };
    web.depends_on = if dice & 1 == 0 { vec![name(2)] } else { vec![] };
    let mut services = vec![web];
    if dice & 4 == 0 {
        services.push(ServiceSpec::new(name(1), image(4)));
    }
    let tasks = if dice & 2 == 0 { vec![TaskSpec::new(name(2), image(6))] } else { vec![] };
    Arc::new(ProjectSpec { name: project.parse().unwrap(), services, tasks })
}

fn alloc_id(dice: Dice) -> AllocId {
    AllocId::derive(&name(0), u64::from(dice % 40))
}

fn status(dice: Dice) -> AllocStatus {
    use Phase::{Failed, Healthy, Pulling, Running, Starting, Stopped, Stopping, Waiting};
    let phase = pick(&[Pulling, Starting, Running, Healthy, Waiting, Stopping, Stopped, Failed], dice >> 6);
    let incarnation = Incarnation(dice >> 9 & 3);
    let declared = Port { name: None, number: 80.try_into().unwrap(), protocol: Protocol::Tcp };
    let mapped = u16::try_from(20_000 + (dice >> 12 & 3)).unwrap().try_into().unwrap();
    let pin = Pin { secret: secret(dice), version: dice % 3 };
    let failure = match dice & 192 {
        0 => Failure::Exited { code: 1 },
        64 => Failure::NodeOutOfMemory,
        _ => Failure::SecretUnavailable { secret: Box::new(pin), detail: "no key".to_owned() },
    };
    let failure = Some(failure);
    let seen = (dice & 4 == 0).then(|| "[::1]:80".parse().unwrap());
    AllocStatus {
        id: alloc_id(dice),
        incarnation,
        revision: u64::from(dice >> 14 & 7),
        phase,
        since: Timestamp(u64::from(dice)),
        failures: dice >> 17 & 7,
        given_back: false,
        ports: if dice & 1 == 0 {
            vec![MappedPort { seen, ..MappedPort::new(declared, mapped) }]
        } else {
            vec![]
        },
        last_end: Some(Ended { incarnation, failure, at: Timestamp(1), code: None }),
        ailment: (dice & 2 == 0).then(|| Failure::Unhealthy { last: "503".into() }),
    }
}

fn role_of(project: &str) -> Role {
    Role::Deployer(Projects::Only([project.parse().unwrap()].into()))
}

/// A cluster in which two projects have everything that a project can have.
pub(crate) fn busy() -> Cluster {
    let mut cluster = bootstrapped();
    for (number, project) in [(1, "shop"), (2, "blog")] {
        let secret = format!("{project}/key").parse().unwrap();
        let set = Command::SetSecret { secret, sealed: vec![1], by: String::new() };
        apply(&mut cluster, 2, set).unwrap();
        let target = target(project, 3);
        let begin = Command::BeginDeploy {
            project: target.name.clone(),
            kind: DeployKind::Deploy,
            target: Arc::clone(&target),
            replace: false,
            by: String::new(),
        };
        apply(&mut cluster, 3, begin).unwrap();
        let new = |index: u32| NewAlloc {
            id: alloc_id(u32::try_from(number).unwrap() * 10 + index),
            workload: Workload { project: target.name.clone(), name: name(0) },
            index,
            version: Version { hash: service_hash(&target.services[0]), restarts: 0 },
            node: NodeId(1),
            deploy: DeployId(number),
        };
        apply(&mut cluster, 4, Command::PlaceAllocs(vec![new(0), new(1)])).unwrap();
        let phase = Phase::Failed;
        let status = AllocStatus { id: new(1).id, phase, ports: vec![], ..status(1 << 14) };
        apply(&mut cluster, 5, Command::ReportAllocs { node: NodeId(1), statuses: vec![status] }).unwrap();
    }
    cluster
}

/// A command about who may do what.
fn access(kind: Dice, dice: Dice) -> Command {
    match (kind % 2, dice & 1) {
        (0, 0) => {
            Command::RevokeToken { token: TokenId(u64::from(dice >> 1 & 7)), even_last_admin: dice & 16 == 0 }
        }
        (0, _) => Command::CreateToken(NewToken {
            name: pick(&["ann", "ben", "init"], dice >> 1).parse().unwrap(),
            role: pick(
                &[Role::Viewer, Role::Admin, Role::Deployer(Projects::All), role_of("shop")],
                dice >> 3,
            ),
            hash: [u8::try_from(dice >> 5 & 3).unwrap(); 32],
            expires_at: (dice & 128 == 0).then_some(Timestamp(u64::from(dice >> 8 & 1023))),
            by: "test".to_owned(),
        }),
        (_, 0) => Command::DeleteRegistry { host: "r.test".parse().unwrap() },
        (..) => Command::SetRegistry {
            host: pick(&["r.test", "docker.io"], dice >> 1).parse().unwrap(),
            user: "ann".to_owned(),
            sealed: dice.to_le_bytes().to_vec(),
            by: "test".to_owned(),
        },
    }
}

/// A command about tasks that somebody has run.
fn tasks(cluster: &Cluster, kind: Dice, dice: Dice) -> Command {
    let project = pick(&["shop", "blog"], dice);
    match kind {
        15 | 16 => {
            let mut spec = TaskSpec::new(name(dice >> 6), "r.test/job:v1".parse().unwrap());
            spec.timeout = std::time::Duration::from_secs(u64::from(dice >> 4 & 3));
            let alone = ProjectSpec { name: project.parse().unwrap(), services: vec![], tasks: vec![spec] };
            let alone = if dice & 0x30 == 0 { pinned(cluster, &alone, dice) } else { Arc::new(alone) };
            let (spec, by) = (Arc::new(alone.tasks[0].clone()), "test".to_owned());
            Command::SpawnTask { id: alloc_id(dice), project: alone.name.clone(), spec, by }
        }
        _ if dice & 1 == 0 => Command::KillTask(alloc_id(dice >> 1)),
        _ => match cluster.waiting_spawns().next() {
            Some(spawn) => Command::PlaceAllocs(vec![NewAlloc {
                id: spawn.id.clone(),
                workload: spawn.workload.clone(),
                index: 0,
                version: Version { hash: spawn.hash, restarts: 0 },
                node: NodeId(1),
                deploy: NO_DEPLOY,
            }]),
            None => Command::KillTask(alloc_id(dice)),
        },
    }
}

/// A command that fits the state more often than not.
fn command(cluster: &Cluster, kind: Dice, dice: Dice) -> Command {
    let project = pick(&["shop", "blog"], dice);
    let deploy = DeployId(u64::from(dice % 6) + cluster.deploys.keys().next_back().map_or(0, |id| id.0 / 2));
    let live = cluster.deploys.values().filter(|deploy| deploy.is_active()).map(|deploy| deploy.id);
    let deploy = live.min().filter(|_| dice & 3 != 0).unwrap_or(deploy);
    let hashes: Vec<_> = cluster.runnables.keys().copied().collect();
    match kind % 18 {
        0 => {
            let kinds = [
                DeployKind::Deploy,
                DeployKind::Rollback { to: DeployId(1) },
                DeployKind::Restart { service: name(dice) },
                DeployKind::Undeploy,
                DeployKind::Roll { secret: secret(dice) },
            ];
            let target = target(project, dice);
            let target = if dice & 0x30 == 0 { target } else { pinned(cluster, &target, dice) };
            let (project, kind, replace) = (target.name.clone(), pick(&kinds, dice >> 3), dice & 8 == 0);
            Command::BeginDeploy { project, kind, target, replace, by: "test".to_owned() }
        }
        1 => Command::CancelDeploy { deploy, outcome: pick(&[Outcome::Cancelled, Outcome::Replaced], dice) },
        2 | 3 => {
            use StepState::{Done, RolledBack, Rolling, RollingBack, Skipped, Waiting};
            let state =
                pick(&[Rolling, Done, Rolling, Done, RollingBack, RolledBack, Skipped, Waiting], dice >> 4);
            let (node, failure) = ("node-1".parse().unwrap(), Failure::Vanished);
            let failed = StepReason::FetchFailed { node, failure };
            let used = StepReason::StillUsed { name: "web".parse().unwrap() };
            let reason = pick(&[None, Some(StepReason::Cancelled), Some(failed), Some(used)], dice >> 2);
            Command::AdvanceStep { deploy, name: name(dice >> 8), state, reason }
        }
        4 => Command::EndDeploy(deploy),
        5 if !hashes.is_empty() => {
            let version = Version { hash: pick(&hashes, dice >> 5), restarts: 0 };
            let workload = Workload { project: project.parse().unwrap(), name: name(dice >> 3) };
            let new = |dice| NewAlloc {
                id: alloc_id(dice),
                workload: workload.clone(),
                index: 0,
                version,
                node: NodeId(u64::from(dice % 3)),
                deploy,
            };
            Command::PlaceAllocs(vec![new(dice), new(dice >> 7)])
        }
        6 => Command::StopAllocs {
            allocs: vec![alloc_id(dice), alloc_id(dice >> 5)],
            reason: StopReason::Surplus,
        },
        7 | 8 => Command::ReportAllocs {
            node: NodeId(u64::from(dice % 2) + 1),
            statuses: vec![status(dice), status(dice.rotate_left(9))],
        },
        10 | 11 => access(kind, dice),
        12 | 13 => {
            let sealed = dice.to_be_bytes().to_vec();
            Command::SetSecret { secret: secret(dice), sealed, by: "test".to_owned() }
        }
        15..=17 => tasks(cluster, kind % 18, dice),
        14 => Command::DeleteSecret { secret: secret(dice), by: "test".to_owned() },
        9 if dice & 1 == 0 => Command::ForgetProject(project.parse().unwrap()),
        _ => Command::ForgetAllocs(vec![alloc_id(dice), alloc_id(dice >> 3)]),
    }
}

fn facts(id: u64, name: &str, cpu: u32) -> NodeFacts {
    let capacity = Resources { cpu: Millicores(cpu), memory: Bytes(4 << 30) };
    let advertise = "127.0.0.1".parse().unwrap();
    NodeFacts { id: NodeId(id), name: name.parse().unwrap(), advertise, capacity, version: "0".to_owned() }
}

pub(crate) fn apply(cluster: &mut Cluster, now: u64, command: Command) -> Result<Done, Rejected> {
    cluster.apply(&Entry { now: Timestamp(now), command }.encode()).unwrap()
}

pub(crate) fn bootstrapped() -> Cluster {
    let mut cluster = Cluster::default();
    let bootstrap = Command::Bootstrap {
        cluster_id: "c".to_owned(),
        node: facts(1, "one", 2000),
        admin_token_hash: [7; 32],
        ca_certificate: "pem".to_owned(),
    };
    apply(&mut cluster, 1, bootstrap).unwrap();
    apply(&mut cluster, 2, Command::RegisterNode(facts(2, "two", 1000))).unwrap();
    cluster
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_order_of_commands_breaks_an_invariant(throws in prop::collection::vec((any::<Dice>(), any::<Dice>()), 1..120)) {
        let mut cluster = bootstrapped();
        for (kind, dice) in throws {
            let before = cluster.clone();
            // Clocks run backwards now and then; the state's time doesn't.
            let now = u64::from(dice % 1000);
            let command = command(&cluster, kind, dice);
            let author = || Author { token: "ann".into(), from: "10.0.0.9".into(), what: "POST /v1/x".into() };
            let command = match dice & 512 {
                0 => command,
                _ => Command::Audited { author: author(), once: None, command: Box::new(command) },
            };
            let bytes = Entry { now: Timestamp(now), command: command.clone() }.encode();
            prop_assert_eq!(&Entry::decode(&bytes).unwrap().command, &command);
            let result = cluster.apply(&bytes).unwrap();
            prop_assert_eq!(cluster.check(), Ok(()), "after {:?}", command);
            prop_assert!(cluster.time >= before.time);
            prop_assert!(!matches!(result, Err(Rejected::Invariant(_))), "{:?}", result);
            if result.is_err() {
                prop_assert_eq!(&Cluster { time: before.time, ..cluster.clone() }, &before);
            }
            for (id, secret) in &before.secrets {
                let now = cluster.secrets.get(id).map_or(u32::MAX, |now| now.latest);
                prop_assert!(now >= secret.latest, "a number is given once");
            }
            for (id, alloc) in &before.allocs {
                if let Some(now) = cluster.allocs.get(id).filter(|_| !alloc.is_live()) {
                    prop_assert_eq!(now.status.phase, alloc.status.phase, "an end is final");
                }
            }
        }
        let again = Cluster::from_snapshot(&cluster.to_snapshot()).unwrap();
        prop_assert_eq!(again, cluster);
    }

    #[test]
    fn bytes_that_are_no_entry_halt_and_change_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut cluster = bootstrapped();
        let before = cluster.clone();
        if cluster.apply(&bytes).is_err() {
            prop_assert_eq!(cluster, before);
        }
        let _ = Cluster::from_snapshot(&bytes);
    }
}

#[test]
fn an_entry_above_the_level_halts_applying() {
    use prost::Message as _;
    let mut cluster = bootstrapped();
    let entry = mill_protos::v1::Entry {
        level: level::LEVEL + 1,
        now_ms: 5,
        command: None,
        author: None,
        once: None,
    }
    .encode_to_vec();
    assert_eq!(cluster.apply(&entry), Err(Halt::Level { needs: level::LEVEL + 1 }));
    let unknown =
        mill_protos::v1::Entry { level: level::LEVEL, now_ms: 5, command: None, author: None, once: None }
            .encode_to_vec();
    assert_eq!(cluster.apply(&unknown), Err(Halt::Malformed("command")));
}

#[test]
fn nothing_is_placed_beyond_what_a_node_has() {
    let mut cluster = bootstrapped();
    let target = target("shop", 3);
    let begin = Command::BeginDeploy {
        project: target.name.clone(),
        kind: DeployKind::Deploy,
        target: Arc::clone(&target),
        replace: false,
        by: String::new(),
    };
    apply(&mut cluster, 3, begin).unwrap();
    let version = Version { hash: service_hash(&target.services[0]), restarts: 0 };
    let workload = Workload { project: target.name.clone(), name: name(0) };
    let place = |count: u32, from: u32| {
        let new = |number| NewAlloc {
            id: alloc_id(number),
            workload: workload.clone(),
            index: number,
            version,
            node: NodeId(2),
            deploy: DeployId(1),
        };
        Command::PlaceAllocs((from..from + count).map(new).collect())
    };
    let refused = Err(Rejected::NoCapacity { node: NodeId(2), alloc: alloc_id(3) });
    assert_eq!(apply(&mut cluster, 4, place(4, 0)), refused, "all or none");
    assert!(cluster.allocs.is_empty());
    apply(&mut cluster, 5, place(3, 0)).unwrap();
    assert_eq!(apply(&mut cluster, 6, place(1, 3)), refused);

    // A node that comes back smaller breaks nothing: it takes no placements.
    apply(&mut cluster, 7, Command::RegisterNode(facts(2, "two", 100))).unwrap();
    assert_eq!(cluster.check(), Ok(()));
    assert_eq!(cluster.nodes[&NodeId(2)].free().cpu, Millicores(0));
}

#[test]
fn two_nodes_can_not_have_one_name() {
    let mut cluster = bootstrapped();
    let result = apply(&mut cluster, 3, Command::RegisterNode(facts(3, "one", 1)));
    assert_eq!(result, Err(Rejected::NameTaken(NodeId(1))));
}

#[test]
fn events_are_bounded_and_a_reader_that_is_too_late_is_told() {
    let mut cluster = bootstrapped();
    for moment in 0..2000 {
        apply(&mut cluster, moment, Command::RegisterNode(facts(2, "two", 1000))).unwrap();
    }
    assert_eq!(cluster.events.len(), mill_model::limits::EVENTS_KEPT);
    let last = cluster.events.last().unwrap().id;
    assert_eq!(cluster.events_after(last - 3).unwrap().count(), 3);
    assert_eq!(cluster.events_after(last).unwrap().count(), 0);
    assert_eq!(cluster.events_after(last + 50).unwrap().count(), 0);
    assert!(cluster.events_after(5).is_none());
}
