//! The reading side: finds the log's end after whatever happened, or says why there is none.

use std::collections::{BTreeSet, VecDeque};

use crate::error::{Damage, WalError};
use crate::frame::Place;
use crate::payload::Marking;
use crate::read::{self, End, Remembered, Replay};
use crate::segment::{self, BadHeader, Header};
use crate::snapshot::{self, BadSnapshot};
use crate::verdict::{self, Verdict};
use crate::writer::{Closed, Tail, superfluous};
use crate::{Entry, FileName, HardState, Limits, Op, Snapshot, Writer};

/// Where the files are.
pub trait Source {
    /// Why a file can't be read.
    type Error: std::error::Error + 'static;

    /// The log's files in the directory, in any order; what isn't a [`FileName`] is left out.
    ///
    /// # Errors
    /// The directory can't be read.
    fn list(&self) -> Result<Vec<FileName>, Self::Error>;

    /// All bytes of a file.
    ///
    /// # Errors
    /// It can't be read.
    fn read(&self, file: FileName) -> Result<Vec<u8>, Self::Error>;
}

/// What a directory holds.
#[derive(Debug)]
pub enum Recovery {
    /// No log was ever finished being made here, so nothing was ever confirmed. [`Writer::create`] makes one;
    /// what a crash left of an earlier attempt doesn't bother it.
    Empty,
    /// A log.
    Log(Box<Recovered>),
}

/// A log read back.
#[derive(Debug)]
pub struct Recovered {
    /// Raft's hard state. Its commit index is never before the snapshot.
    pub state: HardState,
    /// The snapshot that the log starts from.
    pub snapshot: Option<Snapshot>,
    /// All entries after it.
    pub entries: Vec<Entry>,
    /// Goes on at the end. Its first batch repairs: until that is done, the last entries may be no safer than
    /// a page cache.
    pub writer: Writer,
    /// A torn tail that was cut off, for the operator's eyes. Nothing confirmed was in it.
    pub cut: Option<Cut>,
}

/// A torn tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The last segment.
    pub file: FileName,
    /// Where it ends now.
    pub offset: u64,
    /// Bytes dropped, up to the last one that isn't zero.
    pub length: u64,
}

/// Reads the log.
///
/// # Errors
/// It can't be read, or can't be trusted; nothing was changed then.
pub fn recover<S: Source>(source: &S, limits: Limits) -> Result<Recovery, WalError<S::Error>> {
    let files: BTreeSet<FileName> =
        source.list().map_err(|source| WalError::Read { source })?.into_iter().collect();
    let all: Vec<u64> = files.iter().filter_map(sequence).collect();
    let newest_snapshot = files.iter().rev().find(|file| matches!(file, FileName::Snapshot(_)));
    let nothing = || match newest_snapshot {
        // A new log starts with a snapshot of the state before any entry, stored before its first segment.
        Some(FileName::Snapshot(index)) if *index > FIRST_SNAPSHOT => Err(*index),
        _ => Ok(Recovery::Empty),
    };
    let only_snapshots = |index| WalError::OnlySnapshots { file: FileName::Snapshot(index) };
    if all.is_empty() {
        return nothing().map_err(only_snapshots);
    }
    let mut scan = Scan { source, replay: None, closed: VecDeque::new(), cut: None, log: None };
    // Removals may survive a crash in any order: what is before a hole is a leftover, if the rest suffices.
    let contiguous = all.chunk_by(|a, b| a + 1 == *b).next_back().unwrap_or_default();
    match scan.run(contiguous)? {
        Some(last) => scan.finish(&last, &files, limits),
        None => nothing().map_err(only_snapshots),
    }
}

/// Index of the snapshot that a new log starts with: Raft's first entry then is the second, so that a node
/// that joins with an empty log always gets the snapshot, and the members with it.
pub(crate) const FIRST_SNAPSHOT: u64 = 1;

fn sequence(file: &FileName) -> Option<u64> {
    if let FileName::Segment(sequence) = file { Some(*sequence) } else { None }
}

/// A segment in memory.
struct Loaded {
    sequence: u64,
    bytes: Vec<u8>,
    header: Result<Header, BadHeader>,
}

/// The last segment, read.
struct Last {
    bytes: Vec<u8>,
    header: Header,
    end: End,
    opening_end: u64,
    /// Made but never finished: goes.
    stillborn: Option<u64>,
}

struct Scan<'a, S> {
    source: &'a S,
    replay: Option<Replay>,
    closed: VecDeque<Closed>,
    cut: Option<Cut>,
    /// The log that the files belong to, once one of them was read.
    log: Option<u64>,
}

impl<S: Source> Scan<'_, S> {
    /// Reads the segments; nothing if there is only one and it was never finished being made.
    fn run(&mut self, sequences: &[u64]) -> Result<Option<Last>, WalError<S::Error>> {
        let mut waiting: Option<(Loaded, Header)> = None;
        for (at, &sequence) in sequences.iter().enumerate() {
            let loaded = self.load(sequence)?;
            let is_last = at + 1 == sequences.len();
            let Some(header) = self.header(&loaded, is_last)? else {
                // Never finished. The one before it, if any, is the last.
                let (Some((previous, header)), false) = (waiting, sequence == 1) else {
                    return self.stillborn_alone(sequence);
                };
                return self.last(previous, header, None, Some(sequence));
            };
            if let Some((previous, previous_header)) = waiting.take() {
                let remembered =
                    Remembered { offset: header.previous_end, checksum: header.previous_checksum };
                if is_last && !self.is_finished(&loaded, &header)? {
                    return self.last(previous, previous_header, Some(remembered), Some(sequence));
                }
                let end = self.play(&previous, &previous_header, Some(remembered))?;
                self.closed.push_back(Closed { sequence: previous.sequence, last: end.highest });
                let last = self.replay.as_ref().map_or(0, |replay| replay.last);
                if header.first_index != last + 1 {
                    return Err(damaged(sequence, 0, Damage::Nonsense));
                }
            }
            waiting = Some((loaded, header));
        }
        let Some((loaded, header)) = waiting else { return Ok(None) };
        self.last(loaded, header, None, None)
    }

    fn load(&self, sequence: u64) -> Result<Loaded, WalError<S::Error>> {
        let bytes =
            self.source.read(FileName::Segment(sequence)).map_err(|source| WalError::Read { source })?;
        let header = segment::read(&bytes);
        Ok(Loaded { sequence, bytes, header })
    }

    /// A segment's header; nothing if it was never finished.
    fn header(&mut self, loaded: &Loaded, is_last: bool) -> Result<Option<Header>, WalError<S::Error>> {
        let file = FileName::Segment(loaded.sequence);
        let header = match &loaded.header {
            Ok(header) => *header,
            Err(BadHeader::Version(found)) => {
                return Err(WalError::Version { file, found: *found, known: segment::VERSION });
            }
            Err(BadHeader::Damaged) => {
                let log = self.log.or_else(|| self.log_of_snapshot());
                let place = log.map(|log| Place { log, segment: loaded.sequence, offset: 0 });
                let verdict = verdict::judge_header(&loaded.bytes, place, segment::LENGTH);
                return match verdict {
                    Verdict::Rotten(damage) => Err(damaged(loaded.sequence, 0, damage)),
                    _ if is_last => Ok(None),
                    _ => Err(damaged(loaded.sequence, 0, Damage::FileHeader)),
                };
            }
        };
        let expected = *self.log.get_or_insert(header.log);
        if header.log != expected {
            return Err(WalError::Foreign { file, found: header.log, expected });
        }
        if header.sequence != loaded.sequence {
            return Err(damaged(loaded.sequence, 0, Damage::Nonsense));
        }
        Ok(Some(header))
    }

    /// What the files belong to, when no segment's header could be read.
    fn log_of_snapshot(&self) -> Option<u64> {
        let files = self.source.list().ok()?;
        let newest = files.into_iter().filter(|file| matches!(file, FileName::Snapshot(_))).max()?;
        snapshot::log(&self.source.read(newest).ok()?)
    }

    /// Whether the segment's opening records are there: only then may earlier ones be removed.
    fn is_finished(&self, loaded: &Loaded, header: &Header) -> Result<bool, WalError<S::Error>> {
        let mut aside = Replay::start(header);
        let end = read::segment(&loaded.bytes, header, None, &mut aside)
            .map_err(|rot| damaged(loaded.sequence, rot.offset, rot.damage))?;
        Ok(end.opening_end.is_some())
    }

    fn play(
        &mut self,
        loaded: &Loaded,
        header: &Header,
        remembered: Option<Remembered>,
    ) -> Result<End, WalError<S::Error>> {
        let replay = self.replay.get_or_insert_with(|| Replay::start(header));
        read::segment(&loaded.bytes, header, remembered, replay)
            .map_err(|rot| damaged(loaded.sequence, rot.offset, rot.damage))
    }

    /// The only segment was never finished: nothing was ever confirmed, if it is the first.
    fn stillborn_alone(&self, sequence: u64) -> Result<Option<Last>, WalError<S::Error>> {
        if sequence == 1 { Ok(None) } else { Err(missing(sequence - 1)) }
    }

    fn last(
        &mut self,
        loaded: Loaded,
        header: Header,
        remembered: Option<Remembered>,
        stillborn: Option<u64>,
    ) -> Result<Option<Last>, WalError<S::Error>> {
        let mut end = self.play(&loaded, &header, remembered)?;
        if remembered.is_some() {
            end.synced = end.offset;
        }
        if end.torn {
            let length = loaded.bytes.iter().rposition(|&b| b != 0).map_or(0, |at| at as u64 + 1);
            let file = FileName::Segment(loaded.sequence);
            self.cut = Some(Cut { file, offset: end.offset, length: length.saturating_sub(end.offset) });
        }
        let Some(opening_end) = end.opening_end else { return self.stillborn_alone(loaded.sequence) };
        Ok(Some(Last { bytes: loaded.bytes, header, end, opening_end, stillborn }))
    }

    /// Checks that it all fits together and prepares the writer.
    fn finish(
        self,
        last: &Last,
        files: &BTreeSet<FileName>,
        limits: Limits,
    ) -> Result<Recovery, WalError<S::Error>> {
        let replay = self.replay.unwrap_or_default();
        let mut entries = replay.entries;
        let mark = replay.marking.as_ref().map_or(0, |marking| marking.mark.index);
        entries.drain(..entries.partition_point(|entry| entry.index <= mark));
        let first = entries.first().map_or(replay.last + 1, |entry| entry.index);
        if first > mark + 1 {
            return Err(WalError::Gap { snapshot: mark, first });
        }
        let mut state = replay.state.unwrap_or_default();
        if state.commit > replay.last {
            return Err(WalError::CommitBeyondEnd { commit: state.commit, last: replay.last });
        }
        let header = last.header;
        let snapshot = match &replay.marking {
            None => None,
            Some(marking) => {
                Some(read_snapshot(self.source, header.log, marking.mark.index, marking.digest)?)
            }
        };
        let mut tail = Tail {
            log: header.log,
            sequence: header.sequence,
            offset: last.end.offset,
            checksum: last.end.checksum,
            last: replay.last,
            highest: last.end.highest,
            closed: self.closed,
            snapshots: vec![],
            marking: replay.marking.map(|marking| Marking { resets: false, ..marking }),
            state,
            since_mark: entries.iter().map(|entry| entry.data.len() as u64 + 32).sum(),
        };
        state.commit = state.commit.max(mark);
        let mut repairs = repairs(last, limits);
        let removed = superfluous(&mut tail, mark).into_iter();
        let kept: BTreeSet<u64> =
            tail.closed.iter().map(|closed| closed.sequence).chain([tail.sequence]).collect();
        let leftovers = files.iter().copied().filter(|file| match file {
            FileName::Segment(sequence) => !kept.contains(sequence),
            FileName::Snapshot(index) => *index != mark,
            FileName::Draft(_) => true,
        });
        let gone: BTreeSet<FileName> = removed.chain(leftovers).collect();
        repairs.extend(gone.into_iter().map(|file| Op::Remove { file }));
        if snapshot.is_some() {
            tail.snapshots.push(mark);
        }
        let writer = Writer::resume(limits, tail, last.opening_end, repairs);
        Ok(Recovery::Log(Box::new(Recovered { state, snapshot, entries, writer, cut: self.cut })))
    }
}

/// Makes the end that was found the end on disk: what is torn must be gone, durably, before anything is
/// written after it, else its remains could look like rot next time; and what isn't proven to be synced is
/// written once more, because the page cache may hold what the disk refused.
fn repairs(last: &Last, limits: Limits) -> Vec<Op> {
    let file = FileName::Segment(last.header.sequence);
    let end = last.end;
    let mut ops = vec![];
    if let Some(stillborn) = last.stillborn {
        ops.extend([Op::Remove { file: FileName::Segment(stillborn) }, Op::SyncDirectory]);
    }
    if end.torn {
        ops.push(Op::Truncate { file, length: end.offset });
        ops.push(Op::Reserve { file, length: limits.segment_bytes.max(end.offset) });
    }
    let from = usize::try_from(end.synced).unwrap_or(usize::MAX);
    let to = usize::try_from(end.offset).unwrap_or(usize::MAX);
    if let Some(bytes) = last.bytes.get(from..to).filter(|bytes| !bytes.is_empty()) {
        ops.push(Op::Write { file, offset: end.synced, bytes: bytes.to_vec() });
    }
    // The directory too: the segment may be younger than its last sync.
    ops.extend([Op::Sync { file }, Op::SyncDirectory]);
    ops
}

fn read_snapshot<S: Source>(
    source: &S,
    log: u64,
    index: u64,
    digest: u64,
) -> Result<Snapshot, WalError<S::Error>> {
    let file = FileName::Snapshot(index);
    let there = source.list().map_err(|source| WalError::Read { source })?.contains(&file);
    if !there {
        return Err(WalError::Missing { file });
    }
    let bytes = source.read(file).map_err(|source| WalError::Read { source })?;
    match snapshot::read(&bytes) {
        Ok(read) if read.log != log => Err(WalError::Foreign { file, found: read.log, expected: log }),
        Ok(read) if read.digest != digest || read.snapshot.mark.index != index => {
            Err(WalError::Damaged { file, offset: 0, damage: Damage::SnapshotDiffers })
        }
        Ok(read) => Ok(read.snapshot),
        Err(BadSnapshot::Version(found)) => Err(WalError::Version { file, found, known: snapshot::VERSION }),
        Err(BadSnapshot::Damaged(offset, damage)) => {
            Err(WalError::Damaged { file, offset: offset as u64, damage })
        }
    }
}

fn damaged<E: std::error::Error>(sequence: u64, offset: u64, damage: Damage) -> WalError<E> {
    WalError::Damaged { file: FileName::Segment(sequence), offset, damage }
}

fn missing<E: std::error::Error>(sequence: u64) -> WalError<E> {
    WalError::Missing { file: FileName::Segment(sequence) }
}
