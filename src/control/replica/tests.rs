use mill_consensus::Payload;
use mill_wal::{FileName, Op};

use super::*;

const LOG: u64 = 7;

fn sole() -> Replica {
    Replica::bootstrap(&Config::new(1, 1), LOG, b"start".to_vec()).unwrap()
}

/// Says that all is written until there is nothing more to write; what came out meanwhile.
fn settle(replica: &mut Replica) -> Effects {
    let mut all = replica.effects();
    let mut write = all.write.take();
    while let Some(batch) = write {
        replica.persisted(batch.number);
        let effects = replica.effects();
        effects.apply.iter().for_each(|entry| replica.applied(entry.index));
        all.apply.extend(effects.apply);
        all.send.extend(effects.send);
        all.install = effects.install.or(all.install);
        all.role = effects.role.or(all.role);
        all.snapshot_wanted |= effects.snapshot_wanted;
        write = effects.write;
    }
    all
}

fn commands(effects: &Effects) -> Vec<Bytes> {
    let command = |entry: &Committed| match &entry.payload {
        Payload::Command(data) => Some(data.clone()),
        _ => None,
    };
    effects.apply.iter().filter_map(command).collect()
}

fn syncs(batch: &Batch) -> usize {
    batch.ops.iter().filter(|op| matches!(op, Op::Sync { .. })).count()
}

#[test]
fn a_new_cluster_hands_out_its_first_state_and_leads_as_soon_as_that_is_durable() {
    let mut replica = sole();
    let first = replica.effects();
    assert_eq!(first.install, Some(Snapshot { index: FIRST_INDEX, data: b"start".to_vec() }));
    assert_eq!(first.role, Some((Role::Leader, 2)));
    assert!(first.apply.is_empty());
    let batch = first.write.unwrap();
    assert!(batch.ops.contains(&Op::Create { file: FileName::Segment(1) }));
    replica.persisted(batch.number);
    let next = replica.effects();
    assert!(next.apply.is_empty(), "the leader's first entry is still in memory: {:?}", next.apply);
    replica.persisted(next.write.unwrap().number);
    assert_eq!(replica.effects().apply[0].payload, Payload::Nothing);
}

#[test]
fn nothing_is_confirmed_before_its_batch_is_and_one_sync_covers_what_gathered() {
    let mut replica = sole();
    settle(&mut replica);
    replica.propose("a").unwrap();
    let first = replica.effects();
    let batch = first.write.unwrap();
    for number in 0..100 {
        replica.propose(format!("b{number}")).unwrap();
        assert!(replica.effects().write.is_none(), "one batch at a time");
    }
    replica.persisted(batch.number + 9);
    assert!(replica.effects().apply.is_empty(), "another number confirms nothing");
    replica.persisted(batch.number);
    let second = replica.effects();
    assert_eq!(commands(&second), ["a"]);
    let batch = second.write.unwrap();
    assert_eq!((batch.ops.len(), syncs(&batch)), (2, 1));
    replica.persisted(batch.number);
    assert_eq!(commands(&replica.effects()).len(), 100);
}

#[test]
fn a_snapshot_is_wanted_once_when_the_log_has_grown_and_not_again_until_made() {
    let mut config = Config::new(1, 1);
    config.snapshot_after_bytes = 1000;
    let mut replica = Replica::bootstrap(&config, LOG, vec![]).unwrap();
    settle(&mut replica);
    let mut wanted = 0;
    for _ in 0..20 {
        replica.propose(vec![1; 100]).unwrap();
        wanted += usize::from(settle(&mut replica).snapshot_wanted);
    }
    assert_eq!(wanted, 1);
    let index = replica.commit_index();
    replica.snapshot_made(index, vec![2; 5000]);
    let effects = replica.effects();
    let batch = effects.write.unwrap();
    assert!(batch.ops.contains(&Op::Rename { from: FileName::Draft(index), to: FileName::Snapshot(index) }));
    assert!(!batch.ops.contains(&Op::Remove { file: FileName::Snapshot(1) }), "the old one stays until then");
    replica.persisted(batch.number);
    let effects = replica.effects();
    assert!(effects.write.unwrap().ops.contains(&Op::Remove { file: FileName::Snapshot(1) }));
    replica.persisted(batch.number + 1);

    let mut until_next = 0;
    while !settle(&mut replica).snapshot_wanted {
        replica.propose(vec![1; 100]).unwrap();
        until_next += 1;
    }
    assert!(until_next > 30, "a snapshot of 5000 bytes isn't written for 1000 bytes of log: {until_next}");
}

#[test]
fn a_snapshot_of_what_is_not_applied_or_not_newer_is_ignored() {
    let mut replica = sole();
    settle(&mut replica);
    replica.propose("a").unwrap();
    settle(&mut replica);
    let last = replica.last_index();
    for index in [0, 1, last + 1, u64::MAX] {
        replica.snapshot_made(index, vec![]);
        assert!(replica.effects().write.is_none(), "{index}");
    }
    replica.snapshot_made(last, vec![]);
    assert!(replica.effects().write.is_some());
}

#[test]
fn who_joins_waits_and_takes_a_snapshot_only_with_its_state() {
    let mut leader = sole();
    settle(&mut leader);
    leader.propose("a").unwrap();
    settle(&mut leader);
    leader.change(&Change { add: [2].into(), ..Change::default() }).unwrap();
    let mut sent = settle(&mut leader).send;

    let mut joiner = Replica::join(&Config::new(2, 2), LOG).unwrap();
    (0..100).for_each(|_| joiner.tick());
    assert_eq!(joiner.role(), Role::Follower { leader: None });
    assert!(joiner.propose("x").is_err());
    settle(&mut joiner);

    for _ in 0..20 {
        leader.tick();
        let effects = settle(&mut leader);
        sent.extend(effects.send);
        if effects.snapshot_wanted {
            let applied = leader.commit_index();
            leader.snapshot_made(applied, b"state".to_vec());
            sent.extend(settle(&mut leader).send);
        }
        for out in std::mem::take(&mut sent) {
            if let Some(index) = out.snapshot {
                let without = joiner.message(&out.message);
                assert!(
                    matches!(without, Err(MessageError::WithoutState { index: named }) if named == index)
                );
                joiner.message_with_state(&out.message, b"state".to_vec()).unwrap();
                let effects = joiner.effects();
                assert!(effects.install.is_none(), "not before it is durable");
                assert!(!effects.send.iter().any(|out| out.to == 1), "nor is it acknowledged");
                joiner.persisted(effects.write.unwrap().number);
                let effects = joiner.effects();
                assert_eq!(effects.install, Some(Snapshot { index, data: b"state".to_vec() }));
                assert!(!effects.send.is_empty());
                joiner.applied(index);
                assert_eq!(joiner.commit_index(), index);
                return;
            }
            joiner.message(&out.message).unwrap();
            for answer in settle(&mut joiner).send {
                leader.message(&answer.message).unwrap();
            }
        }
    }
    panic!("no snapshot came");
}

#[test]
fn a_vote_is_told_only_when_it_is_durable() {
    let config = Config::new(1, 1);
    let members = Membership { voters: [1, 2, 3].into(), ..Membership::default() };
    let first =
        wal::Snapshot { mark: wal::Mark { index: 1, term: 1, members: members.to_bytes() }, data: vec![] };
    let state = wal::HardState { term: 1, vote: 0, commit: 1 };
    let start = |id| {
        let recovered = Recovered {
            state,
            snapshot: Some(first.clone()),
            entries: vec![],
            writer: Writer::create(LOG, Limits::default(), Some(&first), state),
            cut: None,
        };
        Replica::open(&Config::new(id, id), recovered).unwrap()
    };
    let (mut candidate, mut voter) = (start(1), start(2));
    settle(&mut candidate);
    settle(&mut voter);
    let mut exchanged = 0;
    for _ in 0..2 * config.consensus.election_ticks {
        candidate.tick();
        for out in settle(&mut candidate).send.into_iter().filter(|out| out.to == 2) {
            voter.message(&out.message).unwrap();
            let term = voter.term();
            let effects = voter.effects();
            if let Some(batch) = effects.write {
                assert!(effects.send.is_empty(), "term {term}: said before it was durable");
                voter.persisted(batch.number);
                exchanged += 1;
            }
            let answers = effects.send.into_iter().chain(voter.effects().send);
            answers.for_each(|answer| candidate.message(&answer.message).unwrap());
        }
    }
    assert!(exchanged > 0);
    assert_eq!(candidate.role(), Role::Leader);
}
