//! What a cluster lives through.

use super::*;
use crate::{Change, ChangeRefused, ProposeError, ReadError};

fn ids(ids: &[u64]) -> BTreeSet<u64> {
    ids.iter().copied().collect()
}

#[test]
fn a_sole_voter_leads_at_once_and_commits_only_what_is_durable() {
    let mut cluster = Cluster::new(1, &[1]);
    cluster.prompt = false;
    cluster.machine(1).campaign();
    cluster.work(1);
    assert_eq!(cluster.machine(1).role(), Role::Leader);
    let proposed = cluster.machine(1).propose("a".into()).unwrap();
    cluster.work(1);
    assert_eq!(cluster.node(1).applied, vec![], "nothing is durable yet");
    cluster.persist_now(1);
    assert_eq!(cluster.commands(1), ["a"]);
    assert_eq!(cluster.node(1).applied[1].index, proposed.index);
    assert_eq!(cluster.node(1).applied[1].term, proposed.term);
}

#[test]
fn a_sole_voter_comes_back_with_all_that_it_confirmed() {
    let mut cluster = Cluster::new(1, &[1]);
    cluster.elect();
    for number in 0..20 {
        assert!(cluster.propose(&number.to_string()));
    }
    cluster.prompt = false;
    cluster.machine(1).propose("lost".into()).unwrap();
    cluster.work(1);
    cluster.restart(1);
    cluster.prompt = true;
    cluster.elect();
    assert_eq!(cluster.commands(1), (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn three_elect_one_and_a_follower_refuses_proposals_with_the_leaders_name() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(seed, &[1, 2, 3]);
        let leader = cluster.elect();
        let follower = leader % 3 + 1;
        let refused = cluster.machine(follower).propose("x".into());
        assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(leader) }));
        assert!(cluster.propose("a"));
        cluster.tick();
        for id in 1..=3 {
            assert_eq!(cluster.commands(id), ["a"], "seed {seed}");
        }
    }
}

#[test]
fn an_isolated_leader_steps_down_and_comes_back_without_disturbing_the_term() {
    let mut cluster = Cluster::new(3, &[1, 2, 3]);
    let old = cluster.elect();
    cluster.cut.insert(old);
    for _ in 0..60 {
        cluster.tick();
    }
    assert_ne!(cluster.machine(old).role(), Role::Leader);
    let new = cluster.leader().unwrap();
    let term = cluster.machine(new).term();
    assert!(cluster.machine(old).term() <= term, "asking beforehand costs no term");
    cluster.cut.clear();
    for _ in 0..30 {
        cluster.tick();
    }
    assert_eq!((cluster.leader(), cluster.machine(old).term()), (Some(new), term));
}

#[test]
fn the_same_seed_gives_the_same_elections_and_another_gives_others() {
    let run = |seed| {
        let mut cluster = Cluster::new(seed, &[1, 2, 3, 4, 5]);
        let mut seen = vec![];
        for round in 0..200 {
            if round % 40 == 20 {
                cluster.cut = cluster.leader().into_iter().collect();
            }
            cluster.tick();
            seen.push((cluster.leader(), cluster.nodes.values().map(|node| node.machine.term()).max()));
        }
        seen
    };
    let all: Vec<_> = (0..10).map(run).collect();
    assert_eq!(all, (0..10).map(run).collect::<Vec<_>>());
    assert!(all.windows(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn a_read_waits_for_a_leader_that_has_committed_in_its_term() {
    let mut cluster = Cluster::new(4, &[1, 2, 3]);
    assert_eq!(cluster.machine(1).read_index(vec![1]), Err(ReadError::NoLeader));
    let leader = cluster.elect();
    cluster.propose("a");
    let follower = leader % 3 + 1;
    for id in [leader, follower] {
        cluster.machine(id).read_index(vec![7]).unwrap();
        cluster.settle();
        let commit = cluster.machine(leader).commit_index();
        assert_eq!(cluster.node(id).reads, [ReadReady { context: vec![7], index: commit }]);
    }

    let mut sole = Cluster::new(4, &[1]);
    sole.prompt = false;
    sole.machine(1).campaign();
    assert_eq!(sole.machine(1).read_index(vec![1]), Err(ReadError::TooEarly));
    sole.work(1);
    sole.persist_now(1);
    sole.machine(1).read_index(vec![1]).unwrap();
    sole.work(1);
    assert_eq!(sole.node(1).reads, [ReadReady { context: vec![1], index: 2 }]);
}

#[test]
fn a_lone_leader_grows_to_three_by_learners_and_replaces_a_dead_voter_in_one_step() {
    let mut cluster = Cluster::new(5, &[1]);
    cluster.elect();
    for number in 0..30 {
        cluster.propose(&number.to_string());
    }
    cluster.snapshot(1);
    let learn = |id| Change { add: ids(&[id]), ..Change::default() };
    for id in [2, 3, 4] {
        cluster.add(id, 5, Restored::default());
        cluster.machine(1).change(&learn(id)).unwrap();
        for _ in 0..5 {
            cluster.tick();
        }
        assert_eq!(cluster.commands(id).len(), 30, "node {id} got the snapshot");
    }
    let promote = Change { promote: ids(&[2, 3]), ..Change::default() };
    cluster.machine(1).change(&promote).unwrap();
    assert_eq!(cluster.machine(1).change(&learn(9)), Err(ChangeRefused::Pending));
    for _ in 0..5 {
        cluster.tick();
    }
    let three = Membership { voters: ids(&[1, 2, 3]), learners: ids(&[4]), outgoing: ids(&[]) };
    for id in 1..=4 {
        assert_eq!(cluster.machine(id).members(), three, "the joint configuration was left");
    }
    cluster.cut.insert(2);
    let replace = Change { promote: ids(&[4]), remove: ids(&[2]), ..Change::default() };
    cluster.machine(1).change(&replace).unwrap();
    for _ in 0..5 {
        cluster.tick();
    }
    assert_eq!(cluster.machine(1).members(), voters(&[1, 3, 4]));
    assert!(cluster.propose("after"));
}

#[test]
fn a_voter_is_not_made_of_a_learner_that_lacks_the_log() {
    let mut cluster = Cluster::new(5, &[1]);
    cluster.elect();
    let two = Change { add: ids(&[2, 3]), ..Change::default() };
    cluster.machine(1).change(&two).unwrap();
    for number in 0..1100 {
        cluster.propose(&number.to_string());
    }
    cluster.tick();
    cluster.tick();
    let promote = Change { promote: ids(&[2, 3]), ..Change::default() };
    let refused = cluster.machine(1).change(&promote);
    assert!(matches!(refused, Err(ChangeRefused::Behind { id: 2, entries: 1101.. })), "{refused:?}");
}

#[test]
fn leadership_is_handed_over_on_demand() {
    let mut cluster = Cluster::new(6, &[1, 2, 3]);
    let leader = cluster.elect();
    cluster.propose("a");
    let to = leader % 3 + 1;
    cluster.machine(leader).transfer_leader(to);
    assert_eq!(cluster.machine(leader).propose("x".into()), Err(ProposeError::HandingOver));
    cluster.settle();
    assert_eq!(cluster.machine(to).role(), Role::Leader);
}

#[test]
fn what_waits_to_be_committed_is_bounded() {
    let mut cluster = Cluster::new(7, &[1, 2, 3]);
    let leader = cluster.elect();
    cluster.cut = (1..=3).filter(|id| *id != leader).collect();
    let big = Bytes::from(vec![1; 1 << 20]);
    let taken = (0..200).take_while(|_| cluster.machine(leader).propose(big.clone()).is_ok()).count();
    assert!((60..=65).contains(&taken), "{taken} MiB");
    assert_eq!(cluster.machine(leader).propose(big), Err(ProposeError::Overloaded));
    assert_eq!(cluster.machine(leader).propose(Bytes::new()), Err(ProposeError::Empty));
}

#[test]
fn a_snapshot_lets_go_of_the_entries_it_contains_save_a_few() {
    let mut cluster = Cluster::new(8, &[1]);
    cluster.elect();
    let text = "x".repeat(10_000);
    for _ in 0..500 {
        cluster.propose(&text);
    }
    let before = cluster.machine(1).raw().store().bytes();
    cluster.snapshot(1);
    let after = cluster.machine(1).raw().store().bytes();
    assert!(before > 5_000_000 && after <= 1 << 20, "{before} to {after}");
    cluster.propose("y");
    cluster.restart(1);
    cluster.elect();
    assert_eq!(cluster.commands(1).len(), 501);
}

#[test]
fn a_mark_has_the_members_of_its_index_and_only_what_is_applied_has_one() {
    let mut cluster = Cluster::new(9, &[1]);
    cluster.elect();
    let last = cluster.machine(1).last_index();
    cluster.machine(1).change(&Change { add: ids(&[2]), ..Change::default() }).unwrap();
    // What is handed out but not applied can't be marked.
    let work = cluster.machine(1).ready().unwrap();
    cluster.machine(1).persisted(work.number);
    let work = cluster.machine(1).ready().unwrap();
    assert_eq!(work.committed.len(), 1);
    assert_eq!(cluster.machine(1).mark_at(last).unwrap().members, voters(&[1]));
    assert_eq!(cluster.machine(1).mark_at(last + 1), None);
    cluster.machine(1).applied(last + 1);
    assert_eq!(cluster.machine(1).mark_at(last + 1).unwrap().members.learners, ids(&[2]));
}
