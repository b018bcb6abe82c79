//! Reads one stream of an alloc, line by line, over its segments. Doesn't mind that they grow or go away meanwhile.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use mill_model::{AllocId, Incarnation, Timestamp, limits};

use super::index::{self, Record};
use super::layout::{self, SegmentId};
use super::{Line, Runs, Stream};

/// Bytes read at a time.
const CHUNK_BYTES: u64 = 64 << 10;

/// Which stream of which alloc.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) directory: PathBuf,
    pub(super) alloc: AllocId,
    pub(super) stream: Stream,
    pub(super) runs: Runs,
}

impl Source {
    /// The segments to read, oldest first.
    pub(super) fn segments(&self) -> io::Result<Vec<SegmentId>> {
        let mut segments = layout::segments(&self.directory, self.stream)?;
        if let Runs::Only(incarnation) = self.runs {
            segments.retain(|id| id.incarnation == incarnation);
        }
        Ok(segments)
    }

    /// Opens a segment; `None` if it has been removed.
    pub(super) fn open(&self, id: SegmentId) -> io::Result<Option<Opened>> {
        let open = |path| match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        };
        let log = open(layout::log(&self.directory, self.stream, id))?;
        let index = open(layout::index(&self.directory, self.stream, id))?;
        let both = log.zip(index);
        Ok(both.map(|(log, index)| Opened { id, log, index, position: 0, slot: 0, at_end: false }))
    }
}

/// A piece of a segment with one time.
enum Span {
    Bytes { to: u64, at: Timestamp },
    Gap(Record),
}

/// A segment being read.
pub(super) struct Opened {
    pub(super) id: SegmentId,
    pub(super) log: File,
    pub(super) index: File,
    /// The next byte of the log.
    pub(super) position: u64,
    /// The next record of the index; one of bytes is looked at again, since it may grow.
    pub(super) slot: u64,
    /// A later segment was seen; one more look, and this one is done.
    at_end: bool,
}

impl Opened {
    fn next_span(&mut self) -> io::Result<Option<Span>> {
        let limit = self.position + CHUNK_BYTES;
        while let Some(record) = index::read(&self.index, self.slot)? {
            if record.is_gap() {
                self.slot += 1;
                return Ok(Some(Span::Gap(record)));
            }
            if record.end > self.position {
                return Ok(Some(Span::Bytes { to: record.end.min(limit), at: record.at }));
            }
            if index::read(&self.index, self.slot + 1)?.is_none() {
                break;
            }
            self.slot += 1;
        }
        // Bytes that no record tells of yet, or ever will if the capture was killed and its node is gone.
        let data = self.log.metadata()?;
        let unaccounted = data.len() > self.position;
        let at = data.modified().map(Timestamp::from).unwrap_or_default();
        Ok(unaccounted.then(|| Span::Bytes { to: data.len().min(limit), at }))
    }

    /// The bytes up to `to`; fewer if the file ends before.
    fn bytes(&mut self, to: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(to - self.position).unwrap_or_default()];
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.log.read_at(rest, self.position)? {
                0 => break,
                more => {
                    read += more;
                    self.position += u64::try_from(more).unwrap_or_default();
                }
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }

    /// The gap that never became a record, because nothing could be written after it.
    fn last_gap(&self) -> io::Result<Option<Record>> {
        let Some(gap) = index::read_pending(&self.index)? else { return Ok(None) };
        let last = index::count(&self.index)?.checked_sub(1);
        let last = last.map(|last| index::read(&self.index, last)).transpose()?.flatten();
        let told = last.is_some_and(|last| (last.end, last.dropped) == (gap.end, gap.dropped));
        Ok((!told).then_some(gap))
    }
}

/// A line that may go on.
struct Partial {
    at: Timestamp,
    incarnation: Incarnation,
    bytes: Vec<u8>,
}

/// A place in one stream.
pub(super) struct Cursor {
    source: Source,
    current: Option<Opened>,
    /// The last segment that was read to its end.
    done: Option<SegmentId>,
    partial: Option<Partial>,
    ready: VecDeque<Line>,
}

impl Cursor {
    /// A cursor before everything that is there, or at an opened place.
    pub(super) fn new(source: Source, place: Option<Opened>) -> Self {
        Self { source, current: place, done: None, partial: None, ready: VecDeque::new() }
    }

    /// The next line; `None` if there is none yet.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            if self.current.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let Some(segment) = &mut self.current else { return Ok(None) };
            let incarnation = segment.id.incarnation;
            match segment.next_span()? {
                Some(Span::Bytes { to, at }) => {
                    let bytes = segment.bytes(to)?;
                    self.feed(&bytes, at, incarnation);
                }
                Some(Span::Gap(gap)) => self.gap(gap, incarnation),
                None if !self.leave_segment()? => return Ok(None),
                None => {}
            }
        }
    }

    /// Ends the reading: what is left is a line without its line feed, and a gap without a record.
    pub(super) fn rest(&mut self) -> io::Result<Vec<Line>> {
        if let Some(segment) = self.current.take() {
            self.done = Some(segment.id);
            if let Some(gap) = segment.last_gap()? {
                self.gap(gap, segment.id.incarnation);
            }
        }
        self.flush();
        Ok(self.ready.drain(..).collect())
    }

    /// A line that has begun and seems to go on no further.
    pub(super) fn flushed(&mut self) -> Option<Line> {
        self.flush();
        self.ready.pop_front()
    }

    pub(super) fn has_partial(&self) -> bool {
        self.partial.is_some()
    }

    fn open_next(&mut self) -> io::Result<bool> {
        for id in self.source.segments()? {
            if self.done.is_some_and(|done| id <= done) {
                continue;
            }
            if self.partial.as_ref().is_some_and(|partial| partial.incarnation != id.incarnation) {
                self.flush();
            }
            if let Some(opened) = self.source.open(id)? {
                self.current = Some(opened);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Leaves a segment that is read, if there is a later one. Says whether to go on reading.
    fn leave_segment(&mut self) -> io::Result<bool> {
        let Some(segment) = &mut self.current else { return Ok(true) };
        if !segment.at_end {
            let later = self.source.segments()?.last().is_some_and(|last| *last > segment.id);
            // Bytes may have come after the look at this segment and before the later one was begun.
            segment.at_end = later;
            return Ok(later);
        }
        let (id, gap) = (segment.id, segment.last_gap()?);
        self.current = None;
        self.done = Some(id);
        if let Some(gap) = gap {
            self.gap(gap, id.incarnation);
        }
        Ok(true)
    }

    fn feed(&mut self, mut bytes: &[u8], at: Timestamp, incarnation: Incarnation) {
        while let Some(first) = bytes.first() {
            let partial = self.partial.get_or_insert_with(|| Partial { at, incarnation, bytes: Vec::new() });
            let room = limits::LOG_LINE_BYTES_MAX.saturating_sub(partial.bytes.len());
            if room == 0 && *first != b'\n' {
                self.flush_whole_characters();
                continue;
            }
            let window = bytes.get(..room.max(1)).unwrap_or(bytes);
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                let (line, rest) = bytes.split_at(end);
                partial.bytes.extend_from_slice(line);
                bytes = rest.get(1..).unwrap_or_default();
                self.flush();
            } else {
                partial.bytes.extend_from_slice(window);
                bytes = bytes.get(window.len()..).unwrap_or_default();
            }
        }
    }

    fn gap(&mut self, gap: Record, incarnation: Incarnation) {
        self.flush();
        let text = format!("[mill: {} bytes were dropped here, they could not be written]", gap.dropped);
        let line = self.line(gap.at, incarnation, text);
        self.ready.push_back(Line { dropped: Some(gap.dropped), ..line });
    }

    fn flush(&mut self) {
        if let Some(Partial { at, incarnation, bytes }) = self.partial.take() {
            let line = self.line(at, incarnation, String::from_utf8_lossy(&bytes).into_owned());
            self.ready.push_back(line);
        }
    }

    /// Flushes a line that is too long, and keeps back the begun character at its end.
    fn flush_whole_characters(&mut self) {
        let Some(partial) = &mut self.partial else { return };
        let lead = partial.bytes.iter().rev().take(3).position(|byte| *byte >= 0b1100_0000);
        let lead = lead.map(|back| partial.bytes.len() - back - 1);
        let begun = match lead.filter(|lead| is_cut(partial.bytes.get(*lead..).unwrap_or_default())) {
            Some(lead) => partial.bytes.split_off(lead),
            None => vec![],
        };
        let (at, incarnation) = (partial.at, partial.incarnation);
        self.flush();
        if !begun.is_empty() {
            self.partial = Some(Partial { at, incarnation, bytes: begun });
        }
    }

    fn line(&self, at: Timestamp, incarnation: Incarnation, text: String) -> Line {
        let alloc = self.source.alloc.clone();
        Line { at, alloc, incarnation, stream: self.source.stream, text, dropped: None }
    }
}

/// Whether a character begins here and isn't whole.
fn is_cut(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
