//! Seeds: lost, late and doubled messages, cut-off nodes, power losses, slow disks, snapshots. Never two leaders in
//! a term or two entries at an index, and nothing confirmed is lost; in the end all agree.

use super::*;

const SEEDS: u64 = 150;

fn run(seed: u64) {
    let size = 3 + 2 * (seed % 2);
    let mut cluster = Cluster::new(seed, &(1..=size).collect::<Vec<_>>());
    cluster.prompt = false;
    let mut confirmed: Vec<String> = vec![];
    for round in 0..600 {
        disturb(&mut cluster, size);
        if cluster.random.below(3) == 0 {
            let id = 1 + cluster.random.below(usize::try_from(size).unwrap()) as u64;
            let text = format!("{seed}.{round}");
            if cluster.node(id).up {
                let _refused_or_not = cluster.machine(id).propose(Bytes::from(text));
            }
        }
        step(&mut cluster);
        confirmed.extend(newly_confirmed(&cluster, confirmed.len()));
    }
    cluster.cut.clear();
    cluster.prompt = true;
    for id in 1..=size {
        if cluster.node(id).up {
            cluster.persist_now(id);
        } else {
            cluster.restart(id);
        }
    }
    cluster.elect();
    cluster.propose("end");
    (0..30).for_each(|_| cluster.tick());
    for id in 1..=size {
        let commands = cluster.commands(id);
        assert_eq!(commands.last().map(String::as_str), Some("end"), "node {id} is behind");
        assert_eq!(commands[..confirmed.len()], confirmed, "node {id} lost what was confirmed");
    }
}

/// Commands that some node applied: its proposer may have been told.
fn newly_confirmed(cluster: &Cluster, known: usize) -> Vec<String> {
    let commands = cluster.truth.values().filter_map(|entry| match &entry.payload {
        Payload::Command(data) => Some(String::from_utf8(data.to_vec()).unwrap()),
        _ => None,
    });
    commands.skip(known).collect()
}

fn disturb(cluster: &mut Cluster, size: u64) {
    let id = 1 + cluster.random.below(usize::try_from(size).unwrap()) as u64;
    match cluster.random.below(60) {
        0 => cluster.node(id).up = false,
        1 | 2 => {
            let down: Vec<u64> =
                cluster.nodes.iter().filter(|(_, node)| !node.up).map(|(id, _)| *id).collect();
            down.into_iter().for_each(|id| cluster.restart(id));
        }
        3 => cluster.restart(id),
        4 => {
            cluster.cut.insert(id);
        }
        5 | 6 => cluster.cut.clear(),
        7 => {
            cluster.persist_now(id);
            cluster.snapshot(id);
        }
        _ => {}
    }
}

/// Some of what could happen next.
fn step(cluster: &mut Cluster) {
    for id in cluster.nodes.keys().copied().collect::<Vec<_>>() {
        if !cluster.node(id).up {
            continue;
        }
        if cluster.random.below(4) == 0 {
            cluster.machine(id).tick();
        }
        cluster.work(id);
        if cluster.random.below(3) > 0 {
            cluster.persist_now(id);
        }
    }
    let wire = std::mem::take(&mut cluster.wire);
    for (from, out) in wire {
        match cluster.random.below(20) {
            0 => {}
            1..=4 => cluster.wire.push((from, out)),
            5 => {
                cluster.wire.push((from, out.clone()));
                cluster.deliver(from, &out);
            }
            _ => cluster.deliver(from, &out),
        }
    }
}

#[test]
fn whatever_a_seed_does_the_cluster_agrees_and_loses_nothing_confirmed() {
    for seed in 0..SEEDS {
        let done = std::panic::catch_unwind(|| run(seed));
        assert!(done.is_ok(), "seed {seed} failed");
    }
}
