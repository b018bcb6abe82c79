//! Reads both streams of an alloc as one, by time, from where a query begins.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use mill_model::{AllocId, Timestamp};

use super::cursor::{Cursor, Opened, Source};
use super::index::{self, Record};
use super::layout::SegmentId;
use super::{Line, Query, Stream};

/// Lines, and bytes of them, that one step reads: what waits in memory for a slow reader.
const BATCH_LINES_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 256 << 10;

/// Bytes read at a time, backwards.
const BLOCK_BYTES: u64 = 16 << 10;

/// Both streams of an alloc.
pub(super) struct Merge {
    cursors: Vec<Cursor>,
    heads: Vec<Head>,
    rest: VecDeque<Line>,
    since: Timestamp,
    skip: usize,
}

/// What a stream shows next.
#[derive(Default)]
enum Head {
    /// Not looked at yet.
    #[default]
    Unknown,
    Line(Line),
    /// Nothing more: not looked at again before the next batch, since a look reads the directory.
    Dry,
}

/// What a step read.
pub(super) struct Batch {
    pub(super) lines: Vec<Line>,
    /// There is no more as yet.
    pub(super) ended: bool,
    /// A line has begun and waits for its end.
    pub(super) partial: bool,
}

impl Merge {
    /// Both streams, from where `query` begins.
    pub(super) fn open(directory: &Path, alloc: &AllocId, query: &Query) -> io::Result<Self> {
        let source = |stream| Source {
            directory: directory.to_owned(),
            alloc: alloc.clone(),
            stream,
            runs: query.runs,
        };
        let sources = Stream::ALL.map(source);
        let from_place = || -> io::Result<Self> {
            let cursors = sources.iter().map(|source| begin(source, query));
            let cursors: Vec<Cursor> = cursors.collect::<io::Result<_>>()?;
            let heads = cursors.iter().map(|_| Head::Unknown).collect();
            let since = query.since.unwrap_or_default();
            Ok(Self { cursors, heads, rest: VecDeque::new(), since, skip: 0 })
        };
        let mut merge = from_place()?;
        if let Some(tail) = query.tail {
            // Each stream begins with its own last lines: what is too many of both together is skipped.
            merge.skip = from_place()?.count()?.saturating_sub(tail);
        }
        Ok(merge)
    }

    fn count(mut self) -> io::Result<usize> {
        let mut count = 0;
        while self.next()?.is_some() {
            count += 1;
        }
        self.finish()?;
        while self.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Reads some lines; `last` also what stands at the end without a line feed.
    pub(super) fn batch(&mut self, last: bool) -> io::Result<Batch> {
        let mut batch = Batch { lines: vec![], ended: false, partial: false };
        for head in self.heads.iter_mut().filter(|head| matches!(head, Head::Dry)) {
            *head = Head::Unknown;
        }
        let mut bytes = 0;
        while batch.lines.len() < BATCH_LINES_MAX && bytes < BATCH_BYTES_MAX {
            let mut line = self.next()?;
            if line.is_none() && last {
                self.finish()?;
                line = self.next()?;
            }
            let Some(line) = line else {
                batch.ended = true;
                batch.partial = self.cursors.iter().any(Cursor::has_partial);
                break;
            };
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            bytes += line.text.len();
            batch.lines.push(line);
        }
        Ok(batch)
    }

    /// Lines that have begun and don't seem to go on: a prompt, a progress bar.
    pub(super) fn flush(&mut self) {
        self.rest.extend(self.cursors.iter_mut().filter_map(Cursor::flushed));
    }

    fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            for (cursor, head) in self.cursors.iter_mut().zip(&mut self.heads) {
                if matches!(head, Head::Unknown) {
                    *head = cursor.next_line()?.map_or(Head::Dry, Head::Line);
                }
            }
            let line = self.earliest().or_else(|| self.rest.pop_front());
            match line {
                Some(line) if line.at < self.since => {}
                line => return Ok(line),
            }
        }
    }

    fn earliest(&mut self) -> Option<Line> {
        let order = |head: &&mut Head| match head {
            Head::Line(line) => Some((line.at, line.stream)),
            Head::Unknown | Head::Dry => None,
        };
        let heads = self.heads.iter_mut().filter(|head| matches!(head, Head::Line(_)));
        match heads.min_by_key(order).map(std::mem::take) {
            Some(Head::Line(line)) => Some(line),
            _ => None,
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        for cursor in &mut self.cursors {
            self.rest.extend(cursor.rest()?);
        }
        self.rest.make_contiguous().sort_by_key(|line| (line.at, line.stream));
        Ok(())
    }
}

/// A cursor where a query begins.
fn begin(source: &Source, query: &Query) -> io::Result<Cursor> {
    let segments = source.segments()?;
    let place = match (query.tail, query.since) {
        (Some(tail), _) => tail_place(source, &segments, tail.max(1))?,
        (None, Some(since)) => since_place(source, &segments, since)?,
        (None, None) => None,
    };
    Ok(Cursor::new(source.clone(), place))
}

/// Where the last `lines` lines begin, at the latest; `None`: at the beginning.
fn tail_place(source: &Source, segments: &[SegmentId], lines: usize) -> io::Result<Option<Opened>> {
    let mut found = 0;
    let mut last_byte = true;
    let mut later: Option<SegmentId> = None;
    for id in segments.iter().rev() {
        let Some(mut opened) = source.open(*id)? else { break };
        // The end of a run ends its last line too.
        last_byte |= later.is_some_and(|later| later.incarnation != id.incarnation);
        later = Some(*id);
        let mut end = opened.log.metadata()?.len();
        while end > 0 {
            let start = end.saturating_sub(BLOCK_BYTES);
            let mut block = vec![0; usize::try_from(end - start).unwrap_or_default()];
            opened.log.read_exact_at(&mut block, start)?;
            for (offset, byte) in block.iter().enumerate().rev() {
                // The line feed that ends the last line of all begins no other.
                if *byte == b'\n' && !std::mem::take(&mut last_byte) {
                    found += 1;
                    if found == lines {
                        let after = start + u64::try_from(offset).unwrap_or_default() + 1;
                        place(&mut opened, after)?;
                        return Ok(Some(opened));
                    }
                } else {
                    last_byte = false;
                }
            }
            end = start;
        }
    }
    Ok(None)
}

/// Where lines since `since` begin, at the latest.
fn since_place(source: &Source, segments: &[SegmentId], since: Timestamp) -> io::Result<Option<Opened>> {
    for id in segments {
        let Some(mut opened) = source.open(*id)? else { continue };
        let records = index::count(&opened.index)?;
        let earlier = partition(records, |number| {
            Ok(index::read(&opened.index, number)?.is_some_and(|record| record.at < since))
        })?;
        let before = earlier.checked_sub(1).map(|last| index::read(&opened.index, last)).transpose()?;
        let covered = before.flatten().map_or(0, |record: Record| record.end);
        let data = opened.log.metadata()?;
        let later = earlier < records || data.len() > covered;
        let touched = data.modified().map(Timestamp::from).unwrap_or_default();
        if later && (earlier < records || touched >= since) {
            let start = next_line_start(&opened, covered)?;
            place(&mut opened, start)?;
            return Ok(Some(opened));
        }
    }
    // Nothing yet: at the end of all.
    let Some(mut opened) = segments.last().map(|id| source.open(*id)).transpose()?.flatten() else {
        return Ok(None);
    };
    let end = opened.log.metadata()?.len();
    place(&mut opened, end)?;
    Ok(Some(opened))
}

/// The first line's beginning at or after `offset`.
fn next_line_start(opened: &Opened, offset: u64) -> io::Result<u64> {
    let Some(mut at) = offset.checked_sub(1) else { return Ok(0) };
    let mut block = vec![0; usize::try_from(BLOCK_BYTES).unwrap_or_default()];
    loop {
        let read = opened.log.read_at(&mut block, at)?;
        let found = block.iter().take(read).position(|byte| *byte == b'\n');
        if let Some(found) = found {
            return Ok(at + u64::try_from(found).unwrap_or_default() + 1);
        }
        at += u64::try_from(read).unwrap_or_default();
        if read == 0 {
            return Ok(at);
        }
    }
}

/// Puts a segment at `position`, with the record that covers it.
fn place(opened: &mut Opened, position: u64) -> io::Result<()> {
    let records = index::count(&opened.index)?;
    // One that ends exactly here is looked at: it may still grow, and the gap after it is here too.
    opened.slot = partition(records, |number| {
        Ok(index::read(&opened.index, number)?.is_some_and(|record| record.end < position))
    })?;
    opened.position = position;
    Ok(())
}

/// The first of `count` numbers for which `before` doesn't hold, if it holds for none after that.
fn partition(count: u64, mut before: impl FnMut(u64) -> io::Result<bool>) -> io::Result<u64> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        match before(middle)? {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    Ok(low)
}
