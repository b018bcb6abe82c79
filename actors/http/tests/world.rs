//! A cluster moved by commands, for tests of what is shown of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use mill_api::Token;
use mill_api::token::{SECRET_BYTES, TokenKind};
use mill_api::trust::Fingerprint;
use mill_control::fetch::{Fetch, FetchState, Fetches, Fetching};
use mill_control::leader::{Facts, decide};
use mill_fsm::{Alloc, Cluster, Command, DeployKind, Done, Entry, Rejected};
use mill_model::node::NodeFacts;
use mill_model::ports::{MappedPort, Port, Protocol};
use mill_model::spec::{Stop, Update, UpdateOrder, defaults};
use mill_model::{
    AllocId, Bytes, ContainerSpec, DeployId, Ended, Failure, ImageRef, Incarnation, Millicores, NodeId,
    Phase, ProjectSpec, Resources, ServiceSpec, TaskSpec, Tempo, Timestamp, Workload,
};

use mill_model::Term;

use crate::raft::Role;

/// A cluster of one node that carries out what is decided.
pub(in crate::http) struct World {
    pub(in crate::http) cluster: Cluster,
    pub(in crate::http) now: Timestamp,
    random: u64,
    /// What becomes of an alloc whose image's name contains this; others get healthy, or exit with 0 as tasks.
    pub(in crate::http) fails: Vec<(String, Failure)>,
    fetching: Fetching,
    /// How an image is that is wanted there and whose name contains this; others are there when they are asked for.
    pub(in crate::http) fetched: Vec<(String, FetchState)>,
    tempo: Tempo,
}

/// The certificate of the world's CA: no more than what tokens carry the fingerprint of.
const CA: &str = "-----BEGIN CERTIFICATE-----\nY2E=\n-----END CERTIFICATE-----\n";

/// The token that the world's cluster knows.
pub(in crate::http) fn token() -> Token {
    Token::new(TokenKind::Api, [7; SECRET_BYTES], Fingerprint::of(b"ca"))
}

pub(in crate::http) fn container(image: &str) -> ContainerSpec {
    ContainerSpec {
        image: image.parse().unwrap(),
        entrypoint: None,
        command: None,
        env: vec![],
        resources: Resources { cpu: Millicores(100), memory: Bytes(64 << 20) },
        ports: vec![],
        volumes: vec![],
        secrets: vec![],
        stop: Stop { signal: None, grace: defaults::STOP_GRACE, drain: defaults::STOP_DRAIN },
        user: None,
        workdir: None,
        read_only_root: false,
        cap_add: vec![],
        cap_drop: vec![],
        devices: vec![],
        pins: vec![],
    }
}

pub(in crate::http) fn service(name: &str, image: &str, replicas: u32) -> ServiceSpec {
    ServiceSpec {
        name: name.parse().unwrap(),
        container: container(image),
        replicas,
        health: None,
        routes: vec![],
        update: Update { parallel: 1, order: UpdateOrder::StartFirst, deadline: defaults::UPDATE_DEADLINE },
        depends_on: vec![],
        place: vec![],
    }
}

pub(in crate::http) fn task(name: &str, image: &str) -> TaskSpec {
    TaskSpec {
        name: name.parse().unwrap(),
        container: container(image),
        timeout: defaults::TASK_TIMEOUT,
        schedule: None,
        place: vec![],
    }
}

pub(in crate::http) fn after(name: &str, service: ServiceSpec) -> ServiceSpec {
    ServiceSpec { depends_on: vec![name.parse().unwrap()], ..service }
}

pub(in crate::http) fn project(
    name: &str,
    services: Vec<ServiceSpec>,
    tasks: Vec<TaskSpec>,
) -> Arc<ProjectSpec> {
    Arc::new(ProjectSpec { name: name.parse().unwrap(), services, tasks })
}

pub(in crate::http) fn workload(text: &str) -> Workload {
    let (project, name) = text.split_once('/').unwrap();
    Workload { project: project.parse().unwrap(), name: name.parse().unwrap() }
}

impl World {
    /// Before `mill init`.
    pub(in crate::http) fn idle() -> Self {
        let cluster = Cluster::default();
        Self {
            cluster,
            now: Timestamp(1_000_000),
            random: 7,
            fails: vec![],
            fetching: Fetching::default(),
            fetched: vec![],
            tempo: Tempo::default(),
        }
    }

    pub(in crate::http) fn new() -> Self {
        let mut world = Self::idle();
        let node = NodeFacts {
            id: NodeId(1),
            name: "node-1".parse().unwrap(),
            advertise: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
            capacity: Resources { cpu: Millicores(4000), memory: Bytes(1 << 30) },
            version: "0.1.0".to_owned(),
        };
        let bootstrap = Command::Bootstrap {
            cluster_id: "c".to_owned(),
            node,
            admin_token_hash: token().secret_hash(),
            ca_certificate: CA.to_owned(),
        };
        world.apply(bootstrap).unwrap();
        world
    }

    pub(in crate::http) fn apply(&mut self, command: Command) -> Result<Done, Rejected> {
        let bytes = Entry { now: self.now, command }.encode();
        let result = self.cluster.apply(&bytes).unwrap();
        self.cluster.check().unwrap();
        result
    }

    pub(in crate::http) fn begin(&mut self, target: &Arc<ProjectSpec>, kind: DeployKind) -> DeployId {
        let command = Command::BeginDeploy {
            project: target.name.clone(),
            kind,
            target: Arc::clone(target),
            replace: false,
            by: "test".to_owned(),
        };
        match self.apply(command).unwrap() {
            Done::Deploy(id) => id,
            other => panic!("a deploy has an id: {other:?}"),
        }
    }

    /// A whole deploy.
    pub(in crate::http) fn deploy(&mut self, target: &Arc<ProjectSpec>) -> DeployId {
        let id = self.begin(target, DeployKind::Deploy);
        self.settle();
        id
    }

    /// Lets the leader decide once; whether it had anything to do.
    pub(in crate::http) fn decide(&mut self) -> bool {
        let mut random = self.random;
        let mut draw = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random >> 20
        };
        let facts = Facts {
            cluster: &self.cluster.clone(),
            fetching: &self.fetching.clone(),
            now: self.now,
            tempo: &self.tempo,
        };
        let decision = decide(&facts, &mut draw);
        self.random = random;
        let busy = !decision.commands.is_empty() | self.answer(decision.fetches);
        for command in decision.commands {
            self.apply(command).unwrap();
        }
        busy
    }

    /// The node is told what to fetch and says how it goes; whether that is news.
    fn answer(&mut self, fetches: BTreeMap<NodeId, Fetches>) -> bool {
        let fetch = |(image, deploy): (&ImageRef, &DeployId)| {
            let known = self.fetched.iter().find(|(name, _)| image.to_string().contains(name));
            let state = known.map_or(FetchState::Here, |(_, state)| state.clone());
            (image.clone(), Fetch { deploy: *deploy, state })
        };
        let said = fetches.iter().map(|(node, images)| (*node, images.iter().map(fetch).collect())).collect();
        let fetching = Fetching { said, asked: fetches };
        let news = fetching != self.fetching;
        self.fetching = fetching;
        news
    }

    /// The node gets every alloc one phase on; whether any moved.
    pub(in crate::http) fn work(&mut self) -> bool {
        let mut statuses = vec![];
        for alloc in self.cluster.allocs_on(NodeId(1)).filter(|alloc| alloc.is_live()) {
            let image = self.cluster.runnables[&alloc.version.hash].container().image.to_string();
            let fails = self.fails.iter().find(|(name, _)| image.contains(name));
            let mut status = alloc.status.clone();
            status.revision += 1;
            status.since = self.now;
            let end =
                |failure| Some(Ended { incarnation: Incarnation(1), failure, at: self.now, code: None });
            match (status.phase, &alloc.stop, fails) {
                (_, Some(_), _) => status.phase = Phase::Stopped,
                (Phase::Pending, None, _) => status.phase = Phase::Pulling,
                (Phase::Pulling, None, _) => {
                    status.phase = Phase::Starting;
                    status.incarnation = Incarnation(1);
                    let declared =
                        Port { name: None, number: 80.try_into().unwrap(), protocol: Protocol::Tcp };
                    let mapped = 20_000
                        + u16::try_from(status.since.0 % 9000).unwrap()
                        + u16::try_from(statuses.len()).unwrap();
                    status.ports = vec![MappedPort::new(declared, mapped.try_into().unwrap())];
                }
                (Phase::Starting | Phase::Waiting, None, Some((_, failure))) => {
                    status.failures += 1;
                    status.phase = if alloc.is_task { Phase::Failed } else { Phase::Waiting };
                    status.last_end = end(Some(failure.clone()));
                }
                (Phase::Starting, None, None) if alloc.is_task => {
                    status.phase = Phase::Stopped;
                    status.last_end = end(None);
                }
                (Phase::Starting, None, None) => status.phase = Phase::Healthy,
                _ => continue,
            }
            statuses.push(status);
        }
        let moved = !statuses.is_empty();
        if moved {
            self.apply(Command::ReportAllocs { node: NodeId(1), statuses }).unwrap();
        }
        moved
    }

    /// One round of leader and node, and a tenth of a second; whether anything happened.
    pub(in crate::http) fn step(&mut self) -> bool {
        let busy = self.decide();
        let moved = self.work();
        self.now = self.now.after(Duration::from_millis(100));
        busy || moved
    }

    pub(in crate::http) fn settle(&mut self) {
        for _ in 0..500 {
            if !self.step() {
                return;
            }
        }
        panic!("never settles: {:#?}", self.cluster.deploys);
    }

    pub(in crate::http) fn allocs(&self, workload: &Workload) -> Vec<Arc<Alloc>> {
        self.cluster.allocs_of(workload).cloned().collect()
    }

    /// The node says something of an alloc.
    pub(in crate::http) fn report(
        &mut self,
        id: &AllocId,
        change: impl FnOnce(&mut mill_model::AllocStatus),
    ) {
        let mut status = self.cluster.allocs[id].status.clone();
        status.revision += 1;
        status.since = self.now;
        change(&mut status);
        self.apply(Command::ReportAllocs { node: NodeId(1), statuses: vec![status] }).unwrap();
    }
}

pub(in crate::http) fn leading() -> Role {
    Role { term: Term(1), leader: Some(NodeId(1)), is_leading: true }
}
