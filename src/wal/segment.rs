//! The header of a segment.
//!
//! ```text
//!  0  magic "MILLWAL\n"
//!  8  u32 format version, u32 zero
//! 16  u64 id of the log
//! 24  u64 sequence number of the segment
//! 32  u64 index that the next entry had when the segment was made
//! 40  u64 where the previous segment ends (0 for the first)
//! 48  u32 checksum of the previous segment's last record, u32 zero
//! 56  u32 checksum of bytes 0..56
//! 60  0xe5 four times
//! ```

use crate::frame::{END, u32_at, u64_at};

/// Bytes of the header.
pub(crate) const LENGTH: usize = 64;

/// The format that this binary writes, and the latest that it reads.
pub(crate) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"MILLWAL\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) log: u64,
    pub(crate) sequence: u64,
    pub(crate) first_index: u64,
    pub(crate) previous_end: u64,
    pub(crate) previous_checksum: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Damaged,
    Version(u32),
}

pub(crate) fn write(header: &Header) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for field in [header.log, header.sequence, header.first_index, header.previous_end] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&header.previous_checksum.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&[END; 4]);
    out
}

pub(crate) fn read(bytes: &[u8]) -> Result<Header, BadHeader> {
    let bytes = bytes.first_chunk::<LENGTH>().ok_or(BadHeader::Damaged)?;
    let (covered, rest) = bytes.split_at(56);
    let sound = crc32fast::hash(covered) == u32_at(rest, 0) && rest.get(4..) == Some(&[END; 4]);
    if !sound || covered.first_chunk() != Some(MAGIC) {
        return Err(BadHeader::Damaged);
    }
    match u32_at(covered, 8) {
        VERSION => Ok(Header {
            log: u64_at(covered, 16),
            sequence: u64_at(covered, 24),
            first_index: u64_at(covered, 32),
            previous_end: u64_at(covered, 40),
            previous_checksum: u32_at(covered, 48),
        }),
        version => Err(BadHeader::Version(version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_as_written_and_a_later_version_is_named() {
        let header = Header { log: 1, sequence: 2, first_index: 3, previous_end: 4096, previous_checksum: 5 };
        let mut bytes = write(&header);
        assert_eq!((bytes.len(), read(&bytes)), (LENGTH, Ok(header)));
        for bit in 0..LENGTH * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&bytes), Err(BadHeader::Damaged), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes[8] = 2;
        let checksum = crc32fast::hash(&bytes[..56]);
        bytes[56..60].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(read(&bytes), Err(BadHeader::Version(2)));
    }
}
