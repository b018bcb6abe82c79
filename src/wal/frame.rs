//! One record: how it is framed, masked and checked.
//!
//! ```text
//!  0  u32  checksum of bytes 4..24, the log's id, the segment and the offset
//!  4  u32  length of the payload
//!  8  u64  how far this segment was known to be synced when the record was made
//! 16  u8   kind, then three zeros
//! 20  u32  checksum of all that follows, and of log, segment and offset
//! 24  the payload, then zeros up to seven bytes into a word, all masked; then one byte 0xe5
//! ```
//!
//! Numbers are little-endian; records start at multiples of eight. The checksums depend on the place, so that
//! a record of another log, segment or offset (a misdirected write, a recycled block, an entry whose data is
//! a copy of a log) is never taken for one of here.

use crc32fast::Hasher;

/// Bytes of a record's header.
pub(crate) const HEADER: usize = 24;

/// Last byte of each record. Not zero, so that zeros at the end of a file prove that a record is incomplete.
pub(crate) const END: u8 = 0xe5;

/// Records start at multiples of this.
pub(crate) const ALIGN: usize = 8;

/// Largest payload: an entry of the largest size, or a mebibyte of small ones, and what frames them.
pub(crate) const PAYLOAD_MAX: usize = crate::ENTRY_BYTES_MAX + (2 << 20);

/// Where a record is: part of what its checksums cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) log: u64,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

impl Place {
    fn hasher(self) -> Hasher {
        let mut hasher = Hasher::new();
        hasher.update(&self.log.to_le_bytes());
        hasher.update(&self.segment.to_le_bytes());
        hasher.update(&self.offset.to_le_bytes());
        hasher
    }
}

/// A record that passed its checksums.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) synced: u64,
    pub(crate) payload: Vec<u8>,
    /// Bytes from its start to the next record.
    pub(crate) length: usize,
    /// Its header's checksum, which stands for all of it.
    pub(crate) checksum: u32,
}

/// A record that didn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Nothing about it can be trusted, not even its length.
    Header,
    /// The header is sound and names this length, the rest is not or isn't all there.
    Content { length: usize },
}

/// Bytes that a payload takes with its frame.
pub(crate) fn framed(payload: usize) -> usize {
    HEADER + (payload + 1).next_multiple_of(ALIGN)
}

/// Appends a record to `out` and returns its header's checksum.
pub(crate) fn write(out: &mut Vec<u8>, place: Place, kind: u8, synced: u64, payload: &[u8]) -> u32 {
    let start = out.len();
    let length = framed(payload.len());
    out.resize(start + HEADER, 0);
    out.extend_from_slice(payload);
    out.resize(start + length, 0);
    let Some((header, content)) = out.get_mut(start..).and_then(|record| record.split_at_mut_checked(HEADER))
    else {
        return 0;
    };
    mask(content, place);
    if let Some(last) = content.last_mut() {
        *last = END;
    }
    let mut hasher = place.hasher();
    hasher.update(content);
    let content_checksum = hasher.finalize();

    let mut fields = [0; HEADER];
    // A payload is bounded by PAYLOAD_MAX, far below u32::MAX.
    let payload_length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    put(&mut fields, 4, &payload_length.to_le_bytes());
    put(&mut fields, 8, &synced.to_le_bytes());
    put(&mut fields, 16, &[kind]);
    put(&mut fields, 20, &content_checksum.to_le_bytes());
    let checksum = header_checksum(&fields, place);
    put(&mut fields, 0, &checksum.to_le_bytes());
    header.copy_from_slice(&fields);
    checksum
}

/// Reads the record at `place.offset` of a segment's `bytes`.
pub(crate) fn read(bytes: &[u8], place: Place) -> Result<Frame, Broken> {
    let start = usize::try_from(place.offset).map_err(|_| Broken::Header)?;
    let record = bytes.get(start..).ok_or(Broken::Header)?;
    let (header, rest) = record.split_first_chunk::<HEADER>().ok_or(Broken::Header)?;
    let checksum = u32_at(header, 0);
    let payload_length = usize::try_from(u32_at(header, 4)).map_err(|_| Broken::Header)?;
    if payload_length > PAYLOAD_MAX || header_checksum(header, place) != checksum {
        return Err(Broken::Header);
    }
    let length = framed(payload_length);
    let content = rest.get(..length - HEADER).ok_or(Broken::Content { length })?;
    let mut hasher = place.hasher();
    hasher.update(content);
    if hasher.finalize() != u32_at(header, 20) || content.last() != Some(&END) {
        return Err(Broken::Content { length });
    }
    let mut payload = content.to_vec();
    mask(&mut payload, place);
    payload.truncate(payload_length);
    Ok(Frame { kind: header[16], synced: u64_at(header, 8), payload, length, checksum })
}

fn header_checksum(header: &[u8; HEADER], place: Place) -> u32 {
    let mut hasher = place.hasher();
    hasher.update(header.get(4..).unwrap_or_default());
    hasher.finalize()
}

/// Adds a stream of numbers that depends on the place; twice is not at all. It hides nothing: it makes sure
/// that no written sector reads as zeros, whatever the data.
fn mask(content: &mut [u8], place: Place) {
    let mut state = place.log ^ place.segment.rotate_left(32) ^ place.offset;
    for word in content.chunks_mut(8) {
        // splitmix64, by Sebastiano Vigna, in the public domain
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        for (byte, key) in word.iter_mut().zip(z.to_le_bytes()) {
            *byte ^= key;
        }
    }
}

fn put(fields: &mut [u8], at: usize, value: &[u8]) {
    if let Some(field) = fields.get_mut(at..at + value.len()) {
        field.copy_from_slice(value);
    }
}

/// The number at `at`; zero past the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |found| u32::from_le_bytes(*found))
}

/// The number at `at`; zero past the end.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |found| u64::from_le_bytes(*found))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place = Place { log: 0xfeed, segment: 3, offset: 0 };

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        write(&mut out, HERE, 2, 64, payload);
        out
    }

    #[test]
    fn a_record_reads_as_written_whatever_its_length() {
        for length in 0..70 {
            let payload: Vec<u8> = (0..length).collect();
            let bytes = record(&payload);
            let frame = read(&bytes, HERE).unwrap();
            assert_eq!((frame.kind, frame.synced, &frame.payload), (2, 64, &payload));
            assert_eq!(frame.length, bytes.len());
            assert_eq!(bytes.len() % ALIGN, 0);
            assert_eq!(bytes.last(), Some(&END));
        }
    }

    #[test]
    fn a_record_is_none_in_another_log_segment_or_offset() {
        let bytes = record(b"hello");
        assert_eq!(read(&bytes, Place { log: 1, ..HERE }), Err(Broken::Header));
        assert_eq!(read(&bytes, Place { segment: 4, ..HERE }), Err(Broken::Header));
        let moved = [vec![0; 8], bytes].concat();
        assert_eq!(read(&moved, Place { offset: 8, ..HERE }), Err(Broken::Header));
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_is_noticed() {
        let bytes = record(b"a payload of some length");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped, HERE).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length], HERE).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn zeros_as_data_leave_no_word_of_zeros_in_the_record() {
        let bytes = record(&[0; 8192]);
        assert!(bytes.chunks(8).all(|word| word.iter().any(|&b| b != 0)));
    }
}
