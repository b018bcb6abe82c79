//! Names of the log's files, and what a disk is asked to do with them.

use std::fmt;
use std::str::FromStr;

/// A file of the log's directory. Prints as its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// A segment, by its sequence number, counted from 1.
    Segment(u64),
    /// A snapshot, by its last index.
    Snapshot(u64),
    /// A snapshot that may be half written.
    Draft(u64),
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(sequence) => write!(f, "{sequence:020}.log"),
            Self::Snapshot(index) => write!(f, "{index:020}.snapshot"),
            Self::Draft(index) => write!(f, "{index:020}.snapshot.draft"),
        }
    }
}

/// A name that isn't one of the log's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a file of the log")]
pub struct NotOurs;

impl FromStr for FileName {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let (number, kind) = text.split_once('.').ok_or(NotOurs)?;
        if number.len() != 20 || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotOurs);
        }
        let number = number.parse().map_err(|_| NotOurs)?;
        match kind {
            "log" => Ok(Self::Segment(number)),
            "snapshot" => Ok(Self::Snapshot(number)),
            "snapshot.draft" => Ok(Self::Draft(number)),
            _ => Err(NotOurs),
        }
    }
}

/// One order to the disk. Orders of a batch are carried out one after the other; the first error ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Makes an empty file; one of this name that a crash left is emptied.
    Create {
        /// The file.
        file: FileName,
    },
    /// Sets space aside so that the file reads as zeros up to `length`; a file system that can't do so may
    /// ignore it.
    Reserve {
        /// The file.
        file: FileName,
        /// Bytes from its start.
        length: u64,
    },
    /// Writes at a place.
    Write {
        /// The file.
        file: FileName,
        /// Where the first byte goes.
        offset: u64,
        /// What to write.
        bytes: Vec<u8>,
    },
    /// Cuts a file.
    Truncate {
        /// The file.
        file: FileName,
        /// Bytes that stay.
        length: u64,
    },
    /// Returns when all that was written to the file is durable.
    Sync {
        /// The file.
        file: FileName,
    },
    /// Gives a file another name; a file of that name is replaced, never missing in between.
    Rename {
        /// The old name.
        from: FileName,
        /// The new one.
        to: FileName,
    },
    /// Removes a file; one that isn't there is no error.
    Remove {
        /// The file.
        file: FileName,
    },
    /// Returns when creations, renames and removals before it are durable.
    SyncDirectory,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_print_and_parse_and_sort_by_number() {
        for name in [FileName::Segment(7), FileName::Snapshot(0), FileName::Draft(u64::MAX)] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        for other in ["", "7.log", "lock", "00000000000000000007.txt", "+0000000000000000007.log"] {
            assert_eq!(other.parse::<FileName>(), Err(NotOurs), "{other}");
        }
        assert!(FileName::Segment(9).to_string() < FileName::Segment(10).to_string());
    }
}
