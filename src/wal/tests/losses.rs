//! Disks that lie, files that are gone or belong elsewhere: refused with a reason, or as old as can be; never
//! a panic, never garbage.

use proptest::prelude::*;

use super::*;

#[test]
fn a_missing_segment_is_noticed_unless_a_snapshot_replaces_it() {
    let (mut writer, mut truth) = fresh(SMALL);
    let mut files = Files::default();
    perform(&mut writer, &mut files);
    append_singly(&mut writer, &mut truth, 2, 25);
    perform(&mut writer, &mut files);
    let segments: Vec<FileName> =
        files.0.keys().copied().filter(|file| matches!(file, FileName::Segment(_))).collect();
    assert!(segments.len() > 4);
    for missing in segments.iter().rev().skip(1) {
        let mut fewer = files.clone();
        fewer.0.remove(missing);
        assert!(matches!(fewer.open(), Err(WalError::Gap { snapshot: 1, .. })), "{missing}");
    }
}

#[test]
fn a_segment_cut_before_its_successor_is_noticed_with_its_place() {
    let (files, _) = run(SMALL, &eventful()).pop().unwrap();
    let segments: Vec<FileName> =
        files.0.keys().copied().filter(|file| matches!(file, FileName::Segment(_))).collect();
    assert!(segments.len() > 1);
    for file in segments.iter().rev().skip(1) {
        let end = files.0[file].iter().rposition(|&b| b != 0).unwrap();
        for length in 0..=end {
            let mut cut = files.clone();
            cut.0.get_mut(file).unwrap().truncate(length);
            match cut.open() {
                Err(WalError::Damaged { file: named, .. }) => assert_eq!(named, *file),
                other => panic!("{file} cut at {length}: {other:?}"),
            }
        }
    }
}

#[test]
fn segments_of_another_log_or_in_another_order_are_refused() {
    let (files, _) = run(SMALL, &eventful()).pop().unwrap();
    let last = files.last_segment();

    let mut other = Writer::create(LOG + 1, SMALL, Some(&snapshot(1, 40)), first_state());
    let mut elsewhere = Files::default();
    perform(&mut other, &mut elsewhere);
    let mut mixed = files.clone();
    mixed.0.insert(last, elsewhere.0[&FileName::Segment(1)].clone());
    assert!(matches!(mixed.open(), Err(WalError::Foreign { file, .. }) if file == last));

    let mut swapped = files.clone();
    let FileName::Segment(sequence) = last else { panic!() };
    let before = FileName::Segment(sequence - 1);
    swapped.0.insert(before, files.0[&last].clone());
    swapped.0.insert(last, files.0[&before].clone());
    assert!(matches!(swapped.open(), Err(WalError::Damaged { file, offset: 0, .. }) if file == before));
}

#[test]
fn a_log_whose_snapshot_is_missing_or_another_one_is_refused() {
    let (files, truth) = run(SMALL, &eventful()).pop().unwrap();
    let file = FileName::Snapshot(truth.mark());
    let mut without = files.clone();
    without.0.remove(&file);
    assert!(matches!(without.open(), Err(WalError::Missing { file: named }) if named == file));

    let mut changed = files;
    let (bytes, _) = crate::snapshot::write(LOG, &Snapshot { data: vec![1], ..truth.snapshot.unwrap() });
    changed.0.insert(file, bytes);
    let Err(WalError::Damaged { file: named, damage, .. }) = changed.open() else { panic!() };
    assert_eq!((named, damage), (file, crate::Damage::SnapshotDiffers));
}

#[test]
fn snapshots_whose_log_was_removed_are_not_an_empty_directory() {
    let (files, truth) = run(SMALL, &eventful()).pop().unwrap();
    let file = FileName::Snapshot(truth.mark());
    let only = Files(BTreeMap::from([(file, files.0[&file].clone())]));
    assert!(matches!(only.open(), Err(WalError::OnlySnapshots { file: named }) if named == file));
    assert!(matches!(Files::default().open(), Ok(Recovery::Empty)));
}

#[test]
fn a_later_format_is_named_and_not_taken_for_damage() {
    let (files, _) = run(LARGE, &[]).pop().unwrap();
    let mut later = files;
    let bytes = later.0.get_mut(&FileName::Segment(1)).unwrap();
    bytes[8] = 2;
    let checksum = crc32fast::hash(&bytes[..56]);
    bytes[56..60].copy_from_slice(&checksum.to_le_bytes());
    assert!(matches!(later.open(), Err(WalError::Version { found: 2, known: 1, .. })));
}

/// What a lying disk may do to a file: sectors as they were at some earlier batch.
#[derive(Debug, Clone)]
struct Lie {
    file: usize,
    sector: usize,
    batch: usize,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Each sector of each file is as it was after some batch: what a disk leaves that confirmed syncs and
    /// kept what it liked. What is found then is refused or is something that the log once held.
    #[test]
    fn a_disk_that_lied_about_syncs_never_causes_a_panic_or_garbage(
        lies in prop::collection::vec((0usize..12, 0usize..6, 0usize..12), 1..12),
        gone in prop::option::of(0usize..12),
    ) {
        let history = run(SMALL, &eventful());
        let (mut files, _) = history.last().unwrap().clone();
        let names: Vec<FileName> = files.0.keys().copied().collect();
        for lie in lies.iter().map(|&(file, sector, batch)| Lie { file, sector, batch }) {
            let name = names[lie.file % names.len()];
            let old = history[lie.batch % history.len()].0.0.get(&name).cloned().unwrap_or_default();
            let bytes = files.0.get_mut(&name).unwrap();
            for (at, byte) in bytes.iter_mut().enumerate().skip(lie.sector * 512).take(512) {
                *byte = old.get(at).copied().unwrap_or_default();
            }
        }
        if let Some(gone) = gone {
            files.0.remove(&names[gone % names.len()]);
        }
        if let Ok(Recovery::Log(log)) = files.open() {
            let found = Truth::of(&log);
            for entry in &found.entries {
                let once = history.iter().any(|(_, truth)| truth.entries.contains(entry));
                prop_assert!(once, "{:?} was never written", entry);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_empty_but_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        at in 0usize..3000,
    ) {
        let history = run(SMALL, &eventful());
        let (mut files, _) = history.last().unwrap().clone();
        let last = files.last_segment();
        let content = files.0.get_mut(&last).unwrap();
        let start = at.min(content.len());
        let end = (start + bytes.len()).min(content.len());
        content[start..end].copy_from_slice(&bytes[..end - start]);
        let _refused_or_not = files.open();
        let _refused_or_not = Files(BTreeMap::from([(FileName::Segment(1), bytes)])).open();
    }
}
