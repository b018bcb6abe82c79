//! One file of a stream's output and its index, being written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use mill_model::Timestamp;

use super::index::{Index, Record};
use super::layout::{self, SegmentId};
use super::{Stream, StreamName};

/// A segment that grows.
pub(super) struct Segment {
    pub(super) log: File,
    /// Bytes in the log.
    pub(super) length: u64,
    index: Index,
    /// Bytes dropped that no record tells of yet; also in the index's header.
    gap: Option<Record>,
}

impl Segment {
    /// Begins a segment.
    pub(super) fn create(directory: &Path, stream: Stream, id: SegmentId) -> io::Result<Self> {
        let open = |path| OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
        let index_path = layout::index(directory, stream, id);
        let log_path = layout::log(directory, stream, id);
        let made = open(&index_path).and_then(Index::create).and_then(|index| Ok((open(&log_path)?, index)));
        match made {
            Ok((log, index)) => Ok(Self { log, length: 0, index, gap: None }),
            Err(error) => {
                // Nothing half made is left: the next attempt finds its name free.
                let _ = layout::remove(&log_path);
                let _ = layout::remove(&index_path);
                Err(error)
            }
        }
    }

    /// Goes on with a segment that an earlier capture left. What it didn't account for is of now.
    pub(super) fn resume(
        directory: &Path,
        name: &StreamName,
        id: SegmentId,
        now: Timestamp,
    ) -> io::Result<Self> {
        let open = |path| {
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
        };
        let log = open(layout::log(directory, name.stream, id))?;
        let length = log.metadata()?.len();
        let index = Index::recover(open(layout::index(directory, name.stream, id))?, length)?;
        let gap = index.pending()?.map(|gap| Record { end: gap.end.min(length).max(index.end()), ..gap });
        let mut segment = Self { log, length, index, gap };
        segment.settle_gap();
        if segment.index.end() < length {
            // Refused by a full disk, readers take the file's time instead.
            let _ = segment.index.append(Record { end: length, at: now, dropped: 0 });
        }
        Ok(segment)
    }

    /// Bytes that log and index take.
    pub(super) fn size(&self) -> u64 {
        self.length + self.index.size()
    }

    /// Accounts for bytes that were just moved to the end of the log.
    pub(super) fn grown(&mut self, by: u64, now: Timestamp) {
        self.length += by;
        if self.settle_gap() {
            // An index that can't grow leaves the bytes to the next record: time is lost, no output.
            let _ = self.index.append(Record { end: self.length, at: now, dropped: 0 });
        }
    }

    /// Accounts for bytes that couldn't be written.
    pub(super) fn dropped(&mut self, bytes: u64, now: Timestamp) {
        let earlier = self.gap.unwrap_or(Record { end: self.length, at: now, dropped: 0 });
        let gap = Record { dropped: earlier.dropped + bytes, ..earlier };
        self.gap = Some(gap);
        let _ = self.index.set_pending(Some(gap));
    }

    /// Makes the pending gap a record; says whether there is none left.
    fn settle_gap(&mut self) -> bool {
        let Some(gap) = self.gap else { return true };
        if self.index.append(gap).is_err() {
            return false;
        }
        let _ = self.index.set_pending(None);
        self.gap = None;
        true
    }
}
