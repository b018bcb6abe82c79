//! A small state on disk, replaced whole: a crash leaves the old one or the new one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{ProcessError, failed};
use crate::files;

/// First bytes: what it is, and the format of what follows (checksum, then the bytes).
const MAGIC: &[u8; 8] = b"millkep1";

/// A file that holds one state. Clones share it.
#[derive(Debug, Clone)]
pub struct Kept {
    path: PathBuf,
    /// Whose turn it is to write: also that of one who doesn't wait for it any more.
    turn: Arc<Mutex<()>>,
}

impl Kept {
    /// The state at `path`.
    pub fn at(path: PathBuf) -> Self {
        Self { path, turn: Arc::default() }
    }

    /// What was written last; `None`: nothing.
    ///
    /// # Errors
    /// The disk's, or the file is damaged.
    pub async fn read(&self) -> Result<Option<Vec<u8>>, ProcessError> {
        let path = self.path.clone();
        files::off_thread(move || read(&path)).await.map_err(failed("reach", &self.path))?
    }

    /// Replaces the state; on disk for good when it returns.
    ///
    /// # Errors
    /// The disk's. Then the old state is there.
    pub async fn write(&self, bytes: Vec<u8>) -> Result<(), ProcessError> {
        let path = self.path.clone();
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let write = move || {
            let _turn = turn;
            files::replace(&path, &[MAGIC, &crc32fast::hash(&bytes).to_le_bytes(), &bytes])
        };
        let written = files::off_thread(write).await.and_then(|written| written);
        written.map_err(failed("write", &self.path))
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, ProcessError> {
    let file = match fs::read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if files::is_damage(&error) => {
            return Err(ProcessError::Damaged { path: path.to_owned() });
        }
        Err(error) => return Err(failed("read", path)(error)),
    };
    let payload = file.strip_prefix(MAGIC).and_then(<[u8]>::split_first_chunk);
    match payload {
        Some((crc, bytes)) if u32::from_le_bytes(*crc) == crc32fast::hash(bytes) => Ok(Some(bytes.to_vec())),
        _ => Err(ProcessError::Damaged { path: path.to_owned() }),
    }
}
