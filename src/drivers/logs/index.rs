//! The index beside a log: fixed-size records that say up to which offset bytes were there, and when.
//!
//! ```text
//! 0   magic, version          32 bytes
//! 32  the gap not yet in the log   a record, overwritten in place: a full disk can't refuse it
//! 64  record, record, …       32 bytes each: end, at, dropped, kind, crc32 of the 28 bytes before
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use mill_model::Timestamp;

/// Bytes of a record.
pub(super) const RECORD: u64 = 32;
/// Where records begin.
pub(super) const HEADER: u64 = 64;
/// Where the pending gap is.
const PENDING: u64 = 32;
/// The first bytes; the last of them is the version.
const MAGIC: [u8; 8] = *b"MILLLOG\x01";

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Bytes of the log before this offset, and after the last record's, are of this time.
    pub(super) end: u64,
    pub(super) at: Timestamp,
    /// Bytes dropped at `end`; zero for a record of bytes that were kept.
    pub(super) dropped: u64,
}

impl Record {
    pub(super) fn is_gap(&self) -> bool {
        self.dropped > 0
    }

    fn encode(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let (body, crc) = bytes.split_at_mut(28);
        let kind = u32::from(self.is_gap()).to_le_bytes();
        let (end, at, dropped) =
            (self.end.to_le_bytes(), self.at.0.to_le_bytes(), self.dropped.to_le_bytes());
        let fields = [&end[..], &at, &dropped, &kind].into_iter().flatten();
        for (byte, field) in body.iter_mut().zip(fields) {
            *byte = *field;
        }
        crc.copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; 32]) -> Option<Self> {
        let (body, crc) = bytes.split_at(28);
        let word = |at: usize| Some(u64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?));
        let right = u32::from_le_bytes(crc.try_into().ok()?) == crc32fast::hash(body);
        right.then_some(Self { end: word(0)?, at: Timestamp(word(8)?), dropped: word(16)? })
    }
}

/// The `number`-th record; `None` if it isn't there, or not whole.
pub(super) fn read(file: &File, number: u64) -> io::Result<Option<Record>> {
    read_at(file, HEADER + number * RECORD)
}

/// The gap that isn't among the records yet.
pub(super) fn read_pending(file: &File) -> io::Result<Option<Record>> {
    Ok(read_at(file, PENDING)?.filter(Record::is_gap))
}

fn read_at(file: &File, offset: u64) -> io::Result<Option<Record>> {
    let mut bytes = [0; 32];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Record::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many whole records there are, for readers: they don't look into them.
pub(super) fn count(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len().saturating_sub(HEADER) / RECORD)
}

/// The writing side.
pub(super) struct Index {
    file: File,
    records: u64,
    last: Option<Record>,
}

impl Index {
    /// A new index in an empty file.
    pub(super) fn create(file: File) -> io::Result<Self> {
        let mut header = [0; 64];
        for (byte, magic) in header.iter_mut().zip(MAGIC) {
            *byte = magic;
        }
        file.write_all_at(&header, 0)?;
        Ok(Self { file, records: 0, last: None })
    }

    /// An index that an earlier capture left, for a log of `length` bytes: a torn or impossible tail is cut.
    pub(super) fn recover(file: File, length: u64) -> io::Result<Self> {
        let mut magic = [0; 8];
        let whole = file.read_exact_at(&mut magic, 0).is_ok() && magic == MAGIC;
        if !whole || file.metadata()?.len() < HEADER {
            file.set_len(0)?;
            return Self::create(file);
        }
        let mut records = count(&file)?;
        let mut last = None;
        while records > 0 {
            last = read(&file, records - 1)?.filter(|record| record.end <= length);
            if last.is_some() {
                break;
            }
            records -= 1;
        }
        file.set_len(HEADER + records * RECORD)?;
        Ok(Self { file, records, last })
    }

    /// Bytes that the file takes.
    pub(super) fn size(&self) -> u64 {
        HEADER + self.records * RECORD
    }

    /// Up to where the log is accounted for.
    pub(super) fn end(&self) -> u64 {
        self.last.map_or(0, |last| last.end)
    }

    /// Adds a record. Of bytes in the same millisecond as those before, the last record is made to tell.
    pub(super) fn append(&mut self, record: Record) -> io::Result<()> {
        let at = self.last.map_or(record.at, |last| record.at.max(last.at));
        let record = Record { at, ..record };
        let extends = |last: Record| !last.is_gap() && !record.is_gap() && last.at == record.at;
        let number = match self.last.is_some_and(extends) {
            true => self.records.saturating_sub(1),
            false => self.records,
        };
        self.file.write_all_at(&record.encode(), HEADER + number * RECORD)?;
        self.records = number + 1;
        self.last = Some(record);
        Ok(())
    }

    /// Notes a gap that isn't among the records yet, or that there is none.
    pub(super) fn set_pending(&self, gap: Option<Record>) -> io::Result<()> {
        self.file.write_all_at(&gap.map_or([0; 32], |gap| gap.encode()), PENDING)
    }

    /// The gap that an earlier capture left pending, unless it got it among the records before it was killed.
    pub(super) fn pending(&self) -> io::Result<Option<Record>> {
        let pending = read_pending(&self.file)?;
        Ok(pending
            .filter(|gap| self.last.is_none_or(|last| (last.end, last.dropped) != (gap.end, gap.dropped))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(end: u64, at: u64) -> Record {
        Record { end, at: Timestamp(at), dropped: 0 }
    }

    fn all(file: &File) -> Vec<Record> {
        (0..).map_while(|number| read(file, number).unwrap()).collect()
    }

    #[test]
    fn bytes_of_one_moment_share_a_record_and_time_never_runs_back() {
        let file = tempfile::tempfile().unwrap();
        let mut index = Index::create(file.try_clone().unwrap()).unwrap();
        let gap = Record { dropped: 9, ..bytes(3, 5) };
        for record in [bytes(1, 5), bytes(2, 5), bytes(3, 4), gap, bytes(4, 5), bytes(6, 6)] {
            index.append(record).unwrap();
        }
        assert_eq!(all(&file), [bytes(3, 5), gap, bytes(4, 5), bytes(6, 6)]);
        assert_eq!(index.size(), file.metadata().unwrap().len());
    }

    #[test]
    fn an_index_torn_at_any_byte_recovers_what_was_whole() {
        let whole = tempfile::tempfile().unwrap();
        let mut index = Index::create(whole.try_clone().unwrap()).unwrap();
        let records = [bytes(10, 1), bytes(20, 2), bytes(30, 3)];
        for record in records {
            index.append(record).unwrap();
        }
        let mut content = vec![0; usize::try_from(index.size()).unwrap()];
        whole.read_exact_at(&mut content, 0).unwrap();
        for cut in 0..=content.len() {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&content[..cut], 0).unwrap();
            let mut index = Index::recover(file.try_clone().unwrap(), 30).unwrap();
            let kept = cut.saturating_sub(64) / 32;
            assert_eq!(all(&file), records[..kept], "cut at {cut}");
            index.append(bytes(99, 9)).unwrap();
            assert_eq!(all(&file).last(), Some(&bytes(99, 9)));
        }
    }

    #[test]
    fn a_flipped_bit_or_a_record_past_the_log_cuts_the_tail() {
        let make = || {
            let file = tempfile::tempfile().unwrap();
            let mut index = Index::create(file.try_clone().unwrap()).unwrap();
            for record in [bytes(10, 1), bytes(20, 2)] {
                index.append(record).unwrap();
            }
            file
        };
        for byte in 96..128 {
            let file = make();
            let mut one = [0];
            file.read_exact_at(&mut one, byte).unwrap();
            file.write_all_at(&[one[0] ^ 4], byte).unwrap();
            assert_eq!(Index::recover(file, 20).unwrap().end(), 10, "byte {byte}");
        }
        assert_eq!(Index::recover(make(), 19).unwrap().end(), 10);
        assert_eq!(Index::recover(make(), 20).unwrap().end(), 20);
    }

    #[test]
    fn a_pending_gap_survives_and_is_not_counted_twice() {
        let file = tempfile::tempfile().unwrap();
        let mut index = Index::create(file.try_clone().unwrap()).unwrap();
        index.append(bytes(10, 1)).unwrap();
        let gap = Record { dropped: 7, ..bytes(10, 2) };
        index.set_pending(Some(gap)).unwrap();
        let mut index = Index::recover(file.try_clone().unwrap(), 10).unwrap();
        assert_eq!(index.pending().unwrap(), Some(gap));
        index.append(gap).unwrap();
        // Killed before the pending one is cleared.
        let index = Index::recover(file, 10).unwrap();
        assert_eq!(index.pending().unwrap(), None);
    }
}
