//! Records as files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mill_model::{AllocId, Phase};

use super::{Kept, Listed, READ, Records, RecordsError};
use crate::files::{self, Turns};

/// First bytes of each file: what it is, and the format of what follows (checksum, then the bytes).
const MAGIC: &[u8; 8] = b"millrec1";
const FILE: &str = "record";
const NEW: &str = "record.new";
/// What the file is called once its alloc is over and it can't say so itself.
const OVER: [(&str, Phase); 2] = [("record.stopped", Phase::Stopped), ("record.failed", Phase::Failed)];

/// Records below one directory, each alloc's in its own.
#[derive(Debug, Clone)]
pub struct DiskRecords {
    dir: PathBuf,
    /// Whose turn it is to write an alloc's.
    turns: Arc<Turns>,
}

impl DiskRecords {
    /// Records below `dir`, which is made with the first of them.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), turns: Arc::default() }
    }

    fn of(&self, alloc: &AllocId) -> PathBuf {
        self.dir.join(alloc.as_str())
    }

    /// One after the other, in the order in which they were asked for: what an actor that crashed has begun to write
    /// is written before what its successor writes.
    async fn in_turn(
        &self,
        alloc: &AllocId,
        work: impl FnOnce() -> Result<(), RecordsError> + Send + 'static,
    ) -> Result<(), RecordsError> {
        let turn = self.turns.take(alloc.as_str()).await;
        off_thread(move || {
            let _turn = turn;
            work()
        })
        .await
    }
}

impl Records for DiskRecords {
    async fn write(&self, alloc: &AllocId, bytes: Vec<u8>) -> Result<(), RecordsError> {
        let dir = self.of(alloc);
        self.in_turn(alloc, move || write(&dir, &bytes).map_err(disk("write", dir.join(FILE)))).await
    }

    async fn mark_over(&self, alloc: &AllocId, phase: Phase) -> Result<(), RecordsError> {
        let dir = self.of(alloc);
        self.in_turn(alloc, move || mark_over(&dir, phase).map_err(disk("mark", dir.join(FILE)))).await
    }

    async fn read(&self, alloc: &AllocId) -> Result<Option<Kept>, RecordsError> {
        let dir = self.of(alloc);
        off_thread(move || find(&dir)).await
    }

    async fn list(&self) -> Result<Vec<Listed>, RecordsError> {
        let dir = self.dir.clone();
        off_thread(move || list(&dir)).await
    }

    async fn remove(&self, alloc: &AllocId) -> Result<(), RecordsError> {
        let dir = self.of(alloc);
        self.in_turn(alloc, move || remove(&dir).map_err(disk("remove", dir))).await
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RecordsError> + Send + 'static,
) -> Result<T, RecordsError> {
    files::off_thread(work).await.map_err(disk("reach", PathBuf::new()))?
}

fn disk(doing: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> RecordsError {
    move |source| RecordsError::Disk { doing, path, source }
}

fn write(dir: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    files::replace(&dir.join(FILE), &[MAGIC, &crc32fast::hash(bytes).to_le_bytes(), bytes])?;
    let marked = OVER.map(|(marked, _)| dir.join(marked)).into_iter().filter(|marked| marked.exists());
    let mut were_marked = false;
    for marked in marked {
        files::remove(&marked)?;
        were_marked = true;
    }
    if were_marked { files::sync(dir) } else { Ok(()) }
}

fn mark_over(dir: &Path, phase: Phase) -> io::Result<()> {
    let (failed, stopped) = (dir.join(OVER[1].0), dir.join(OVER[0].0));
    let marked = if phase == Phase::Failed { failed } else { stopped };
    match fs::rename(dir.join(FILE), marked) {
        Ok(()) => files::sync(dir),
        // Marked before, or never written.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The record, under whichever of its names. The plain one is the latest: a write removes the others after it.
fn find(dir: &Path) -> Result<Option<Kept>, RecordsError> {
    if let Some(bytes) = read(&dir.join(FILE))? {
        return Ok(Some(Kept { bytes, over: None }));
    }
    for (marked, phase) in OVER {
        if let Some(bytes) = read(&dir.join(marked))? {
            return Ok(Some(Kept { bytes, over: Some(phase) }));
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, RecordsError> {
    let file = match fs::read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk(READ, path.to_owned())(error)),
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
        match find(&entry.path()).transpose() {
            // The directory of an alloc whose record is gone, or was never written: its logs may still be there.
            None => {}
            Some(kept) => listed.push(Listed { alloc, kept }),
        }
    }
    listed.sort_by(|a, b| a.alloc.cmp(&b.alloc));
    Ok(listed)
}

fn remove(dir: &Path) -> io::Result<()> {
    for name in [FILE, NEW, OVER[0].0, OVER[1].0] {
        files::remove(&dir.join(name))?;
    }
    // Whoever removes the alloc's last file takes the directory along; logs may still be in it.
    match fs::remove_dir(dir) {
        Ok(()) => dir.parent().map_or(Ok(()), files::sync),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => files::sync(dir),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> AllocId {
        name.parse().unwrap()
    }

    fn kept(text: &str) -> Option<Kept> {
        Some(Kept { bytes: text.as_bytes().to_vec(), over: None })
    }

    #[tokio::test]
    async fn an_end_is_marked_without_writing_and_the_next_write_replaces_it() {
        for phase in [Phase::Stopped, Phase::Failed] {
            let dir = tempfile::tempdir().unwrap();
            let (records, web) = (DiskRecords::new(dir.path()), id("web-aaaa"));
            records.mark_over(&web, phase).await.unwrap();
            assert_eq!(records.read(&web).await.unwrap(), None, "nothing was kept");
            records.write(&web, b"old".to_vec()).await.unwrap();
            // The disk is full, and a write was cut short.
            fs::write(dir.path().join("web-aaaa/record.new"), "hal").unwrap();
            records.mark_over(&web, phase).await.unwrap();
            records.mark_over(&web, phase).await.unwrap();
            let over = Some(Kept { over: Some(phase), ..kept("old").unwrap() });
            assert_eq!(records.read(&web).await.unwrap(), over);
            assert_eq!(records.list().await.unwrap()[0].kept.as_ref().ok(), over.as_ref());
            records.write(&web, b"new".to_vec()).await.unwrap();
            assert_eq!(records.read(&web).await.unwrap(), kept("new"));
            records.mark_over(&web, phase).await.unwrap();
            records.remove(&web).await.unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_bad_block_is_damage_of_what_was_read_and_of_nothing_else() {
        let error = |doing| RecordsError::Disk {
            doing,
            path: PathBuf::new(),
            source: rustix::io::Errno::UCLEAN.into(),
        };
        assert!(error(READ).is_damage() && !error("list").is_damage());
    }

    #[tokio::test]
    async fn what_is_no_file_is_damage_and_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let records = DiskRecords::new(dir.path());
        records.write(&id("web-bbbb"), b"whole".to_vec()).await.unwrap();
        fs::create_dir_all(dir.path().join("web-aaaa/record")).unwrap();
        fs::write(dir.path().join("web-cccc"), "a file where the directory should be").unwrap();
        let listed = records.list().await.unwrap();
        let damaged: Vec<bool> =
            listed.iter().map(|one| one.kept.as_ref().is_err_and(RecordsError::is_damage)).collect();
        assert_eq!(damaged, [true, false, true]);
    }

    #[tokio::test]
    async fn who_writes_last_is_kept_also_over_one_who_has_left() {
        let dir = tempfile::tempdir().unwrap();
        let (records, web) = (DiskRecords::new(dir.path()), id("web-aaaa"));
        let large = |text: u8| vec![text; 100_000];
        let writes = (0..50).map(|number| records.write(&web, large(number)));
        for written in futures::future::join_all(writes).await {
            written.unwrap();
        }
        assert_eq!(records.read(&web).await.unwrap().unwrap().bytes, large(49));
        for _ in 0..20 {
            let mut crashed = Box::pin(records.write(&web, large(1)));
            assert!(futures::poll!(&mut crashed).is_pending());
            drop(crashed);
            records.write(&web, large(2)).await.unwrap();
            records.remove(&id("web-aaaa")).await.unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is written after a later turn");
        }
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
        let found: Vec<_> = listed.into_iter().map(|one| (one.alloc, one.kept.unwrap().bytes)).collect();
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
            let error = listed[0].kept.as_ref().unwrap_err();
            assert!(error.is_damage() && error.to_string().contains("web-aaaa/record"), "{error}");
            assert_eq!(listed[1].kept.as_ref().unwrap().bytes, b"some bytes");
        }
    }

    #[tokio::test]
    async fn a_crash_between_write_and_rename_leaves_the_old_record() {
        let dir = tempfile::tempdir().unwrap();
        let records = DiskRecords::new(dir.path());
        records.write(&id("web-aaaa"), b"old".to_vec()).await.unwrap();
        fs::write(dir.path().join("web-aaaa/record.new"), "half").unwrap();
        assert_eq!(records.read(&id("web-aaaa")).await.unwrap(), kept("old"));
        records.write(&id("web-aaaa"), b"new".to_vec()).await.unwrap();
        assert_eq!(records.read(&id("web-aaaa")).await.unwrap(), kept("new"));
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
