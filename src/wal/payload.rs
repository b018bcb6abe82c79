//! What a record holds: entries, the hard state or a mark.

use crate::frame::{u32_at, u64_at};
use crate::{Entry, EntryView, HardState, Mark};

/// Kind of a record with entries.
pub(crate) const ENTRIES: u8 = 1;
/// Kind of a record with the hard state.
pub(crate) const STATE: u8 = 2;
/// Kind of a record with a mark.
pub(crate) const MARK: u8 = 3;

/// Entries are gathered in one record up to this size: few enough bytes that one checksum is strong, enough
/// that framing costs nothing.
pub(crate) const GATHERED: usize = 1 << 20;

/// Bytes before an entry's data.
const ENTRY_HEADER: usize = 8 + 1 + 4;

/// A record's content.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Entries(Vec<Entry>),
    State(HardState),
    Mark(Marking),
}

/// A mark in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marking {
    pub(crate) mark: Mark,
    /// Identifies the snapshot's bytes.
    pub(crate) digest: u64,
    /// All entries before this record are void: the snapshot came from the leader and the log goes on after it.
    pub(crate) resets: bool,
}

/// Starts a record of entries.
pub(crate) fn begin_entries(first: u64) -> Vec<u8> {
    first.to_le_bytes().to_vec()
}

/// Adds an entry; its index is the next one.
pub(crate) fn push_entry(payload: &mut Vec<u8>, entry: &EntryView<'_>) {
    payload.extend_from_slice(&entry.term.to_le_bytes());
    payload.push(entry.kind);
    // Bounded by ENTRY_BYTES_MAX, far below u32::MAX.
    let length = u32::try_from(entry.data.len()).unwrap_or(u32::MAX);
    payload.extend_from_slice(&length.to_le_bytes());
    payload.extend_from_slice(entry.data);
}

/// Bytes that an entry adds to a record.
pub(crate) fn entry_length(entry: &EntryView<'_>) -> usize {
    ENTRY_HEADER + entry.data.len()
}

/// The hard state.
pub(crate) fn state(state: HardState) -> Vec<u8> {
    [state.term.to_le_bytes(), state.vote.to_le_bytes(), state.commit.to_le_bytes()].concat()
}

/// A mark.
pub(crate) fn mark(marking: &Marking) -> Vec<u8> {
    let mark = &marking.mark;
    let mut payload =
        [mark.index.to_le_bytes(), mark.term.to_le_bytes(), marking.digest.to_le_bytes()].concat();
    payload.push(u8::from(marking.resets));
    payload.extend_from_slice(&mark.members);
    payload
}

/// Reads a payload; nothing when its content isn't what its kind says.
pub(crate) fn read(kind: u8, payload: &[u8]) -> Option<Payload> {
    match kind {
        ENTRIES => read_entries(payload).map(Payload::Entries),
        STATE if payload.len() == 24 => Some(Payload::State(HardState {
            term: u64_at(payload, 0),
            vote: u64_at(payload, 8),
            commit: u64_at(payload, 16),
        })),
        MARK => {
            let (resets, members) = payload.get(24..)?.split_first()?;
            let mark =
                Mark { index: u64_at(payload, 0), term: u64_at(payload, 8), members: members.to_vec() };
            Some(Payload::Mark(Marking { mark, digest: u64_at(payload, 16), resets: *resets == 1 }))
        }
        _ => None,
    }
}

fn read_entries(payload: &[u8]) -> Option<Vec<Entry>> {
    let (first, mut rest) = payload.split_first_chunk()?;
    let mut index = u64::from_le_bytes(*first);
    let mut entries = vec![];
    while !rest.is_empty() {
        let (header, after) = rest.split_at_checked(ENTRY_HEADER)?;
        let length = usize::try_from(u32_at(header, 9)).ok()?;
        let (data, after) = after.split_at_checked(length)?;
        entries.push(Entry { index, term: u64_at(header, 0), kind: *header.get(8)?, data: data.to_vec() });
        index = index.checked_add(1)?;
        rest = after;
    }
    if entries.is_empty() { None } else { Some(entries) }
}
