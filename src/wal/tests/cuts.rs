//! A log cut at any byte, or with any of the last batch's sectors missing, gives back all that was confirmed.

use super::*;

/// Checks that what is found is at least what was confirmed, and nothing that was never written.
fn assert_between(found: &Truth, confirmed: &Truth, written: &Truth, context: &str) {
    if found == confirmed || found == written {
        return;
    }
    // Some of the batch's records: each entry found is one that was confirmed or one that was written, in the
    // order of the log; none that was confirmed and not overwritten is missing.
    assert_eq!(found.snapshot.is_some(), confirmed.snapshot.is_some(), "{context}");
    for (at, entry) in found.entries.iter().enumerate() {
        let known = confirmed.entries.contains(entry) || written.entries.contains(entry);
        assert!(known, "{context}: {entry:?} was never written");
        assert_eq!(entry.index, found.mark() + 1 + at as u64, "{context}");
    }
    for entry in &confirmed.entries {
        let kept = found.entries.contains(entry) || found.mark() >= entry.index;
        let overwritten =
            written.entries.iter().any(|new| new.index <= entry.index && !confirmed.entries.contains(new));
        assert!(kept || overwritten, "{context}: {entry:?} is lost");
    }
}

#[test]
fn a_log_cut_at_every_byte_gives_back_every_confirmed_entry() {
    for limits in [SMALL, LARGE] {
        let history = run(limits, &eventful());
        for pair in history.windows(2) {
            let [(before, confirmed), (after, written)] = pair else { continue };
            let file = after.last_segment();
            let old = before.0.get(&file).cloned().unwrap_or_default();
            let new = &after.0[&file];
            // Only what the batch wrote can be cut: what was there before it was confirmed.
            let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
            let end = new.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
            for length in same..=end {
                for filled in [false, true] {
                    let mut cut = after.clone();
                    let bytes = cut.0.get_mut(&file).unwrap();
                    bytes.truncate(length);
                    bytes.resize(if filled { new.len() } else { length }, 0);
                    let context = format!("{file} cut at {length}, filled: {filled}");
                    match cut.open() {
                        Ok(Recovery::Log(log)) => {
                            assert_between(&Truth::of(&log), confirmed, written, &context);
                        }
                        other => panic!("{context}: {other:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn a_new_log_cut_at_every_byte_is_empty_or_whole() {
    let (files, truth) = run(LARGE, &[]).pop().unwrap();
    let file = files.last_segment();
    let whole = files.0[&file].iter().rposition(|&b| b != 0).unwrap() + 1;
    for length in 0..=whole {
        let mut cut = files.clone();
        cut.0.get_mut(&file).unwrap().truncate(length);
        match cut.open() {
            Ok(Recovery::Empty) => assert!(length < whole),
            Ok(Recovery::Log(log)) => assert_eq!((Truth::of(&log), length), (truth.clone(), whole)),
            other => panic!("cut at {length}: {other:?}"),
        }
    }
}

#[test]
fn any_sectors_of_the_last_batch_may_be_missing() {
    let mut steps = eventful();
    steps.push(vec![Step::Append(entries(47, 60, 4, 250))]);
    let history = run(Limits { segment_bytes: 24 << 10 }, &steps);
    let mut tried = 0;
    for pair in history.windows(2) {
        let [(before, confirmed), (after, written)] = pair else { continue };
        let file = after.last_segment();
        let (old, new) = (&before.0[&file], &after.0[&file]);
        let touched: Vec<usize> =
            (0..new.len().div_ceil(512)).filter(|s| sector(old, *s) != sector(new, *s)).collect();
        assert!(touched.len() < 10, "2^{} subsets are too many", touched.len());
        for subset in 0..1u32 << touched.len() {
            let mut torn = after.clone();
            let bytes = torn.0.get_mut(&file).unwrap();
            for (bit, &s) in touched.iter().enumerate() {
                if subset & (1 << bit) == 0 {
                    let end = ((s + 1) * 512).min(bytes.len());
                    bytes[s * 512..end].copy_from_slice(sector(old, s));
                }
            }
            let context = format!("sectors {subset:b} of {touched:?} of {file}");
            match torn.open() {
                Ok(Recovery::Log(log)) => assert_between(&Truth::of(&log), confirmed, written, &context),
                other => panic!("{context}: {other:?}"),
            }
            tried += 1;
        }
    }
    assert!(tried > 300, "{tried}");
}

fn sector(bytes: &[u8], at: usize) -> &[u8] {
    &bytes[at * 512..((at + 1) * 512).min(bytes.len())]
}

#[test]
fn after_a_cut_the_log_goes_on_and_is_sound_again() {
    let (files, _) = run(LARGE, &eventful()).pop().unwrap();
    let file = files.last_segment();
    let end = files.0[&file].iter().rposition(|&b| b != 0).unwrap() + 1;
    for length in (end - 300)..end {
        let mut cut = files.clone();
        cut.0.get_mut(&file).unwrap().truncate(length);
        let mut log = cut.must_open();
        let mut truth = Truth::of(&log);
        let next = truth.last() + 1;
        Step::Append(entries(next, next, 9, 10)).add(&mut log.writer, &mut truth);
        perform(&mut log.writer, &mut cut);
        let again = cut.must_open();
        assert_eq!((Truth::of(&again), again.cut), (truth, None));
    }
}
