//! The process dies between two orders, or in the middle of one: nothing confirmed is lost, and the log can
//! go on; also when it dies again in the middle of the repairs.

use super::*;

/// Where each batch of a history is and what holds before and after it.
fn batches(limits: Limits) -> Vec<(Files, Truth, Vec<Op>, Truth)> {
    let (mut writer, mut truth) = fresh(limits);
    let mut files = Files::default();
    let mut out = vec![];
    let mut history = eventful();
    history.push(vec![]);
    let mut before = Truth::default();
    for steps in history {
        while let Some(batch) = writer.batch() {
            out.push((files.clone(), before.clone(), batch.ops.clone(), truth.clone()));
            batch.ops.iter().for_each(|op| files.apply(op));
            writer.done(batch.number);
            before = truth.clone();
        }
        for step in &steps {
            step.add(&mut writer, &mut truth);
        }
    }
    out
}

/// The states in which a process may die: after any number of whole orders, and in the middle of a write.
fn deaths(files: &Files, ops: &[Op]) -> Vec<Files> {
    let mut now = files.clone();
    let mut states = vec![now.clone()];
    for op in ops {
        if let Op::Write { file, offset, bytes } = op {
            for length in (1..bytes.len()).step_by(bytes.len() / 16 + 1) {
                let mut partial = now.clone();
                partial.apply(&Op::Write { file: *file, offset: *offset, bytes: bytes[..length].to_vec() });
                states.push(partial);
            }
        }
        now.apply(op);
        states.push(now.clone());
    }
    states
}

fn assert_sound(files: &Files, confirmed: &Truth, written: &Truth, context: &str) -> Option<Box<Recovered>> {
    match files.open() {
        Ok(Recovery::Empty) => {
            assert_eq!(*confirmed, Truth::default(), "{context}: all is lost");
            None
        }
        Ok(Recovery::Log(log)) => {
            let found = Truth::of(&log);
            for entry in &confirmed.entries {
                let there = found.entries.contains(entry) || found.mark() >= entry.index;
                let overwritten = found
                    .entries
                    .iter()
                    .any(|new| new.index <= entry.index && !confirmed.entries.contains(new));
                assert!(there || overwritten, "{context}: {entry:?} is lost");
            }
            assert!(found.state.term >= confirmed.state.term, "{context}");
            assert!(found.last() <= written.last().max(confirmed.last()), "{context}");
            Some(log)
        }
        Err(error) => panic!("{context}: {error:?}"),
    }
}

#[test]
fn a_death_at_any_order_loses_nothing_confirmed_also_when_it_repeats_during_repair() {
    for limits in [SMALL, LARGE] {
        let mut tried = 0;
        for (number, (files, confirmed, ops, written)) in batches(limits).iter().enumerate() {
            for (at, dead) in deaths(files, ops).iter().enumerate() {
                let context = format!("batch {number}, death {at}");
                let Some(mut log) = assert_sound(dead, confirmed, written, &context) else { continue };
                let found = Truth::of(&log);
                let repairs = log.writer.batch().unwrap();
                for (again, dead) in deaths(dead, &repairs.ops).iter().enumerate() {
                    let log = dead.must_open();
                    assert_eq!(Truth::of(&log), found, "{context}, then {again}");
                    tried += 1;
                }
            }
        }
        assert!(tried > 1000);
    }
}

#[test]
fn removed_segments_may_come_back_in_any_combination() {
    let (mut writer, mut truth) = fresh(SMALL);
    let mut files = Files::default();
    perform(&mut writer, &mut files);
    append_singly(&mut writer, &mut truth, 2, 25);
    perform(&mut writer, &mut files);
    Step::Snapshot(snapshot(25, 10)).add(&mut writer, &mut truth);
    perform(&mut writer, &mut files);
    let removals = writer.batch().unwrap().ops;
    assert!(removals.len() > 3 && removals.len() < 12);
    for subset in 0..1u32 << removals.len() {
        let mut some = files.clone();
        for (bit, op) in removals.iter().enumerate() {
            if subset & (1 << bit) != 0 {
                some.apply(op);
            }
        }
        let mut log = some.must_open();
        assert_eq!(Truth::of(&log), truth, "{subset:b}");
        perform(&mut log.writer, &mut some);
        assert_eq!(some.0.len(), 2, "leftovers: {:?}", some.0.keys());
    }
}

#[test]
fn a_batch_is_superfluous_bytes_until_it_is_done() {
    let (mut writer, mut truth) = fresh(LARGE);
    let mut files = Files::default();
    perform(&mut writer, &mut files);
    Step::Append(entries(2, 3, 1, 10)).add(&mut writer, &mut truth);
    let batch = writer.batch().unwrap();
    assert!(writer.batch().is_none());
    writer.done(batch.number + 1);
    assert!(writer.batch().is_none(), "another number confirms nothing");
    writer.done(batch.number);
    Step::Append(entries(4, 4, 1, 10)).add(&mut writer, &mut truth);
    assert!(writer.batch().is_some());
}
