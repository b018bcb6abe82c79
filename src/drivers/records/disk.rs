//! Records as files.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use mill_model::AllocId;

use super::{Listed, Records, RecordsError};

/// First bytes of each file: what it is, and the format of what follows (checksum, then the bytes).
const MAGIC: &[u8; 8] = b"millrec1";
const FILE: &str = "record";
const NEW: &str = "record.new";

/// Records below one directory, each alloc's in its own.
#[derive(Debug, Clone)]
pub struct DiskRecords {
    dir: PathBuf,
}

impl DiskRecords {
    /// Records below `dir`, which is made with the first of them.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn of(&self, alloc: &AllocId) -> PathBuf {
        self.dir.join(alloc.as_str())
    }
}

impl Records for DiskRecords {
    async fn write(&self, alloc: &AllocId, bytes: Vec<u8>) -> Result<(), RecordsError> {
        let dir = self.of(alloc);
        off_thread(move || write(&dir, &bytes).map_err(disk("write", dir.join(FILE)))).await
    }

    async fn read(&self, alloc: &AllocId) -> Result<Option<Vec<u8>>, RecordsError> {
        let path = self.of(alloc).join(FILE);
        off_thread(move || read(&path)).await
    }

    async fn list(&self) -> Result<Vec<Listed>, RecordsError> {
        let dir = self.dir.clone();
        off_thread(move || list(&dir)).await
    }

    async fn remove(&self, alloc: &AllocId) -> Result<(), RecordsError> {
        let dir = self.of(alloc);
        off_thread(move || remove(&dir).map_err(disk("remove", dir))).await
    }
}

/// Files are blocking; an fsync may take a second on a bad day.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RecordsError> + Send + 'static,
) -> Result<T, RecordsError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels such work.
            Err(cancelled) => Err(RecordsError::Disk {
                doing: "reach",
                path: PathBuf::new(),
                source: io::Error::new(io::ErrorKind::Interrupted, cancelled),
            }),
        },
    }
}

fn disk(doing: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> RecordsError {
    move |source| RecordsError::Disk { doing, path, source }
}

/// A new file beside the old one, synced, put in its place, and the place synced.
fn write(dir: &Path, bytes: &[u8]) -> io::Result<()> {
    if !dir.exists() {
        fs::create_dir_all(dir)?;
        // The directory's own name must survive as well.
        dir.parent().map_or(Ok(()), sync_dir)?;
    }
    let new = dir.join(NEW);
    let mut file = File::create(&new)?;
    file.write_all(MAGIC)?;
    file.write_all(&crc32fast::hash(bytes).to_le_bytes())?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&new, dir.join(FILE))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, RecordsError> {
    let file = match fs::read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk("read", path.to_owned())(error)),
    };
    match payload(&file) {
        Some(bytes) => Ok(Some(bytes.to_vec())),
        None => Err(RecordsError::Damaged { path: path.to_owned() }),
    }
}

fn payload(file: &[u8]) -> Option<&[u8]> {
    let (checksum, bytes) = file.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    (crc32fast::hash(bytes).to_le_bytes() == *checksum).then_some(bytes)
}

fn list(dir: &Path) -> Result<Vec<Listed>, RecordsError> {
    let fail = |source| RecordsError::Disk { doing: "list", path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(fail(error)),
    };
    let mut listed = vec![];
    for entry in entries {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let Some(alloc) = name.to_str().and_then(|name| name.parse::<AllocId>().ok()) else { continue };
        match read(&entry.path().join(FILE)).transpose() {
            // The directory of an alloc whose record is gone, or was never written: its logs may still be there.
            None => {}
            Some(bytes) => listed.push(Listed { alloc, bytes }),
        }
    }
    listed.sort_by(|a, b| a.alloc.cmp(&b.alloc));
    Ok(listed)
}

fn remove(dir: &Path) -> io::Result<()> {
    for name in [FILE, NEW] {
        match fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // Whoever removes the alloc's last file takes the directory along; logs may still be in it.
    match fs::remove_dir(dir) {
        Ok(()) => dir.parent().map_or(Ok(()), sync_dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => sync_dir(dir),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> AllocId {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn what_is_written_is_listed_by_another_and_removed_without_trace() {
        let dir = tempfile::tempdir().unwrap();
        let records = DiskRecords::new(dir.path().join("allocs"));
        assert!(records.list().await.unwrap().is_empty());
        records.write(&id("web-bbbb"), b"old".to_vec()).await.unwrap();
        records.write(&id("web-bbbb"), b"two".to_vec()).await.unwrap();
        records.write(&id("web-aaaa"), vec![]).await.unwrap();
        let listed = DiskRecords::new(dir.path().join("allocs")).list().await.unwrap();
        let found: Vec<_> = listed.into_iter().map(|one| (one.alloc, one.bytes.unwrap())).collect();
        assert_eq!(found, [(id("web-aaaa"), vec![]), (id("web-bbbb"), b"two".to_vec())]);
        for name in ["web-aaaa", "web-bbbb", "web-bbbb"] {
            records.remove(&id(name)).await.unwrap();
        }
        assert_eq!(fs::read_dir(dir.path().join("allocs")).unwrap().count(), 0);
        assert_eq!(records.read(&id("web-aaaa")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn logs_beside_a_record_outlive_it() {
        let dir = tempfile::tempdir().unwrap();
        let records = DiskRecords::new(dir.path());
        records.write(&id("web-aaaa"), b"x".to_vec()).await.unwrap();
        fs::write(dir.path().join("web-aaaa/log"), "line").unwrap();
        records.remove(&id("web-aaaa")).await.unwrap();
        assert!(records.list().await.unwrap().is_empty());
        assert!(dir.path().join("web-aaaa/log").exists());
    }

    #[tokio::test]
    async fn a_damaged_record_is_named_and_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let records = DiskRecords::new(dir.path());
        for name in ["web-aaaa", "web-bbbb"] {
            records.write(&id(name), b"some bytes".to_vec()).await.unwrap();
        }
        let path = dir.path().join("web-aaaa/record");
        let whole = fs::read(&path).unwrap();
        let flipped = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            bytes
        };
        let torn = (0..whole.len()).map(|length| whole[..length].to_vec());
        for bytes in torn.chain((0..whole.len()).map(flipped)) {
            fs::write(&path, bytes).unwrap();
            let listed = records.list().await.unwrap();
            let error = listed[0].bytes.as_ref().unwrap_err();
            assert!(error.is_damage() && error.to_string().contains("web-aaaa/record"), "{error}");
            assert_eq!(listed[1].bytes.as_ref().unwrap(), b"some bytes");
        }
    }

    #[tokio::test]
    async fn a_crash_between_write_and_rename_leaves_the_old_record() {
        let dir = tempfile::tempdir().unwrap();
        let records = DiskRecords::new(dir.path());
        records.write(&id("web-aaaa"), b"old".to_vec()).await.unwrap();
        fs::write(dir.path().join("web-aaaa/record.new"), "half").unwrap();
        assert_eq!(records.read(&id("web-aaaa")).await.unwrap(), Some(b"old".to_vec()));
        records.write(&id("web-aaaa"), b"new".to_vec()).await.unwrap();
        assert_eq!(records.read(&id("web-aaaa")).await.unwrap(), Some(b"new".to_vec()));
    }

    #[tokio::test]
    async fn a_disk_that_refuses_is_reported_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("web-aaaa"), "a file where the directory should be").unwrap();
        let error = DiskRecords::new(dir.path()).write(&id("web-aaaa"), vec![]).await.unwrap_err();
        assert!(!error.is_damage());
        assert!(error.to_string().contains("failed to write"), "{error}");
    }
}
