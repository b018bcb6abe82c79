//! A small state on disk, replaced whole: a crash leaves the old one or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{ProcessError, failed};

/// First bytes: what it is, and the format of what follows (checksum, then the bytes).
const MAGIC: &[u8; 8] = b"millkep1";

/// A file that holds one state.
#[derive(Debug, Clone)]
pub struct Kept {
    path: PathBuf,
}

impl Kept {
    /// The state at `path`.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// What was written last; `None`: nothing.
    ///
    /// # Errors
    /// The disk's, or the file is damaged.
    pub async fn read(&self) -> Result<Option<Vec<u8>>, ProcessError> {
        let path = self.path.clone();
        off_thread(&self.path, move || read(&path)).await
    }

    /// Replaces the state; on disk for good when it returns.
    ///
    /// # Errors
    /// The disk's. Then the old state is there.
    pub async fn write(&self, bytes: Vec<u8>) -> Result<(), ProcessError> {
        let path = self.path.clone();
        off_thread(&self.path, move || write(&path, &bytes).map_err(failed("write", path))).await
    }
}

async fn off_thread<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, ProcessError> + Send + 'static,
) -> Result<T, ProcessError> {
    let interrupted = || Err(failed("reach", path)(io::ErrorKind::Interrupted.into()));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| interrupted())
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, ProcessError> {
    let file = match fs::read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let payload = file.strip_prefix(MAGIC).and_then(<[u8]>::split_first_chunk);
    match payload {
        Some((crc, bytes)) if u32::from_le_bytes(*crc) == crc32fast::hash(bytes) => Ok(Some(bytes.to_vec())),
        _ => Err(ProcessError::Damaged { path: path.to_owned() }),
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(MAGIC)?;
    file.write_all(&crc32fast::hash(bytes).to_le_bytes())?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
