//! Placements a second onto 1,000 nodes, and what a leader's decision and its application cost while 100,000 allocs
//! are held, beside the same with a tenth of them.
//!
//! `cargo run --release -p mill-sim --example placements [-- --long]`. What is timed is what a leader does: `decide`
//! on the whole state, then each command encoded, decoded and applied with its checks. Log and network are left out.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mill_control::fetch::Fetching;
use mill_control::leader::{Facts, decide};
use mill_fsm::{Cluster, Command, DeployKind, Entry};
use mill_model::node::NodeFacts;
use mill_model::{
    AllocId, AllocStatus, Bytes, Incarnation, Millicores, NodeId, NodeName, Phase, ProjectName, ProjectSpec,
    Resources, ServiceSpec, Tempo, Timestamp, WorkloadName, limits,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const NODES: u64 = 1_000;
/// 20 projects of 50 services of 100 replicas: 100,000 allocs.
const PROJECTS: usize = 20;
const SERVICES: usize = 50;
const REPLICAS: u32 = 100;
/// The share of projects that the smaller cluster has.
const TENTH: usize = 10;
/// How often each cost is measured.
const TIMES: usize = 10;
const TIMES_LONG: usize = 100;
/// Rounds of deciding within which every deploy must have ended.
const ROUNDS_MAX: usize = 100;

fn main() -> Outcome<()> {
    let times = if std::env::args().any(|arg| arg == "--long") { TIMES_LONG } else { TIMES };
    let mut small = World::with_nodes()?;
    let filled_small = small.fill(PROJECTS / TENTH)?;
    let mut large = World::with_nodes()?;
    let filled = large.fill(PROJECTS)?;
    for (filled, world) in [(filled_small, &small), (filled, &large)] {
        println!(
            "placing {} allocs onto {NODES} nodes, {REPLICAS} a service: {:.0} placements/s (decided in {:.2?}, applied in {:.2?})",
            world.cluster.allocs.len(),
            rate(world.cluster.allocs.len(), filled.decided + filled.applied),
            filled.decided,
            filled.applied,
        );
    }
    let (mut here, mut there) = (Costs::default(), Costs::default());
    // one after the other, so that both see the same machine
    for _ in 0..times {
        small.measure(&mut here)?;
        large.measure(&mut there)?;
    }
    report("a decision that places 100 allocs", &mut here.deciding, &mut there.deciding);
    report("a decision that finds nothing to do", &mut here.idle, &mut there.idle);
    report("applying 100 placements", &mut here.placing, &mut there.placing);
    report("applying one node's report of one alloc", &mut here.reporting, &mut there.reporting);
    report("writing the state down", &mut here.writing, &mut there.writing);
    let [[_, deciding, _], [_, placing, _]] =
        [&mut there.deciding, &mut there.placing].map(|c| percentiles(c));
    println!(
        "with {} held: {:.0} placements/s, 100 a decision, at the median",
        large.cluster.allocs.len(),
        rate(100, deciding + placing)
    );
    Ok(())
}

/// Prints the larger cluster's median and spread, and how it compares with a tenth of the allocs.
fn report(what: &str, small: &mut [Duration], large: &mut [Duration]) {
    let [_, tenth, _] = percentiles(small);
    let [low, middle, high] = percentiles(large);
    println!(
        "with 100,000 held: {what}: median {middle:.2?}, p10 {low:.2?}, p90 {high:.2?}, {} times; with 10,000 {tenth:.2?} = {:.1} x",
        large.len(),
        middle.as_secs_f64() / tenth.as_secs_f64(),
    );
}

fn percentiles(took: &mut [Duration]) -> [Duration; 3] {
    took.sort_unstable();
    [10, 50, 90].map(|share| took.get((took.len() - 1) * share / 100).copied().unwrap_or_default())
}

#[expect(clippy::cast_precision_loss, reason = "counts of allocs")]
fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// What was measured, each once a round.
#[derive(Default)]
struct Costs {
    deciding: Vec<Duration>,
    idle: Vec<Duration>,
    placing: Vec<Duration>,
    reporting: Vec<Duration>,
    writing: Vec<Duration>,
}

/// Time that the decisions and the applications took that placed something.
#[derive(Default)]
struct Filled {
    decided: Duration,
    applied: Duration,
}

struct World {
    cluster: Cluster,
    now: Timestamp,
    random: u64,
    fetching: Fetching,
    projects: usize,
}

impl World {
    fn with_nodes() -> Outcome<Self> {
        let mut world = Self {
            cluster: Cluster::default(),
            now: Timestamp(1_000_000),
            random: 7,
            fetching: Fetching::default(),
            projects: 0,
        };
        world.apply(&Command::Bootstrap {
            cluster_id: "bench".to_owned(),
            node: node(1)?,
            admin_token_hash: [1; 32],
            ca_certificate: String::new(),
        })?;
        for id in 2..=NODES {
            world.apply(&Command::RegisterNode(node(id)?))?;
        }
        Ok(world)
    }

    /// Deploys `projects` of them, one after the other, until all of their replicas are healthy.
    fn fill(&mut self, projects: usize) -> Outcome<Filled> {
        let mut filled = Filled::default();
        for _ in 0..projects {
            let deployed = self.deploy_project(SERVICES)?;
            filled.decided += deployed.decided;
            filled.applied += deployed.applied;
        }
        let wanted = projects * SERVICES * usize::try_from(REPLICAS)?;
        match self.cluster.allocs.len() == wanted {
            true => Ok(filled),
            false => Err(format!("{} allocs were placed, not {wanted}", self.cluster.allocs.len()).into()),
        }
    }

    fn deploy_project(&mut self, services: usize) -> Outcome<Filled> {
        self.projects += 1;
        let name = ProjectName::new(format!("project-{}", self.projects))?;
        self.begin(&name, services)?;
        let mut filled = Filled::default();
        for _ in 0..ROUNDS_MAX {
            let (commands, decided) = self.decide();
            if commands.is_empty() {
                return Ok(filled);
            }
            let mut placed = false;
            for command in &commands {
                let applied = self.apply(command)?;
                if matches!(command, Command::PlaceAllocs(_)) {
                    placed = true;
                    filled.applied += applied;
                }
            }
            if placed {
                filled.decided += decided;
                self.everyone_is_healthy()?;
            }
        }
        Err(format!("the deploy of {name} doesn't end").into())
    }

    fn begin(&mut self, project: &ProjectName, services: usize) -> Outcome<()> {
        let specs: Outcome<Vec<ServiceSpec>> = (0..services).map(service).collect();
        let target = Arc::new(ProjectSpec { name: project.clone(), services: specs?, tasks: vec![] });
        self.apply(&Command::BeginDeploy {
            project: project.clone(),
            kind: DeployKind::Deploy,
            target,
            replace: false,
            by: "bench".to_owned(),
        })?;
        Ok(())
    }

    /// What the leader decides, and how long that took.
    fn decide(&mut self) -> (Vec<Command>, Duration) {
        self.now = self.now.after(Duration::from_millis(100));
        let tempo = Tempo::default();
        let mut random = self.random;
        let mut draw = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random >> 20
        };
        let begun = Instant::now();
        let facts = Facts { cluster: &self.cluster, fetching: &self.fetching, now: self.now, tempo: &tempo };
        let decision = decide(&facts, &mut draw);
        let took = begun.elapsed();
        self.random = random;
        self.fetching.asked = decision.fetches;
        (decision.commands, took)
    }

    /// Applies a command as the log brings it; how long that took.
    fn apply(&mut self, command: &Command) -> Outcome<Duration> {
        let begun = Instant::now();
        let entry = Entry { now: self.now, command: command.clone() }.encode();
        self.cluster.apply(&entry)??;
        Ok(begun.elapsed())
    }

    /// Every node reports its new allocs as healthy.
    fn everyone_is_healthy(&mut self) -> Outcome<()> {
        let mut reports: BTreeMap<NodeId, Vec<AllocStatus>> = BTreeMap::new();
        for alloc in self.cluster.allocs.values().filter(|alloc| alloc.status.phase == Phase::Pending) {
            let status = AllocStatus {
                phase: Phase::Healthy,
                revision: alloc.status.revision + 1,
                incarnation: Incarnation(1),
                ..alloc.status.clone()
            };
            reports.entry(alloc.node).or_default().push(status);
        }
        for (node, statuses) in reports {
            for batch in statuses.chunks(limits::REPORTS_PER_BATCH_MAX) {
                self.apply(&Command::ReportAllocs { node, statuses: batch.to_vec() })?;
            }
        }
        Ok(())
    }

    /// One more service of 100 replicas comes and goes; each of its steps is measured.
    fn measure(&mut self, costs: &mut Costs) -> Outcome<()> {
        let (commands, idle) = self.decide();
        if !commands.is_empty() {
            return Err(format!("there was something to do: {commands:?}").into());
        }
        costs.idle.push(idle);
        let begun = Instant::now();
        let state = self.cluster.to_snapshot();
        costs.writing.push(begun.elapsed());
        if state.is_empty() {
            return Err("an empty snapshot".into());
        }
        let held = self.cluster.clone();
        self.begin(&ProjectName::new("more")?, 1)?;
        let (commands, _) = self.decide();
        commands.iter().try_for_each(|command| self.apply(command).map(drop))?;
        let (commands, deciding) = self.decide();
        let placed: usize = commands
            .iter()
            .map(|command| if let Command::PlaceAllocs(allocs) = command { allocs.len() } else { 0 })
            .sum();
        if placed != usize::try_from(REPLICAS)? {
            return Err(format!("{placed} allocs were placed: {commands:?}").into());
        }
        costs.deciding.push(deciding);
        for command in &commands {
            let took = self.apply(command)?;
            if let Command::PlaceAllocs(allocs) = command {
                costs.placing.push(took);
                let first = allocs.first().ok_or("no alloc")?;
                costs.reporting.push(self.report_one(&first.id)?);
            }
        }
        self.cluster = held;
        Ok(())
    }

    fn report_one(&mut self, id: &AllocId) -> Outcome<Duration> {
        let alloc = self.cluster.allocs.get(id).ok_or("the alloc isn't there")?;
        let status = AllocStatus {
            phase: Phase::Healthy,
            revision: alloc.status.revision + 1,
            incarnation: Incarnation(1),
            ..alloc.status.clone()
        };
        let took = self.apply(&Command::ReportAllocs { node: alloc.node, statuses: vec![status] })?;
        let phase = self.cluster.allocs.get(id).map(|alloc| alloc.status.phase);
        match phase == Some(Phase::Healthy) {
            true => Ok(took),
            false => Err("the report changed nothing".into()),
        }
    }
}

fn node(id: u64) -> Outcome<NodeFacts> {
    Ok(NodeFacts {
        id: NodeId(id),
        name: NodeName::new(format!("node-{id}"))?,
        advertise: IpAddr::V4(Ipv4Addr::LOCALHOST),
        capacity: Resources { cpu: Millicores(32_000), memory: Bytes(128 << 30) },
        version: "0".to_owned(),
    })
}

fn service(number: usize) -> Outcome<ServiceSpec> {
    let name = WorkloadName::new(format!("service-{number}"))?;
    let mut spec = ServiceSpec::new(name, format!("registry.example.com/app:{number}").parse()?);
    spec.container.resources = Resources { cpu: Millicores(100), memory: Bytes(256 << 20) };
    spec.replicas = REPLICAS;
    Ok(spec)
}
