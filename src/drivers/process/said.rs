//! What another process says, in a file that stays small.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tokio::fs;

use super::{ProcessError, failed};

/// From when on what was said goes into an older file, of which there is one. A program that works says some lines a
/// day; one that fails again and again says thousands an hour, and the last ones tell why.
pub const SAID_BYTES_MAX: u64 = 1 << 20;

/// Opens the file for a process to append to.
///
/// # Errors
/// The system's own.
pub fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Where what was said before is.
pub fn older(path: &Path) -> PathBuf {
    let mut older = path.to_owned().into_os_string();
    older.push(".1");
    older.into()
}

/// Moves what was said to the older file, if it is too much. The process has the file open for as long as it lives and
/// appends to it: it is emptied, not replaced. What is said in the moment between is lost.
///
/// # Errors
/// A file can't be read or written. One that isn't there is small.
pub async fn keep_small(path: &Path) -> Result<(), ProcessError> {
    match fs::metadata(path).await {
        Ok(said) if said.len() > SAID_BYTES_MAX => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
    }
    let older = older(path);
    // Also without the copy: a full disk is one reason for many words.
    let copied = fs::copy(path, &older).await;
    let emptied = fs::OpenOptions::new().write(true).truncate(true).open(path).await;
    emptied.map_err(failed("empty", path))?;
    copied.map(drop).map_err(failed("write", older))
}
