//! A replicated log as it lies on a disk, in clear.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use mill_wal::{FileName, Limits, Recovery, Source};

use super::{Failed, Look, until};

/// It is a file or two: by then no daemon writes a snapshot any more.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Whether a file of this name belongs to a log.
pub fn is_segment(name: &str) -> bool {
    matches!(name.parse(), Ok(FileName::Segment(_)))
}

/// What the log in `folder` says: the data of each entry, and of the snapshot before them. On disk entries are masked: who
/// searches the files for something finds nothing.
///
/// # Errors
/// There is no log, or it can't be read.
pub fn contents(folder: &Path) -> Result<Vec<Vec<u8>>, Failed> {
    // A daemon may write a snapshot meanwhile and remove what it makes superfluous.
    until("the log is read", READ_WITHIN, || match mill_wal::recover(&Files(folder), Limits::default()) {
        Ok(Recovery::Log(log)) => {
            let snapshot = log.snapshot.map(|snapshot| snapshot.data);
            Ok(Look::Yes(log.entries.into_iter().map(|entry| entry.data).chain(snapshot).collect()))
        }
        Ok(Recovery::Empty) => Ok(Look::No("there is none".to_owned())),
        Err(error) => Ok(Look::No(error.to_string())),
    })
}

struct Files<'a>(&'a Path);

impl Source for Files<'_> {
    type Error = io::Error;

    fn list(&self) -> Result<Vec<FileName>, io::Error> {
        let names = fs::read_dir(self.0)?.map(|entry| Ok(entry?.file_name()));
        let names: Vec<_> = names.collect::<Result<_, io::Error>>()?;
        Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
    }

    fn read(&self, file: FileName) -> Result<Vec<u8>, io::Error> {
        fs::read(self.0.join(file.to_string()))
    }
}
