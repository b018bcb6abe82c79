//! Messages that no honest node sends: refused, never a panic.

use proptest::prelude::*;
use protobuf::{Message as _, ProtobufEnum as _};
use raft::eraftpb::{ConfState, Entry as RaftEntry, EntryType, Message, MessageType};

use super::*;

/// A node in each role, with some log.
fn node(role: usize) -> Machine {
    let mut cluster = Cluster::new(1, &[1, 2, 3]);
    let leader = cluster.elect();
    (0..5).for_each(|number| assert!(cluster.propose(&number.to_string())));
    cluster.tick();
    let id = if role == 0 { leader } else { leader % 3 + 1 };
    if role == 2 {
        cluster.cut.insert(id);
        (0..25).for_each(|_| cluster.tick());
    }
    cluster.nodes.remove(&id).unwrap().machine
}

fn small() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..10, 1 => any::<u64>()]
}

prop_compose! {
    fn message()(
        kind in 0usize..19,
        ids in (0u64..5, 0u64..5),
        numbers in (small(), small(), small(), small(), small(), small()),
        entries in prop::collection::vec((small(), small(), 0usize..3, prop::collection::vec(any::<u8>(), 0..4)), 0..4),
        members in (prop::collection::vec(0u64..5, 0..4), prop::collection::vec(0u64..5, 0..3), any::<bool>()),
        flags in (any::<bool>(), prop::bool::weighted(0.1)),
    ) -> Message {
        let mut message = Message::default();
        message.set_msg_type(MessageType::values()[kind % MessageType::values().len()]);
        (message.from, message.to) = ids;
        (message.term, message.index, message.log_term) = (numbers.0, numbers.1, numbers.2);
        (message.commit, message.commit_term, message.reject_hint) = (numbers.3, numbers.4, numbers.5);
        message.reject = flags.0;
        message.request_snapshot = u64::from(flags.1);
        let entries: Vec<RaftEntry> = entries.into_iter().map(|(index, term, kind, data)| {
            let mut entry = RaftEntry::default();
            (entry.index, entry.term, entry.data) = (index, term, data.into());
            entry.set_entry_type(EntryType::values()[kind]);
            entry
        }).collect();
        message.set_entries(entries.into());
        let mut state = ConfState::default();
        state.set_voters(members.0);
        state.set_learners(members.1);
        state.set_auto_leave(members.2);
        message.mut_snapshot().mut_metadata().set_conf_state(state);
        message.mut_snapshot().mut_metadata().index = numbers.1;
        message.mut_snapshot().mut_metadata().term = numbers.2;
        message
    }
}

/// Does what a message leads to.
fn go_on(machine: &mut Machine) {
    for _ in 0..3 {
        while let Some(work) = machine.ready() {
            machine.persisted(work.number);
            machine.applied(work.install.map_or(0, |mark| mark.index));
            work.committed.iter().for_each(|entry| machine.applied(entry.index));
        }
        machine.tick();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_message_ends_the_process(messages in prop::collection::vec(message(), 1..5), role in 0usize..3) {
        let mut machine = node(role);
        for message in messages {
            let _refused_or_not = machine.step(&message.write_to_bytes().unwrap());
            go_on(&mut machine);
        }
    }

    #[test]
    fn no_bytes_end_the_process(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut machine = node(1);
        let _refused_or_not = machine.step(&bytes);
        go_on(&mut machine);
    }
}

#[test]
fn what_lies_behind_the_end_of_the_log_needs_a_term() {
    let mut machine = node(1);
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgAppend);
    (message.from, message.to, message.term) = (1, machine.raw().raft.id, 2);
    (message.index, message.commit) = (machine.last_index() + 1, machine.last_index() + 1);
    let nonsense = Err(crate::StepError::Nonsense { from: message.from });
    assert_eq!(machine.step(&message.write_to_bytes().unwrap()), nonsense);
    message.set_msg_type(MessageType::MsgSnapshot);
    let metadata = message.mut_snapshot().mut_metadata();
    metadata.index = machine.last_index() + 1;
    metadata.mut_conf_state().set_voters(vec![2]);
    assert_eq!(machine.step(&message.write_to_bytes().unwrap()), nonsense);
}

#[test]
fn proposals_and_the_machines_own_events_are_not_taken_from_others() {
    let mut machine = node(1);
    for kind in
        [MessageType::MsgPropose, MessageType::MsgHup, MessageType::MsgBeat, MessageType::MsgTransferLeader]
    {
        let mut message = Message::default();
        message.set_msg_type(kind);
        (message.from, message.to, message.term) = (9, machine.raw().raft.id, 1);
        let refused = machine.step(&message.write_to_bytes().unwrap());
        assert_eq!(refused, Err(crate::StepError::Local { kind: kind.value() }));
    }
}
