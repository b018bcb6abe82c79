//! The writing side: turns appends into orders to the disk.
//!
//! What is added gathers until [`Writer::batch`] is asked for; one batch ends in one sync, however much it
//! holds (group commit). One batch is out at a time; what comes meanwhile gathers for the next.

use std::collections::VecDeque;

use crate::frame::{self, Place};
use crate::payload::{self, Marking};
use crate::segment::{self, Header};
use crate::{ENTRY_BYTES_MAX, EntryView, FileName, HardState, Mark, Op, Oversized, Snapshot, snapshot};

/// Sizes of the log's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A segment is closed when the next record would make it longer than this. A longer record gets a segment
    /// of its own.
    pub segment_bytes: u64,
}

impl Default for Limits {
    /// 16 MiB: recovery holds two segments in memory, and space comes back in pieces of this size.
    fn default() -> Self {
        Self { segment_bytes: 16 << 20 }
    }
}

/// Orders that belong together. When all are done, in their order and without an error, everything that was
/// added before is durable: tell [`Writer::done`]. After an error throw the writer away and recover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Counts up.
    pub number: u64,
    /// The orders.
    pub ops: Vec<Op>,
}

/// A segment that takes no more records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) sequence: u64,
    /// Highest index in it.
    pub(crate) last: u64,
}

/// A batch that the disk works on: what will be durable with it.
#[derive(Debug)]
struct Out {
    number: u64,
    sequence: u64,
    offset: u64,
    mark: Option<u64>,
}

/// Where the log goes on.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) log: u64,
    pub(crate) sequence: u64,
    pub(crate) offset: u64,
    /// Checksum of the last record.
    pub(crate) checksum: u32,
    /// Last index of the log.
    pub(crate) last: u64,
    /// Highest index that the current segment ever held.
    pub(crate) highest: u64,
    pub(crate) closed: VecDeque<Closed>,
    pub(crate) snapshots: Vec<u64>,
    pub(crate) marking: Option<Marking>,
    pub(crate) state: HardState,
    /// Bytes of records with entries since the mark.
    pub(crate) since_mark: u64,
}

/// Turns appends into orders. Holds no entries, only where the log ends.
#[derive(Debug)]
pub struct Writer {
    limits: Limits,
    tail: Tail,
    /// Where this segment's opening records end; a segment without more isn't closed.
    opening_end: u64,
    /// How far the current segment is known to be synced.
    synced: u64,
    /// Bytes at the end of the segment that are in no order yet.
    gathered: Vec<u8>,
    ops: Vec<Op>,
    /// A state to write with the next batch.
    state: Option<HardState>,
    /// The state can't wait for other things to write.
    urgent: bool,
    out: Option<Out>,
    number: u64,
}

impl Writer {
    /// A new log in an empty directory, that starts with a snapshot or, on a node that joins others, without.
    /// `log` is any number that no other log has; records of one log are never taken for another's.
    pub fn create(log: u64, limits: Limits, first: Option<&Snapshot>, state: HardState) -> Self {
        let last = first.map_or(0, |snapshot| snapshot.mark.index);
        let tail = Tail {
            log,
            sequence: 0,
            offset: 0,
            checksum: 0,
            last,
            highest: last,
            closed: VecDeque::new(),
            snapshots: vec![],
            marking: None,
            state,
            since_mark: 0,
        };
        let mut writer = Self::resume(limits, tail, 0, vec![]);
        if let Some(snapshot) = first {
            let digest = writer.store(snapshot);
            writer.tail.marking = Some(Marking { mark: snapshot.mark.clone(), digest, resets: false });
        }
        writer.open_segment();
        writer
    }

    /// Goes on where recovery found the end, after the orders that make it so.
    pub(crate) fn resume(limits: Limits, tail: Tail, opening_end: u64, repairs: Vec<Op>) -> Self {
        Self {
            limits,
            synced: tail.offset,
            tail,
            opening_end,
            gathered: vec![],
            ops: repairs,
            state: None,
            urgent: false,
            out: None,
            number: 0,
        }
    }

    /// Adds entries. An index that was there already drops it and all after it.
    ///
    /// # Errors
    /// An entry is too long; nothing of `entries` is added then.
    pub fn append(&mut self, entries: &[EntryView<'_>]) -> Result<(), Oversized> {
        if let Some(long) = entries.iter().find(|entry| entry.data.len() > ENTRY_BYTES_MAX) {
            return Err(Oversized { length: long.data.len() });
        }
        let mut rest = entries;
        while let Some(first) = rest.first() {
            let mut content = payload::begin_entries(first.index);
            let mut count = 0;
            for entry in rest {
                let full = content.len() + payload::entry_length(entry) > payload::GATHERED;
                if count > 0 && (full || entry.index != first.index + count as u64) {
                    break;
                }
                payload::push_entry(&mut content, entry);
                count += 1;
            }
            self.push(payload::ENTRIES, &content);
            self.tail.last = first.index + count as u64 - 1;
            self.tail.highest = self.tail.highest.max(self.tail.last);
            self.tail.since_mark += frame::framed(content.len()) as u64;
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes this state after the entries added so far. A state that only knows more to be committed waits
    /// until there is something else to write.
    pub fn save(&mut self, state: HardState) {
        let known = self.state.unwrap_or(self.tail.state);
        self.urgent |= (state.term, state.vote) != (known.term, known.vote);
        self.state = Some(state);
    }

    /// Stores a snapshot made here. Once it is durable, what the log holds before it is removed. One that is
    /// no newer than the last is ignored.
    pub fn snapshot(&mut self, snapshot: &Snapshot) {
        if snapshot.mark.index > self.mark().map_or(0, |mark| mark.index) {
            self.mark_as(snapshot, false);
        }
    }

    /// Stores a snapshot that came from the leader, and empties the log: it goes on after the snapshot.
    pub fn install(&mut self, snapshot: &Snapshot) {
        self.mark_as(snapshot, true);
        let index = snapshot.mark.index;
        self.tail.last = index;
        self.tail.highest = index;
        for closed in &mut self.tail.closed {
            closed.last = closed.last.min(index);
        }
    }

    /// The next batch; nothing while one is out, or when there is nothing to do.
    pub fn batch(&mut self) -> Option<Batch> {
        if self.out.is_some() {
            return None;
        }
        if let Some(state) = self.state
            && (self.urgent || !self.gathered.is_empty())
        {
            (self.state, self.urgent) = (None, false);
            self.push(payload::STATE, &payload::state(state));
            self.tail.state = state;
        }
        self.flush();
        if self.ops.is_empty() {
            return None;
        }
        self.number += 1;
        self.out = Some(Out {
            number: self.number,
            sequence: self.tail.sequence,
            offset: self.tail.offset,
            mark: self.mark().map(|mark| mark.index),
        });
        Some(Batch { number: self.number, ops: std::mem::take(&mut self.ops) })
    }

    /// The batch of this number is done without an error. What it made superfluous is removed with the next.
    pub fn done(&mut self, number: u64) {
        let Some(out) = self.out.take_if(|out| out.number == number) else { return };
        if out.sequence == self.tail.sequence {
            self.synced = out.offset;
        }
        if let Some(mark) = out.mark {
            let superfluous = superfluous(&mut self.tail, mark);
            self.ops.extend(superfluous.into_iter().map(|file| Op::Remove { file }));
        }
    }

    /// Where the log was last replaced by a snapshot.
    pub fn mark(&self) -> Option<&Mark> {
        self.tail.marking.as_ref().map(|marking| &marking.mark)
    }

    /// Bytes of entries written since then: what a restart would have to apply again.
    pub fn bytes_since_mark(&self) -> u64 {
        self.tail.since_mark
    }

    /// Last index of the log.
    pub fn last_index(&self) -> u64 {
        self.tail.last
    }

    fn mark_as(&mut self, snapshot: &Snapshot, resets: bool) {
        let digest = self.store(snapshot);
        let marking = Marking { mark: snapshot.mark.clone(), digest, resets };
        self.push(payload::MARK, &payload::mark(&marking));
        self.tail.marking = Some(Marking { resets: false, ..marking });
        self.tail.since_mark = 0;
    }

    /// Orders a snapshot's file. The mark that makes it count is written later in the same batch.
    fn store(&mut self, snapshot: &Snapshot) -> u64 {
        let (bytes, digest) = snapshot::write(self.tail.log, snapshot);
        let index = snapshot.mark.index;
        let (draft, file) = (FileName::Draft(index), FileName::Snapshot(index));
        self.ops.extend([
            Op::Create { file: draft },
            Op::Write { file: draft, offset: 0, bytes },
            Op::Sync { file: draft },
            Op::Rename { from: draft, to: file },
            Op::SyncDirectory,
        ]);
        self.tail.snapshots.push(index);
        digest
    }

    fn push(&mut self, kind: u8, content: &[u8]) {
        let end = self.tail.offset + frame::framed(content.len()) as u64;
        if end > self.limits.segment_bytes && self.tail.offset > self.opening_end {
            self.close_segment();
            self.open_segment();
        }
        let tail = &mut self.tail;
        let place = Place { log: tail.log, segment: tail.sequence, offset: tail.offset };
        let before = self.gathered.len();
        tail.checksum = frame::write(&mut self.gathered, place, kind, self.synced, content);
        tail.offset += (self.gathered.len() - before) as u64;
    }

    fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let file = FileName::Segment(self.tail.sequence);
        let bytes = std::mem::take(&mut self.gathered);
        let offset = self.tail.offset - bytes.len() as u64;
        self.ops.extend([Op::Write { file, offset, bytes }, Op::Sync { file }]);
    }

    /// What the next segment's header vouches for must be durable before that header exists.
    fn close_segment(&mut self) {
        self.flush();
        self.tail.closed.push_back(Closed { sequence: self.tail.sequence, last: self.tail.highest });
    }

    fn open_segment(&mut self) {
        let tail = &mut self.tail;
        let header = Header {
            log: tail.log,
            sequence: tail.sequence + 1,
            first_index: tail.last + 1,
            previous_end: tail.offset,
            previous_checksum: tail.checksum,
        };
        tail.sequence += 1;
        tail.highest = tail.last;
        let file = FileName::Segment(tail.sequence);
        let length = self.limits.segment_bytes;
        self.ops.extend([Op::Create { file }, Op::Reserve { file, length }, Op::SyncDirectory]);
        self.gathered = segment::write(&header);
        tail.offset = self.gathered.len() as u64;
        self.synced = 0;
        // Nothing is ever closed while the opening is written.
        self.opening_end = u64::MAX;
        if let Some(marking) = tail.marking.clone() {
            self.push(payload::MARK, &payload::mark(&marking));
        }
        self.push(payload::STATE, &payload::state(self.tail.state));
        self.opening_end = self.tail.offset;
    }
}

/// Takes out of the tail what a durable mark at `index` makes superfluous.
pub(crate) fn superfluous(tail: &mut Tail, index: u64) -> Vec<FileName> {
    let mut files = vec![];
    while let Some(closed) = tail.closed.pop_front_if(|closed| closed.last <= index) {
        files.push(FileName::Segment(closed.sequence));
    }
    files.extend(tail.snapshots.extract_if(.., |snapshot| *snapshot < index).map(FileName::Snapshot));
    files
}
