//! What a look at 1,000 allocs costs the node that `mill top` asks: the kernel's account of their groups, and the answer.
//!
//! `cargo run --release -p mill-tests --example looks`: as root, since it makes that many control groups, and removes
//! them again. They are empty, which the kernel's sums don't mind.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use mill_api::nodes::NodeState;
use mill_api::top::{Spent, Top, TopAlloc, TopNode};
use mill_drivers::cgroups::{Account, Cgroups, Usage};
use mill_model::{AllocId, Bytes, Millicores, NodeName, Phase, Resources, Timestamp, Workload};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ALLOCS: usize = 1000;
/// As many looks as idle page cache takes to be read of all.
const LOOKS: u32 = 16;
/// Where the controllers are mounted that count: those of v1 and hybrid systems, or the one hierarchy of v2.
const V1: [&str; 2] = ["/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/memory"];
const V2: &str = "/sys/fs/cgroup";

fn main() -> Outcome<()> {
    let parent = format!("/mill-looks-{}", std::process::id());
    let made = groups(&parent)?;
    let result = measure(&parent);
    for group in made.iter().rev() {
        std::fs::remove_dir(group)?;
    }
    result
}

fn groups(parent: &str) -> Outcome<Vec<PathBuf>> {
    let is_v2 = PathBuf::from(V2).join("cgroup.controllers").exists();
    let roots = if is_v2 { vec![V2] } else { V1.to_vec() };
    let mut made = vec![];
    for root in roots.into_iter().map(PathBuf::from) {
        let above = root.join(parent.trim_start_matches('/'));
        std::fs::create_dir(&above)?;
        made.push(above.clone());
        if is_v2 {
            std::fs::write(above.join("cgroup.subtree_control"), "+cpu +memory")?;
        }
        for number in 0..ALLOCS {
            let group = above.join(format!("web-{number}.1"));
            std::fs::create_dir(&group)?;
            made.push(group);
        }
    }
    Ok(made)
}

fn measure(parent: &str) -> Outcome<()> {
    let cgroups = Cgroups::detect(parent)?;
    let mut account = Account::default();
    let first = spent(|| Ok(account.look(&cgroups)?.len()))?;
    let mut length = 0;
    let looks = spent(|| {
        for _ in 0..LOOKS {
            let seen = account.look(&cgroups)?;
            length = serde_json::to_vec(&answer(seen.values().copied())?)?.len();
        }
        Ok(length)
    })?;
    let each = looks / LOOKS;
    let percent = each.as_secs_f64() * 100.0;
    println!(
        "{ALLOCS} allocs: {each:?} a look and its answer of {length} bytes: {percent:.2} % of a core at one a second"
    );
    println!("the first look, which reads all files: {first:?}");
    Ok(())
}

fn answer(seen: impl Iterator<Item = Usage>) -> Outcome<Top> {
    let node: NodeName = "node-1".parse()?;
    let workload = Workload { project: "shop".parse()?, name: "web".parse()? };
    let alloc = |(number, usage): (u64, Usage)| TopAlloc {
        id: AllocId::derive(&workload.name, number),
        workload: workload.clone(),
        node: node.clone(),
        phase: Phase::Healthy,
        restarts: 0,
        limit: Resources { cpu: Millicores(250), memory: Bytes(256 << 20) },
        spent: Some(Spent {
            cpu_us: u64::try_from(usage.cpu_time.as_micros()).unwrap_or(u64::MAX),
            memory: usage.memory.0,
        }),
    };
    let capacity = Resources { cpu: Millicores(2000), memory: Bytes(4 << 30) };
    Ok(Top {
        node: node.clone(),
        at: Timestamp(0),
        at_us: 0,
        problem: None,
        nodes: vec![TopNode { name: node.clone(), state: NodeState::Ready, capacity }],
        allocs: (0..).zip(seen).map(alloc).collect(),
    })
}

/// The processor time that this thread takes for it.
fn spent(work: impl FnOnce() -> Outcome<usize>) -> Outcome<Duration> {
    let before = processor_time()?;
    std::hint::black_box(work()?);
    Ok(processor_time()?.saturating_sub(before))
}

/// Nanoseconds on a processor, the first number of the thread's `schedstat` (proc(5)).
fn processor_time() -> Outcome<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(text.split(' ').next().unwrap_or_default().parse()?))
}
