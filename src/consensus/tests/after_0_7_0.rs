//! What was fixed in raft-rs after 0.7.0, and what would end the process in it.

use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use super::*;
use crate::{Change, Entry, Kind, Unusable};

fn bytes(message: &Message) -> Vec<u8> {
    message.write_to_bytes().unwrap()
}

fn rejection(from: u64, to: u64, term: u64, index: u64, hint: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgAppendResponse);
    (message.from, message.to, message.term) = (from, to, term);
    (message.index, message.reject, message.reject_hint) = (index, true, hint);
    message
}

/// tikv/raft-rs#557: a late rejection moved `next_idx` back to what the follower is known to have.
#[test]
fn a_late_rejection_never_moves_the_next_index_behind_the_matched_one() {
    let mut cluster = Cluster::new(1, &[1, 2, 3]);
    let leader = cluster.elect();
    for number in 0..10 {
        cluster.propose(&number.to_string());
    }
    let follower = leader % 3 + 1;
    let term = cluster.machine(leader).term();
    // Unreachable: back to probing, from the last index that is known to match.
    cluster.machine(leader).unreachable(follower);
    let progress = cluster.machine(leader).raw().raft.prs().get(follower).unwrap();
    let (matched, next) = (progress.matched, progress.next_idx);
    assert!(matched > 5 && next > matched);
    for index in 0..next + 2 {
        for hint in 0..=index {
            let message = bytes(&rejection(follower, leader, term, index, hint));
            cluster.machine(leader).step(&message).unwrap();
            let progress = cluster.machine(leader).raw().raft.prs().get(follower).unwrap();
            assert!(progress.next_idx > progress.matched, "rejected {index}, hint {hint}");
        }
    }
    cluster.settle();
    cluster.propose("after");
    cluster.tick();
    assert_eq!(cluster.commands(follower).last().unwrap(), "after");
}

/// tikv/raft-rs#530: to campaign, raft-rs reads all entries between applied and committed at once.
#[test]
fn a_node_that_has_much_to_apply_does_not_campaign_until_it_has() {
    let entry = |index| Entry { index, term: 1, kind: Kind::Command, data: "x".into() };
    let restored = Restored {
        hard_state: HardState { term: 1, vote: 0, commit: 9001 },
        mark: Some(first_mark(&voters(&[1]))),
        entries: (2..=9001).map(entry).collect(),
    };
    let mut machine = Machine::new(&Settings::new(1, 1), restored).unwrap();
    machine.campaign();
    (0..50).for_each(|_| machine.tick());
    assert_eq!(machine.role(), Role::Follower { leader: None });
    let work = machine.ready().unwrap();
    machine.persisted(work.number);
    let last = work.committed.last().unwrap().index;
    assert_eq!(last, 9001, "what was committed is handed out before any election");
    machine.applied(last);
    machine.campaign();
    assert_eq!(machine.role(), Role::Leader);
}

/// tikv/raft-rs#537, #543, #561 are about applied and persisted; 0.7.0 panics when told of more than both.
#[test]
fn reports_of_applied_out_of_range_have_no_effect() {
    let mut cluster = Cluster::new(2, &[1]);
    cluster.prompt = false;
    cluster.machine(1).campaign();
    cluster.machine(1).propose("a".into()).unwrap();
    cluster.work(1);
    for index in [0, 1, 2, 3, 99, u64::MAX] {
        cluster.machine(1).applied(index);
    }
    cluster.persist_now(1);
    cluster.machine(1).applied(u64::MAX);
    cluster.machine(1).applied(1);
    assert_eq!(cluster.commands(1), ["a"]);
}

/// The assertion in `become_leader`: last index and persisted index are the same.
#[test]
fn a_sole_voter_does_not_campaign_while_entries_are_in_flight() {
    let mut cluster = Cluster::new(3, &[1]);
    cluster.prompt = false;
    // Entries from a leader that was a member once; this node voted alone before and after.
    let mut append = Message::default();
    append.set_msg_type(MessageType::MsgAppend);
    (append.from, append.to, append.term, append.index, append.log_term) = (2, 1, 1, 1, 1);
    append.set_entries(
        vec![crate::log::to_raft(Entry { index: 2, term: 1, kind: Kind::Command, data: "a".into() })].into(),
    );
    cluster.machine(1).step(&bytes(&append)).unwrap();
    cluster.work(1);
    for _ in 0..50 {
        cluster.machine(1).tick();
        cluster.machine(1).campaign();
        cluster.work(1);
    }
    assert_ne!(cluster.machine(1).role(), Role::Leader);
    let mut now = Message::default();
    now.set_msg_type(MessageType::MsgTimeoutNow);
    (now.from, now.to, now.term) = (2, 1, 1);
    cluster.machine(1).step(&bytes(&now)).unwrap();
    assert_ne!(cluster.machine(1).role(), Role::Leader);
    cluster.persist_now(1);
    cluster.machine(1).campaign();
    assert_eq!(cluster.machine(1).role(), Role::Leader);
}

/// raft.rs: "it may never auto_leave if leader steps down before enter joint is applied".
#[test]
fn a_joint_configuration_is_left_also_when_its_leader_dies_before_applying_it() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(seed, &[1, 2, 3]);
        let leader = cluster.elect();
        for id in [4, 5] {
            cluster.add(id, seed, Restored::default());
        }
        let change = Change { add: [4, 5].into(), ..Change::default() };
        cluster.machine(leader).change(&change).unwrap();
        (0..6).for_each(|_| cluster.tick());
        let promote = Change { promote: [4, 5].into(), ..Change::default() };
        cluster.machine(leader).change(&promote).unwrap();
        // The entry leaves the leader; then it is gone.
        cluster.work(leader);
        for (from, out) in std::mem::take(&mut cluster.wire) {
            cluster.deliver(from, &out);
        }
        cluster.node(leader).up = false;
        cluster.cut.insert(leader);
        let new = cluster.elect();
        (0..10).for_each(|_| cluster.tick());
        let members = cluster.machine(new).members();
        assert_eq!((members.voters.len(), members.outgoing.len()), (5, 0), "seed {seed}");
    }
}

/// raft-rs panics on a heartbeat that commits more than the log has: the disk lied.
#[test]
fn a_leader_that_counts_on_entries_lost_here_is_refused() {
    let mut cluster = Cluster::new(4, &[1, 2, 3]);
    let leader = cluster.elect();
    (0..10).for_each(|number| assert!(cluster.propose(&number.to_string())));
    cluster.tick();
    let victim = leader % 3 + 1;
    cluster.node(victim).durable.entries.truncate(3);
    cluster.node(victim).durable.hard_state.commit = 2;
    cluster.restart(victim);
    let term = cluster.machine(leader).term();
    let mut heartbeat = Message::default();
    heartbeat.set_msg_type(MessageType::MsgHeartbeat);
    (heartbeat.from, heartbeat.to, heartbeat.term, heartbeat.commit) = (leader, victim, term, 9);
    let refused = cluster.machine(victim).step(&bytes(&heartbeat));
    assert_eq!(refused, Err(crate::StepError::LostLog { expected: 9, last: 4 }));
}

#[test]
fn what_contradicts_itself_is_no_start() {
    let mark = Some(first_mark(&voters(&[1])));
    let entry = |index| Entry { index, term: 1, kind: Kind::Command, data: "x".into() };
    let at = |commit| HardState { term: 1, vote: 0, commit };
    let start = |settings: &Settings, hard_state, entries| {
        Machine::new(settings, Restored { hard_state, mark: mark.clone(), entries }).err()
    };
    let fine = Settings::new(1, 1);
    assert_eq!(start(&fine, at(2), vec![entry(2)]), None);
    assert_eq!(start(&fine, at(1), vec![entry(3)]), Some(Unusable::Order { last: 1, found: 3 }));
    assert_eq!(start(&fine, at(3), vec![entry(2)]), Some(Unusable::Commit { commit: 3, first: 1, last: 2 }));
    assert_eq!(start(&fine, at(0), vec![]), Some(Unusable::Commit { commit: 0, first: 1, last: 1 }));
    let nobody = Settings { id: 0, ..fine };
    assert!(matches!(start(&nobody, at(1), vec![]), Some(Unusable::Settings { .. })));
}
