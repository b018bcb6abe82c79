//! A flipped bit in synced bytes is reported with its place, never taken for a torn tail, never skipped.

use crate::frame::{self, Place};
use crate::segment;

use super::*;

/// Start of the piece (header or record) of a sound segment that holds the byte at `at`, and the end of the
/// last piece.
fn piece(bytes: &[u8], sequence: u64, at: usize) -> (u64, usize) {
    let mut start = 0;
    let mut end = segment::LENGTH;
    loop {
        if at < end {
            return (start as u64, end);
        }
        let place = Place { log: LOG, segment: sequence, offset: end as u64 };
        let Ok(frame) = frame::read(bytes, place) else { return (end as u64, end) };
        (start, end) = (end, end + frame.length);
    }
}

fn end_of(bytes: &[u8], sequence: u64) -> usize {
    piece(bytes, sequence, usize::MAX).1
}

fn flip_every_bit(files: &Files, truth: &Truth) -> usize {
    let mut reported = 0;
    for (&file, bytes) in &files.0 {
        let FileName::Segment(sequence) = file else { continue };
        let end = end_of(bytes, sequence);
        for bit in 0..bytes.len() * 8 {
            let at = bit / 8;
            // The zeros that were set aside are many and alike: a few of them are enough.
            if at > end + 1024 {
                break;
            }
            let mut damaged = files.clone();
            damaged.0.get_mut(&file).unwrap()[at] ^= 1 << (bit % 8);
            match damaged.open() {
                Err(WalError::Damaged { file: named, offset, .. }) if at < end => {
                    assert_eq!((named, offset), (file, piece(bytes, sequence, at).0), "bit {bit} of {file}");
                    reported += 1;
                }
                Ok(Recovery::Log(log)) if at >= end => assert_eq!(Truth::of(&log), *truth, "bit {bit}"),
                // A flipped bit right after the last record may look like the start of one that was whole.
                Err(WalError::Damaged { file: named, offset, .. }) => {
                    assert_eq!((named, offset), (file, end as u64), "bit {bit} of {file}");
                }
                other => panic!("bit {bit} of {file}: {other:?}"),
            }
        }
    }
    reported
}

#[test]
fn every_flipped_bit_of_a_log_is_reported_at_the_record_that_holds_it() {
    let history = run(SMALL, &eventful());
    let (files, truth) = history.last().unwrap();
    assert!(flip_every_bit(files, truth) > 10_000);
}

#[test]
fn every_flipped_bit_is_reported_also_in_the_last_batch_which_nothing_vouches_for() {
    // After each single batch of the history, so that each was the last one once.
    for (files, truth) in run(LARGE, &eventful()).iter().skip(1) {
        let last = files.last_segment();
        let only = Files(
            files
                .0
                .iter()
                .filter(|(file, _)| !matches!(file, FileName::Segment(_)) || **file == last)
                .map(|(f, b)| (*f, b.clone()))
                .collect(),
        );
        assert!(flip_every_bit(&only, truth) > 0);
    }
}

#[test]
fn a_batch_that_is_only_zeros_is_no_torn_one() {
    let (mut writer, mut truth) = fresh(LARGE);
    let mut files = Files::default();
    let zeros = Entry { index: 2, term: 1, kind: 0, data: vec![0; 5000] };
    Step::Append(vec![zeros]).add(&mut writer, &mut truth);
    perform(&mut writer, &mut files);
    assert!(flip_every_bit(&files, &truth) > 40_000);
}

#[test]
fn a_flipped_bit_in_the_snapshot_is_reported() {
    let (files, _) = run(SMALL, &eventful()).pop().unwrap();
    let (&file, bytes) = files.0.iter().find(|(file, _)| matches!(file, FileName::Snapshot(_))).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = files.clone();
        damaged.0.get_mut(&file).unwrap()[bit / 8] ^= 1 << (bit % 8);
        match damaged.open() {
            Err(WalError::Damaged { file: named, .. }) => assert_eq!(named, file),
            other => panic!("bit {bit}: {other:?}"),
        }
    }
}

#[test]
fn a_sector_lost_in_the_middle_is_rot_because_a_later_record_vouches_for_it() {
    let (files, _) = run(LARGE, &eventful()).pop().unwrap();
    let file = files.last_segment();
    let end = end_of(&files.0[&file], 1);
    for sector in 0..(end / 512 - 1) {
        let mut damaged = files.clone();
        damaged.0.get_mut(&file).unwrap()[sector * 512..(sector + 1) * 512].fill(0);
        match damaged.open() {
            Err(WalError::Damaged { offset, .. }) => {
                assert!(offset < (sector as u64 + 1) * 512, "sector {sector}: named {offset}");
            }
            other => panic!("sector {sector}: {other:?}"),
        }
    }
}
