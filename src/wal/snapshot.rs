//! A snapshot's file.
//!
//! ```text
//!  0  magic "MILLSNAP", u32 format version, u32 length of the members
//! 16  u64 log, u64 index, u64 term, u64 length of the data
//! 48  members, u32 checksum of all before it
//!     chunks of a mebibyte, the last one shorter: u32 checksum (of log, index, chunk number, data), data
//! ```

use crc32fast::Hasher;

use crate::Mark;
use crate::error::Damage;
use crate::frame::{u32_at, u64_at};

/// The format that this binary writes, and the latest that it reads.
pub(crate) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"MILLSNAP";
const FIXED: usize = 48;
/// A place in a complaint is this precise; a checksum of 32 bits is strong for this length.
const CHUNK: usize = 1 << 20;

/// The state at an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Where in the log it is.
    pub mark: Mark,
    /// The state; opaque here.
    pub data: Vec<u8>,
}

/// Why a file is no snapshot, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadSnapshot {
    Damaged(usize, Damage),
    Version(u32),
}

/// A snapshot read, and what tells it from others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) snapshot: Snapshot,
    pub(crate) log: u64,
    pub(crate) digest: u64,
}

/// The file's bytes, and the digest that a mark in the log carries.
pub(crate) fn write(log: u64, snapshot: &Snapshot) -> (Vec<u8>, u64) {
    let mark = &snapshot.mark;
    let chunks = snapshot.data.len().div_ceil(CHUNK);
    let mut out = Vec::with_capacity(FIXED + mark.members.len() + 4 + snapshot.data.len() + 4 * chunks);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    // Members are a handful of ids.
    let members = u32::try_from(mark.members.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&members.to_le_bytes());
    for field in [log, mark.index, mark.term, snapshot.data.len() as u64] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&mark.members);
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    let mut digest = Digest::new(checksum);
    for (number, chunk) in snapshot.data.chunks(CHUNK).enumerate() {
        let checksum = chunk_checksum(log, mark.index, number, chunk);
        digest.add(checksum);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(chunk);
    }
    (out, digest.0)
}

/// Reads and checks a whole file.
pub(crate) fn read(bytes: &[u8]) -> Result<Read, BadSnapshot> {
    let damaged = BadSnapshot::Damaged(0, Damage::FileHeader);
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Err(damaged) };
    let members_length = usize::try_from(u32_at(fixed, 12)).unwrap_or(usize::MAX);
    let header_length = FIXED.saturating_add(members_length);
    let Some((header, rest)) = bytes.split_at_checked(header_length) else { return Err(damaged) };
    let Some((checksum, mut rest)) = rest.split_first_chunk() else { return Err(damaged) };
    let checksum = u32::from_le_bytes(*checksum);
    if crc32fast::hash(header) != checksum || header.first_chunk() != Some(MAGIC) {
        return Err(damaged);
    }
    if u32_at(header, 8) != VERSION {
        return Err(BadSnapshot::Version(u32_at(header, 8)));
    }
    let (log, index, length) = (u64_at(header, 16), u64_at(header, 24), u64_at(header, 40));
    let mark =
        Mark { index, term: u64_at(header, 32), members: header.get(FIXED..).unwrap_or_default().to_vec() };
    let mut data = vec![];
    let mut digest = Digest::new(checksum);
    let mut number = 0;
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let bad = BadSnapshot::Damaged(offset, Damage::SnapshotContent);
        let Some((stored, after)) = rest.split_first_chunk() else { return Err(bad) };
        let stored = u32::from_le_bytes(*stored);
        let (chunk, after) = after.split_at(after.len().min(CHUNK));
        if chunk_checksum(log, index, number, chunk) != stored {
            return Err(bad);
        }
        digest.add(stored);
        data.extend_from_slice(chunk);
        number += 1;
        rest = after;
    }
    if data.len() as u64 != length {
        return Err(BadSnapshot::Damaged(bytes.len(), Damage::SnapshotContent));
    }
    Ok(Read { snapshot: Snapshot { mark, data }, log, digest: digest.0 })
}

/// The log that a file belongs to, if its header is sound.
pub(crate) fn log(bytes: &[u8]) -> Option<u64> {
    let members = usize::try_from(u32_at(bytes, 12)).ok()?;
    let (header, rest) = bytes.split_at_checked(FIXED.checked_add(members)?)?;
    (crc32fast::hash(header) == u32_at(rest, 0) && rest.len() >= 4).then(|| u64_at(header, 16))
}

fn chunk_checksum(log: u64, index: u64, number: usize, chunk: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&log.to_le_bytes());
    hasher.update(&index.to_le_bytes());
    hasher.update(&(number as u64).to_le_bytes());
    hasher.update(chunk);
    hasher.finalize()
}

/// Folds the checksums of header and chunks into one number (FNV-1a).
struct Digest(u64);

impl Digest {
    fn new(header: u32) -> Self {
        let mut digest = Self(0xcbf2_9ce4_8422_2325);
        digest.add(header);
        digest
    }

    fn add(&mut self, checksum: u32) {
        for byte in checksum.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(length: usize) -> Snapshot {
        Snapshot { mark: Mark { index: 9, term: 2, members: vec![1, 2, 3] }, data: vec![7; length] }
    }

    #[test]
    fn a_snapshot_reads_as_written_whatever_its_length() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let (bytes, digest) = write(5, &sample(length));
            assert_eq!(read(&bytes), Ok(Read { snapshot: sample(length), log: 5, digest }));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_snapshot_is_noticed_at_its_place() {
        let (bytes, _) = write(5, &sample(100));
        let content = bytes.len() - 104;
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let place = if bit / 8 < content { 0 } else { content };
            let Err(BadSnapshot::Damaged(offset, _)) = read(&flipped) else { panic!("bit {bit}") };
            assert_eq!(offset, place, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
