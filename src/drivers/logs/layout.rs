//! Names of an alloc's log files, and which of them go when room is needed.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use mill_model::{AllocId, Incarnation, Timestamp, limits};

use super::{Stream, StreamName, index};

/// How much of a stream's output is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes of one segment, log and index.
    pub(super) segment: u64,
    /// Segments' worth of bytes over all runs.
    pub(super) segments: u64,
    /// Segments over all runs, however small.
    pub(super) files: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            segment: limits::LOG_SEGMENT_BYTES,
            segments: limits::LOG_SEGMENTS,
            files: limits::LOG_FILES_MAX,
        }
    }
}

/// A segment's place in the order of a stream's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentId {
    pub(super) incarnation: Incarnation,
    pub(super) number: u32,
}

/// Where an alloc's logs are.
pub(super) fn directory(root: &Path, alloc: &AllocId) -> PathBuf {
    root.join(alloc.as_str()).join("logs")
}

pub(super) fn fifo(root: &Path, name: &StreamName) -> PathBuf {
    directory(root, &name.alloc).join(format!("{}.{}.fifo", name.stream, name.incarnation))
}

pub(super) fn log(directory: &Path, stream: Stream, id: SegmentId) -> PathBuf {
    directory.join(format!("{stream}.{}.{}.log", id.incarnation, id.number))
}

pub(super) fn index(directory: &Path, stream: Stream, id: SegmentId) -> PathBuf {
    directory.join(format!("{stream}.{}.{}.index", id.incarnation, id.number))
}

/// A stream's segments, oldest first. None if the directory isn't there.
pub(super) fn segments(directory: &Path, stream: Stream) -> io::Result<Vec<SegmentId>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut found = vec![];
    for entry in entries {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| parse(name, stream)));
    }
    found.sort_unstable();
    Ok(found)
}

/// Every pipe under `root`.
pub(super) fn fifos(root: &Path) -> io::Result<Vec<StreamName>> {
    let mut found = vec![];
    for id in allocs(root)? {
        for entry in entries(&directory(root, &id))? {
            found.extend(entry.file_name().to_str().and_then(|name| parse_fifo(name, &id)));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Every alloc that has a directory of logs under `root`.
pub(super) fn allocs(root: &Path) -> io::Result<Vec<AllocId>> {
    let named =
        |entry: fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse::<AllocId>().ok());
    let ids = entries(root)?.into_iter().filter_map(named);
    Ok(ids.filter(|id| directory(root, id).is_dir()).collect())
}

fn entries(path: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(path) {
        Ok(entries) => entries.collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(vec![])
        }
        Err(error) => Err(error),
    }
}

fn parse_fifo(name: &str, alloc: &AllocId) -> Option<StreamName> {
    let (stream, rest) = name.split_once('.')?;
    let stream = Stream::ALL.into_iter().find(|known| known.as_str() == stream)?;
    let incarnation = Incarnation(rest.strip_suffix(".fifo")?.parse().ok()?);
    Some(StreamName { alloc: alloc.clone(), incarnation, stream })
}

fn parse(name: &str, stream: Stream) -> Option<SegmentId> {
    let rest = name.strip_prefix(stream.as_str())?.strip_prefix('.')?;
    let (incarnation, number) = rest.strip_suffix(".log")?.split_once('.')?;
    Some(SegmentId { incarnation: Incarnation(incarnation.parse().ok()?), number: number.parse().ok()? })
}

/// Removes the oldest segments until there is room for one more.
pub(super) fn make_room(directory: &Path, stream: Stream, bounds: Bounds) -> io::Result<()> {
    let segments = segments(directory, stream)?;
    let size = |id: &SegmentId| {
        let of = |path: PathBuf| fs::metadata(path).map_or(0, |data| data.len());
        of(log(directory, stream, *id)) + of(index(directory, stream, *id))
    };
    let mut bytes: u64 = segments.iter().map(size).sum();
    let mut files = segments.len();
    let room = bounds.segment.saturating_mul(bounds.segments.saturating_sub(1));
    let mut removed = None;
    for id in &segments {
        if bytes <= room && files < bounds.files {
            break;
        }
        bytes = bytes.saturating_sub(size(id));
        files = files.saturating_sub(1);
        removed = removed.max(ended(directory, stream, *id));
        remove(&log(directory, stream, *id))?;
        remove(&index(directory, stream, *id))?;
    }
    match removed {
        Some(until) => note_removed(directory, stream, until),
        None => Ok(()),
    }
}

/// When the last byte of a segment was captured; without an index, when its file was written.
fn ended(directory: &Path, stream: Stream, id: SegmentId) -> Option<Timestamp> {
    let recorded = || {
        let file = fs::File::open(index(directory, stream, id)).ok()?;
        let last = index::count(&file).ok()?.checked_sub(1)?;
        index::read(&file, last).ok().flatten().map(|record| record.at)
    };
    let written = || fs::metadata(log(directory, stream, id)).and_then(|data| data.modified()).ok();
    recorded().or_else(|| written().map(Timestamp::from))
}

fn removed(directory: &Path, stream: Stream) -> PathBuf {
    directory.join(format!("{stream}.removed"))
}

/// Keeps for readers up to when output was removed. A full disk may refuse that: then they aren't told.
fn note_removed(directory: &Path, stream: Stream, until: Timestamp) -> io::Result<()> {
    let until = removed_until(directory, stream)?.max(Some(until)).unwrap_or_default();
    let mut open = fs::OpenOptions::new();
    open.write(true).create(true).truncate(false).mode(0o600);
    // In place and in one call: a kill leaves the old text or the new one.
    let noted =
        open.open(removed(directory, stream)).and_then(|file| file.write_all_at(&until.0.to_le_bytes(), 0));
    noted.or_else(|error| if error.kind() == io::ErrorKind::StorageFull { Ok(()) } else { Err(error) })
}

/// Up to when a stream's output was removed to make room; `None`: none was.
pub(super) fn removed_until(directory: &Path, stream: Stream) -> io::Result<Option<Timestamp>> {
    match fs::read(removed(directory, stream)) {
        Ok(bytes) => Ok(bytes.try_into().ok().map(|bytes| Timestamp(u64::from_le_bytes(bytes)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file that may be gone.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segments_name_reads_back() {
        let id = SegmentId { incarnation: Incarnation(12), number: 3 };
        let path = log(Path::new("/x"), Stream::Stderr, id);
        assert_eq!(path, Path::new("/x/stderr.12.3.log"));
        assert_eq!(parse("stderr.12.3.log", Stream::Stderr), Some(id));
        for other in [
            "stdout.12.3.log",
            "stderr.12.3.index",
            "stderr.12.fifo",
            "stderr.x.3.log",
            "stderr.12.log",
            "log",
        ] {
            assert_eq!(parse(other, Stream::Stderr), None, "{other}");
        }
    }

    #[test]
    fn the_oldest_segments_go_first_by_bytes_and_by_number() {
        let bounds = Bounds { segment: 100, segments: 3, files: 5 };
        for (sizes, left) in [
            (vec![100, 100, 100, 100], 2),
            (vec![100, 100], 2),
            (vec![201], 0),
            (vec![150, 50], 2),
            (vec![1; 9], 4),
            (vec![], 0),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let ids = (0_u32..).map(|n| SegmentId { incarnation: Incarnation(8 + n / 2), number: n % 2 });
            for (id, size) in ids.clone().zip(&sizes) {
                fs::write(log(directory.path(), Stream::Stdout, id), vec![0; *size]).unwrap();
                fs::write(index(directory.path(), Stream::Stdout, id), b"").unwrap();
            }
            fs::write(directory.path().join("stderr.1.0.log"), vec![0; 1000]).unwrap();
            make_room(directory.path(), Stream::Stdout, bounds).unwrap();
            let kept = segments(directory.path(), Stream::Stdout).unwrap();
            let wanted: Vec<_> = ids.take(sizes.len()).skip(sizes.len() - left).collect();
            assert_eq!(kept, wanted, "{sizes:?}");
            assert_eq!(segments(directory.path(), Stream::Stderr).unwrap().len(), 1);
        }
    }
}
