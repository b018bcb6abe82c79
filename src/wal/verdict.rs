//! Torn or rotten: what a piece that fails its checksum at the end of the last segment is (see the crate's
//! documentation).

use crate::error::Damage;
use crate::frame::{self, ALIGN, Broken, HEADER, Place};

/// The unit that a power loss leaves whole or untouched. Disks with larger sectors tear at multiples of this.
pub(crate) const SECTOR: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing was ever written here.
    End,
    /// The last write never completed; nobody was told that it had.
    Torn,
    /// It was whole once.
    Rotten(Damage),
}

/// Judges the record at `place` of the last segment, that could not be read.
pub(crate) fn judge(bytes: &[u8], place: Place, broken: Broken) -> Verdict {
    let start = usize::try_from(place.offset).unwrap_or(usize::MAX).min(bytes.len());
    let rest = bytes.get(start..).unwrap_or_default();
    if rest.iter().all(|&b| b == 0) {
        return Verdict::End;
    }
    let (damage, length) = match broken {
        Broken::Header => (Damage::RecordHeader, HEADER),
        Broken::Content { length } => (Damage::RecordContent, length),
    };
    if vouched_for(bytes, place) || !torn(bytes, start, start.saturating_add(length)) {
        return Verdict::Rotten(damage);
    }
    Verdict::Torn
}

/// Judges the header of the last segment, that could not be read. Its log is known from earlier segments.
pub(crate) fn judge_header(bytes: &[u8], place: Option<Place>, length: usize) -> Verdict {
    let start = Place { offset: 0, ..place.unwrap_or(Place { log: 0, segment: 0, offset: 0 }) };
    if (place.is_some() && vouched_for(bytes, start)) || !torn(bytes, 0, length) {
        return Verdict::Rotten(Damage::FileHeader);
    }
    Verdict::Torn
}

/// Whether a sound record further on says that `place` was synced. Records can't be skipped by their length
/// here, so each place at which one may start is tried: the header's checksum is computed for each word of at
/// most one segment, the content's only where that holds.
fn vouched_for(bytes: &[u8], place: Place) -> bool {
    let start = usize::try_from(place.offset).unwrap_or(usize::MAX);
    let candidates = (start.saturating_add(ALIGN)..bytes.len()).step_by(ALIGN);
    candidates
        .filter(|&at| bytes.get(at..at + ALIGN).is_some_and(|word| word.iter().any(|&b| b != 0)))
        .filter_map(|at| frame::read(bytes, Place { offset: at as u64, ..place }).ok())
        .any(|record| record.synced > place.offset)
}

/// Whether an interrupted write explains what is at `start..end`: the file ends in it, or one of its sectors
/// holds nothing, or nothing is held by all that follows one of its bytes.
fn torn(bytes: &[u8], start: usize, end: usize) -> bool {
    let Some(piece) = bytes.get(start..end) else { return true };
    let after_first_border = SECTOR - start % SECTOR;
    let (first, others) = piece.split_at(after_first_border.min(piece.len()));
    let empty = |sector: &[u8]| sector.iter().all(|&b| b == 0);
    if empty(first) || others.chunks(SECTOR).any(empty) {
        return true;
    }
    bytes.iter().rposition(|&b| b != 0).is_none_or(|last| last + 1 < end)
}
