//! What is written is read back: scripted and random histories against a plain model.

use proptest::prelude::*;

use super::*;

#[test]
fn after_each_batch_the_log_reads_back_as_written() {
    for limits in [SMALL, LARGE] {
        for (files, truth) in run(limits, &eventful()) {
            let log = files.must_open();
            assert_eq!(Truth::of(&log), truth);
            assert_eq!(log.cut, None);
        }
    }
}

#[test]
fn a_commit_index_alone_waits_for_something_to_write() {
    let (mut writer, _) = fresh(LARGE);
    perform(&mut writer, &mut Files::default());
    writer.save(state(1, 5));
    assert_eq!(writer.batch(), None);
    writer.append(&[entries(2, 2, 1, 1)[0].view()]).unwrap();
    assert!(writer.batch().is_some());
}

#[test]
fn one_batch_has_one_sync_however_much_was_added() {
    let (mut writer, _) = fresh(LARGE);
    perform(&mut writer, &mut Files::default());
    for index in 2..60 {
        writer.append(&[entries(index, index, 1, 100)[0].view()]).unwrap();
        writer.save(state(1, index - 1));
    }
    let batch = writer.batch().unwrap();
    assert!(matches!(batch.ops.as_slice(), [Op::Write { .. }, Op::Sync { .. }]));
    assert_eq!(writer.batch(), None, "one batch at a time");
}

#[test]
fn what_a_snapshot_replaces_is_removed_only_after_it_is_durable() {
    let (mut writer, mut truth) = fresh(SMALL);
    let mut files = Files::default();
    perform(&mut writer, &mut files);
    append_singly(&mut writer, &mut truth, 2, 30);
    perform(&mut writer, &mut files);
    assert!(files.0.len() > 5);

    Step::Snapshot(snapshot(30, 10)).add(&mut writer, &mut truth);
    let batch = writer.batch().unwrap();
    assert!(!batch.ops.iter().any(|op| matches!(op, Op::Remove { .. })));
    batch.ops.iter().for_each(|op| files.apply(op));
    writer.done(batch.number);

    let removals = writer.batch().unwrap();
    assert!(removals.ops.iter().all(|op| matches!(op, Op::Remove { .. })));
    removals.ops.iter().for_each(|op| files.apply(op));
    assert_eq!(files.0.keys().filter(|file| matches!(file, FileName::Snapshot(_))).count(), 1);
    assert!(files.0.len() <= 3, "{:?}", files.0.keys());
    assert_eq!(Truth::of(&files.must_open()), truth);
}

#[test]
fn an_entry_longer_than_the_limit_is_refused_and_nothing_is_written() {
    let (mut writer, _) = fresh(LARGE);
    perform(&mut writer, &mut Files::default());
    let data = vec![0; crate::ENTRY_BYTES_MAX + 1];
    let long = EntryView { index: 3, term: 1, kind: 0, data: &data };
    let short = EntryView { index: 2, term: 1, kind: 0, data: b"x" };
    assert_eq!(writer.append(&[short, long]), Err(crate::Oversized { length: data.len() }));
    assert_eq!(writer.batch(), None);
}

#[test]
fn the_longest_entry_fits_whatever_the_segment() {
    let (mut writer, mut truth) = fresh(SMALL);
    let mut files = Files::default();
    Step::Append(entries(2, 3, 1, crate::ENTRY_BYTES_MAX)).add(&mut writer, &mut truth);
    perform(&mut writer, &mut files);
    assert_eq!(Truth::of(&files.must_open()), truth);
}

#[test]
fn a_joining_node_starts_empty_and_gets_its_first_snapshot_from_the_leader() {
    let mut writer = Writer::create(LOG, SMALL, None, HardState::default());
    let mut files = Files::default();
    perform(&mut writer, &mut files);
    let mut truth = Truth::default();
    assert_eq!(Truth::of(&files.must_open()), truth);
    Step::Install(snapshot(70, 9)).add(&mut writer, &mut truth);
    Step::Save(state(5, 70)).add(&mut writer, &mut truth);
    perform(&mut writer, &mut files);
    assert_eq!(Truth::of(&files.must_open()), truth);
}

/// What a random history does next.
#[derive(Debug, Clone)]
enum Wish {
    Append { back: u64, count: u64, length: usize },
    Vote,
    Commit,
    Snapshot { behind: u64, length: usize },
    Install { ahead: u64 },
    Batch,
    Restart,
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        5 => (0u64..3, 1u64..6, 0usize..300).prop_map(|(back, count, length)| Wish::Append { back, count, length }),
        1 => Just(Wish::Vote),
        2 => Just(Wish::Commit),
        1 => (0u64..4, 0usize..900).prop_map(|(behind, length)| Wish::Snapshot { behind, length }),
        1 => (1u64..9).prop_map(|ahead| Wish::Install { ahead }),
        4 => Just(Wish::Batch),
        2 => Just(Wish::Restart),
    ]
}

/// Turns a wish into a step that Raft could take: nothing committed is overwritten, only what is committed
/// gets into a snapshot.
fn fulfil(wish: &Wish, truth: &Truth) -> Option<Step> {
    let last = truth.last();
    let committed = truth.state.commit.max(truth.mark());
    match *wish {
        Wish::Append { back, count, length } => {
            let from = (last + 1).saturating_sub(back).max(committed + 1);
            let term = truth.state.term + u64::from(back > 0);
            Some(Step::Append(entries(from, from + count - 1, term, length)))
        }
        Wish::Vote => Some(Step::Save(HardState { term: truth.state.term + 1, ..truth.state })),
        Wish::Commit => Some(Step::Save(HardState { commit: last, ..truth.state })),
        Wish::Snapshot { behind, length } => {
            let index = committed.saturating_sub(behind);
            (index > truth.mark()).then(|| Step::Snapshot(snapshot(index, length)))
        }
        Wish::Install { ahead } => Some(Step::Install(snapshot(last + ahead, 50))),
        Wish::Batch | Wish::Restart => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_history_reads_back_and_goes_on_after_a_restart(
        wishes in prop::collection::vec(wish(), 1..80),
        segment_bytes in 300u64..3000,
    ) {
        let limits = Limits { segment_bytes };
        let (mut writer, mut truth) = fresh(limits);
        let mut files = Files::default();
        for wish in &wishes {
            if let Some(step) = fulfil(wish, &truth) {
                step.add(&mut writer, &mut truth);
            }
            if matches!(wish, Wish::Batch | Wish::Restart) {
                // A commit index alone may stay unwritten: write something so that it doesn't.
                Step::Append(entries(truth.last() + 1, truth.last() + 1, truth.state.term, 1)).add(&mut writer, &mut truth);
                Step::Save(truth.state).add(&mut writer, &mut truth);
                perform(&mut writer, &mut files);
            }
            if matches!(wish, Wish::Restart) {
                let log = match recover(&files, limits) {
                    Ok(Recovery::Log(log)) => log,
                    other => panic!("no log: {other:?}"),
                };
                prop_assert_eq!(Truth::of(&log), truth.clone());
                prop_assert_eq!(log.cut, None);
                writer = log.writer;
            }
        }
    }
}
