//! A small world carries out what is decided: commands are applied at once, nodes report when told to.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use mill_fsm::{Deploy, DeployKind, Done, Entry, Outcome, Rejected, StepState};
use mill_model::node::NodeFacts;
use mill_model::{
    AllocId, Bytes, DeployId, Ended, Failure, Incarnation, Millicores, NodeId, NodeName, Phase, ProjectSpec,
    Resources, ServiceSpec, TaskSpec, WorkloadName,
};

use super::super::*;
use crate::fetch::{Fetch, FetchState};

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(super) now: Timestamp,
    random: u64,
    /// What becomes of an alloc of this image; others get healthy, or exit with 0 if they are tasks.
    pub(super) fails: Vec<(&'static str, Failure)>,
    pub(crate) fetching: Fetching,
    /// What nodes say of this image; others are there as soon as they are asked for.
    pub(crate) fetched: Vec<(&'static str, FetchState)>,
}

fn image(name: &str) -> mill_model::ImageRef {
    format!("r.test/{name}").parse().unwrap()
}

pub(crate) fn service(name: &str, text: &str, replicas: u32, depends_on: &[&str]) -> ServiceSpec {
    let mut spec = ServiceSpec::new(WorkloadName::new(name).unwrap(), image(text));
    spec.container.resources = Resources { cpu: Millicores(100), memory: Bytes(64 << 20) };
    spec.replicas = replicas;
    spec.depends_on = depends_on.iter().map(|name| WorkloadName::new(*name).unwrap()).collect();
    spec
}

pub(super) fn task(name: &str, text: &str) -> TaskSpec {
    TaskSpec::new(WorkloadName::new(name).unwrap(), image(text))
}

pub(crate) fn project(name: &str, services: Vec<ServiceSpec>, tasks: Vec<TaskSpec>) -> Arc<ProjectSpec> {
    Arc::new(ProjectSpec { name: name.parse().unwrap(), services, tasks })
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self {
            cluster: Cluster::default(),
            now: Timestamp(1_000_000),
            random: 7,
            fails: vec![],
            fetching: Fetching::default(),
            fetched: vec![],
        };
        let node = NodeFacts {
            id: NodeId(1),
            name: NodeName::new("node-1").unwrap(),
            advertise: IpAddr::V4(Ipv4Addr::LOCALHOST),
            capacity: Resources { cpu: Millicores(4000), memory: Bytes(1 << 30) },
            version: "0".to_owned(),
        };
        let bootstrap = Command::Bootstrap {
            cluster_id: "c".to_owned(),
            node,
            admin_token_hash: [1; 32],
            ca_certificate: String::new(),
        };
        world.apply(bootstrap).unwrap();
        world
    }

    #[expect(clippy::needless_pass_by_value, reason = "a command is handed over, as in production")]
    pub(crate) fn apply(&mut self, command: Command) -> Result<Done, Rejected> {
        let bytes = Entry { now: self.now, command: command.clone() }.encode();
        assert_eq!(Entry::decode(&bytes).unwrap().command, command);
        let result = self.cluster.apply(&bytes).unwrap();
        self.cluster.check().unwrap();
        let snapshot = Cluster::from_snapshot(&self.cluster.to_snapshot()).unwrap();
        assert_eq!(snapshot, self.cluster);
        result
    }

    pub(crate) fn begin(&mut self, target: &Arc<ProjectSpec>, kind: DeployKind) -> DeployId {
        self.begin_replacing(target, kind, false)
    }

    pub(crate) fn begin_replacing(
        &mut self,
        target: &Arc<ProjectSpec>,
        kind: DeployKind,
        replace: bool,
    ) -> DeployId {
        let command = Command::BeginDeploy {
            project: target.name.clone(),
            kind,
            target: Arc::clone(target),
            replace,
            by: "test".to_owned(),
        };
        match self.apply(command).unwrap() {
            Done::Deploy(id) => id,
            other => panic!("a deploy has an id: {other:?}"),
        }
    }

    /// Time goes on.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    /// What the leader decides now; nothing of it is done.
    pub(crate) fn decided(&mut self) -> Decision {
        let tempo = Tempo::default();
        let mut random = self.random;
        let mut draw = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random >> 20
        };
        let facts = Facts {
            cluster: &self.cluster.clone(),
            fetching: &self.fetching.clone(),
            now: self.now,
            tempo: &tempo,
        };
        let decision = decide(&facts, &mut draw);
        self.random = random;
        decision
    }

    /// Lets the leader decide once; whether it had anything to do.
    pub(crate) fn decide(&mut self) -> bool {
        let decision = self.decided();
        let busy = !decision.commands.is_empty() | self.nodes_answer(decision.fetches);
        for command in decision.commands {
            self.apply(command).unwrap();
        }
        busy
    }

    /// Nodes are told what to fetch and say how it goes; whether that is news.
    pub(crate) fn nodes_answer(&mut self, fetches: BTreeMap<NodeId, Fetches>) -> bool {
        let state = |image: &mill_model::ImageRef| {
            let known = self.fetched.iter().find(|(name, _)| *name == image.repository);
            known.map_or(FetchState::Here, |(_, state)| state.clone())
        };
        let fetch = |(image, deploy): (&mill_model::ImageRef, &DeployId)| {
            (image.clone(), Fetch { deploy: *deploy, state: state(image) })
        };
        let said = fetches.iter().map(|(node, images)| (*node, images.iter().map(fetch).collect())).collect();
        let fetching = Fetching { said, asked: fetches };
        let news = fetching != self.fetching;
        self.fetching = fetching;
        news
    }

    /// Nodes get every alloc one phase on; whether any moved.
    pub(crate) fn work(&mut self) -> bool {
        let nodes: Vec<NodeId> = self.cluster.nodes.keys().copied().collect();
        nodes.into_iter().filter(|node| self.work_of(*node)).count() > 0
    }

    fn work_of(&mut self, node: NodeId) -> bool {
        let mut statuses = vec![];
        for alloc in self.cluster.allocs_on(node).filter(|alloc| alloc.is_live()) {
            let image = self.cluster.runnables[&alloc.version.hash].container().image.repository.clone();
            let fails =
                self.fails.iter().find(|(name, _)| *name == image).map(|(_, failure)| failure.clone());
            let mut status = alloc.status.clone();
            status.revision += 1;
            status.since = self.now;
            let end =
                |failure| Some(Ended { incarnation: Incarnation(1), failure, at: self.now, code: None });
            match (status.phase, &alloc.stop, fails) {
                (_, Some(_), _) => status.phase = Phase::Stopped,
                (Phase::Pending, None, _) => {
                    status.phase = Phase::Starting;
                    status.incarnation = Incarnation(1);
                }
                (Phase::Starting | Phase::Waiting, None, Some(failure)) => {
                    status.failures += 1;
                    status.phase = if alloc.is_task { Phase::Failed } else { Phase::Waiting };
                    status.last_end = end(Some(failure));
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
            self.apply(Command::ReportAllocs { node, statuses }).unwrap();
        }
        moved
    }

    /// Until nobody has anything to do; the fewest healthy replicas of `watched` on the way.
    pub(crate) fn settle(&mut self, watched: &str) -> usize {
        let mut fewest = self.healthy(watched).len();
        for _ in 0..500 {
            let busy = self.decide();
            fewest = fewest.min(self.healthy(watched).len());
            let moved = self.work();
            fewest = fewest.min(self.healthy(watched).len());
            if !busy && !moved {
                return fewest;
            }
            self.now = self.now.after(Duration::from_millis(100));
        }
        panic!("never settles: {:#?}", self.cluster.deploys);
    }

    pub(crate) fn healthy(&self, workload: &str) -> Vec<AllocId> {
        let healthy = |alloc: &&Arc<mill_fsm::Alloc>| {
            alloc.workload.to_string() == workload && alloc.status.phase == Phase::Healthy
        };
        self.cluster.allocs.values().filter(healthy).map(|alloc| alloc.id.clone()).collect()
    }

    pub(super) fn images(&self, workload: &str) -> Vec<String> {
        let image = |id: &AllocId| {
            let hash = self.cluster.allocs[id].version.hash;
            self.cluster.runnables[&hash].container().image.repository.clone()
        };
        self.healthy(workload).iter().map(image).collect()
    }

    pub(crate) fn deploy(&self, id: DeployId) -> &Deploy {
        &self.cluster.deploys[&id]
    }

    pub(crate) fn outcome(&self, id: DeployId) -> Outcome {
        self.deploy(id).outcome.unwrap()
    }

    pub(super) fn state(&self, id: DeployId, name: &str) -> StepState {
        self.deploy(id).steps[&WorkloadName::new(name).unwrap()].state
    }
}
