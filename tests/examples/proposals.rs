//! Proposals a second through the log's actor on a real disk, beside a loop of bare writes and fdatasyncs of the same
//! size on the same disk.
//!
//! `cargo run --release -p mill-tests --example proposals [-- --long] [DIRECTORY]`: below that directory, or the
//! current one, it makes one of its own and removes it again (a RAM disk would prove nothing). A proposal is what most
//! writes of a running cluster are: a node's report of one alloc, encoded, logged, synced, applied with its checks,
//! published, answered.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mill_actors::kit::{Address, Tree};
use mill_actors::raft::{Args, Msg, Published, Raft};
use mill_control::fetch::Fetching;
use mill_control::leader::{Facts, decide};
use mill_drivers::clock::{Clock as _, SystemClock};
use mill_drivers::disk::{Directory as _, Disk as _, RealDisk};
use mill_fsm::{Cluster, Command, DeployKind, Entry};
use mill_model::node::NodeFacts;
use mill_model::{
    AllocStatus, Bytes, Incarnation, Millicores, NodeId, NodeName, Phase, ProjectName, ProjectSpec,
    Resources, ServiceSpec, Tempo, WorkloadName,
};
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Users who each wait for the answer to their last proposal.
const OUTSTANDING: [usize; 3] = [1, 16, 256];
/// An alloc for each user.
const ALLOCS: u32 = 256;
/// How long each side of a pair is measured: short, because a shared disk changes its mind within seconds.
const LASTS: Duration = Duration::from_millis(200);
/// Pairs of each kind, one right after the other.
const PAIRS: usize = 10;
const PAIRS_LONG: usize = 60;
/// Decisions within which every alloc must be placed.
const ROUNDS_MAX: usize = 20;
/// How long the log may take to lead, and a proposal to be answered.
const WITHIN: Duration = Duration::from_secs(10);
/// Space that is set aside before bare writes are measured, as the log does.
const RESERVED: u64 = 64 << 20;

#[tokio::main]
async fn main() -> Outcome<()> {
    let (flags, paths): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let below = paths.first().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let place = below.join(format!("proposals-{}", std::process::id()));
    std::fs::create_dir_all(&place)?;
    let pairs = if flags.iter().any(|flag| flag == "--long") { PAIRS_LONG } else { PAIRS };
    let result = measure_all(&place, pairs).await;
    std::fs::remove_dir_all(&place)?;
    result
}

async fn measure_all(place: &Path, pairs: usize) -> Outcome<()> {
    let log = Log::start(&place.join("raft")).await?;
    let size = log.report(0, 1)?.encode().len();
    println!("reports of one alloc, {size} bytes each; medians of {pairs} pairs");
    for outstanding in OUTSTANDING {
        let (mut rates, mut floors, mut ratios) = (vec![], vec![], vec![]);
        for _ in 0..pairs {
            let floor = bare(&place.join("bare"), size)?;
            let rate = log.measure(outstanding).await?;
            ratios.push(rate / floor);
            rates.push(rate);
            floors.push(floor);
        }
        let [low, middle, high] = percentiles(&mut rates);
        let [ratio_low, ratio, ratio_high] = percentiles(&mut ratios);
        let [_, floor, _] = percentiles(&mut floors);
        println!(
            "{outstanding:>4} outstanding: median {middle:.0} /s, p10 {low:.0}, p90 {high:.0}; beside bare writes and fdatasyncs {floor:.0} /s: ratio {ratio:.2} [{ratio_low:.2}, {ratio_high:.2}]"
        );
    }
    log.tree.stop(WITHIN).await?;
    Ok(())
}

fn percentiles(values: &mut [f64]) -> [f64; 3] {
    values.sort_unstable_by(f64::total_cmp);
    [10, 50, 90].map(|share| values.get((values.len() - 1) * share / 100).copied().unwrap_or_default())
}

/// The least that a durable write of this size costs here.
fn bare(path: &Path, size: usize) -> Outcome<f64> {
    let mut directory = RealDisk.open(path)?;
    directory.create("bare")?;
    directory.reserve("bare", RESERVED)?;
    directory.sync("bare")?;
    let (record, started, mut count) = (vec![7; size], Instant::now(), 0);
    while started.elapsed() < LASTS {
        directory.write("bare", count * size as u64 % RESERVED, &record)?;
        directory.sync("bare")?;
        count += 1;
    }
    let rate = rate(count, started);
    directory.remove("bare")?;
    Ok(rate)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a second")]
fn rate(count: u64, started: Instant) -> f64 {
    count as f64 / started.elapsed().as_secs_f64()
}

/// A log of one voter, which has a node with an alloc for each user.
struct Log {
    tree: Tree<Msg>,
    published: Published,
}

impl Log {
    async fn start(directory: &Path) -> Outcome<Self> {
        let published = Published::default();
        let args = Args {
            disk: RealDisk,
            directory: directory.to_owned(),
            clock: SystemClock,
            node: NodeId(1),
            log: 1,
            had_state: false,
            seed: 1,
            published: published.clone(),
        };
        let tree = Tree::start::<Raft<RealDisk, SystemClock>>("raft", args, Arc::default()).await?;
        let mut role = published.role.subscribe();
        tokio::time::timeout(WITHIN, role.wait_for(|role| role.is_leading)).await??;
        drop(role);
        let log = Self { tree, published };
        log.deploy().await?;
        Ok(log)
    }

    async fn deploy(&self) -> Outcome<()> {
        let node = NodeFacts {
            id: NodeId(1),
            name: NodeName::new("node-1")?,
            advertise: IpAddr::V4(Ipv4Addr::LOCALHOST),
            capacity: Resources { cpu: Millicores(512_000), memory: Bytes(1 << 40) },
            version: "0".to_owned(),
        };
        let (cluster_id, ca_certificate) = ("bench".to_owned(), String::new());
        let bootstrap = Command::Bootstrap { cluster_id, node, admin_token_hash: [1; 32], ca_certificate };
        self.propose(bootstrap).await?;
        let mut service = ServiceSpec::new(WorkloadName::new("web")?, "registry.example.com/web:v1".parse()?);
        service.replicas = ALLOCS;
        let project = ProjectName::new("bench")?;
        let target = ProjectSpec { name: project.clone(), services: vec![service], tasks: vec![] };
        let (kind, by) = (DeployKind::Deploy, "bench".to_owned());
        let target = Arc::new(target);
        self.propose(Command::BeginDeploy { project, kind, target, replace: false, by }).await?;
        for round in 0..ROUNDS_MAX {
            let cluster = self.cluster();
            if cluster.allocs.len() == usize::try_from(ALLOCS)? {
                return Ok(());
            }
            let mut drawn = round as u64 * 1_000_003;
            let mut draw = || {
                drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                drawn >> 20
            };
            let (fetching, tempo) = (Fetching::default(), Tempo::default());
            let facts =
                Facts { cluster: &cluster, fetching: &fetching, now: SystemClock.now(), tempo: &tempo };
            for command in decide(&facts, &mut draw).commands {
                self.propose(command).await?;
            }
        }
        Err("the allocs aren't placed".into())
    }

    fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.published.cluster.borrow())
    }

    async fn propose(&self, command: Command) -> Outcome<()> {
        propose(&self.tree.root(), command).await
    }

    /// What the node says of alloc number `user`, for the `count`th time from now on.
    fn report(&self, user: usize, count: u64) -> Outcome<Entry> {
        let cluster = self.cluster();
        let alloc = cluster.allocs.values().nth(user).ok_or("no alloc for this user")?;
        let status = AllocStatus {
            phase: Phase::Healthy,
            incarnation: Incarnation(1),
            revision: alloc.status.revision + count,
            ..alloc.status.clone()
        };
        let command = Command::ReportAllocs { node: NodeId(1), statuses: vec![status] };
        Ok(Entry { now: SystemClock.now(), command })
    }

    /// Proposals a second of so many users. Fails unless each of them is in the state afterwards.
    async fn measure(&self, outstanding: usize) -> Outcome<f64> {
        let mut users = JoinSet::new();
        let before: u64 = self.cluster().allocs.values().map(|alloc| alloc.status.revision).sum();
        let reports: Outcome<Vec<Entry>> = (0..outstanding).map(|user| self.report(user, 0)).collect();
        let started = Instant::now();
        for report in reports? {
            users.spawn(go_on(self.tree.root(), report.command, started));
        }
        let mut count = 0;
        while let Some(done) = users.join_next().await {
            count += done??;
        }
        let rate = rate(count, started);
        let after: u64 = self.cluster().allocs.values().map(|alloc| alloc.status.revision).sum();
        match after - before == count {
            true => Ok(rate),
            false => Err(format!("{count} proposals were answered, {} are applied", after - before).into()),
        }
    }
}

/// Proposes one report after the other, each newer than the last; how many.
async fn go_on(log: Address<Msg>, mut command: Command, started: Instant) -> Outcome<u64> {
    let mut count = 0;
    while started.elapsed() < LASTS {
        if let Command::ReportAllocs { statuses, .. } = &mut command {
            statuses.iter_mut().for_each(|status| status.revision += 1);
        }
        propose(&log, command.clone()).await?;
        count += 1;
    }
    Ok(count)
}

async fn propose(log: &Address<Msg>, command: Command) -> Outcome<()> {
    log.ask(WITHIN, |reply| Msg::Propose { command, reply }).await??;
    Ok(())
}
