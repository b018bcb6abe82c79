//! Logs in files: the real driver.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mill_model::AllocId;
use tokio::sync::mpsc;

use super::capture::FifoCapture;
use super::layout::{self, Bounds};
use super::merge::{Batch, Merge};
use super::pipe::{self, Held};
use super::{Line, Lines, LogError, Logs, Now, Query, Stream, StreamName};
use crate::systemd::FdStore;

/// Lines that wait for a slow reader, beyond the batch in hand.
const LINES_AHEAD: usize = 64;

/// Logs of this node's containers, in files.
#[derive(Clone)]
pub struct FileLogs {
    /// `<data>/allocs`
    root: PathBuf,
    now: Now,
    /// How often a follower looks for more.
    poll: Duration,
    bounds: Bounds,
    /// What keeps captured pipes open beyond this process's end.
    store: FdStore,
}

impl FileLogs {
    /// Logs under `<data>/allocs`; followers look for more every `poll` (`Tempo::log_poll`).
    pub fn new(allocs: PathBuf, now: Now, poll: Duration) -> Self {
        Self { root: allocs, now, poll, bounds: Bounds::default(), store: FdStore::default() }
    }

    /// The same; pipes that are captured lie in this store too, so that they are held also when this process and the
    /// daemon are both dead.
    #[must_use]
    pub fn kept_in(self, store: FdStore) -> Self {
        Self { store, ..self }
    }

    /// The same with other bounds, so that tests needn't write megabytes.
    #[cfg(test)]
    pub(super) fn bounded(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// The same under another directory.
    #[cfg(test)]
    pub(super) fn elsewhere(self, root: &Path) -> Self {
        Self { root: root.to_owned(), ..self }
    }
}

impl Logs for FileLogs {
    type Held = Held;
    type Capture = FifoCapture;

    fn fifo(&self, name: &StreamName) -> PathBuf {
        layout::fifo(&self.root, name)
    }

    async fn pipes(&self) -> Result<Vec<StreamName>, LogError> {
        let path = self.root.clone();
        blocking(move || layout::fifos(&path).map_err(|source| LogError::Read { path, source })).await
    }

    async fn allocs(&self) -> Result<Vec<AllocId>, LogError> {
        let path = self.root.clone();
        blocking(move || layout::allocs(&path).map_err(|source| LogError::Read { path, source })).await
    }

    async fn hold(&self, name: &StreamName) -> Result<Held, LogError> {
        let directory = layout::directory(&self.root, &name.alloc);
        let fifo = self.fifo(name);
        blocking(move || {
            make_directory(&directory).map_err(|source| LogError::Make { path: directory, source })?;
            pipe::make(&fifo)?;
            pipe::hold(&fifo)
        })
        .await
    }

    async fn release(&self, name: &StreamName) -> Result<(), LogError> {
        let path = self.fifo(name);
        blocking(move || layout::remove(&path).map_err(|source| LogError::Remove { path, source })).await
    }

    async fn capture(&self, name: &StreamName, fifo: &Path) -> Result<FifoCapture, LogError> {
        let directory = layout::directory(&self.root, &name.alloc);
        let now = Arc::clone(&self.now);
        let capture = FifoCapture::open(directory, name.clone(), fifo.to_owned(), self.bounds, now).await?;
        let (store, label, fifo) = (self.store.clone(), name.to_string(), fifo.to_owned());
        // Opened once more: the store's must not have the capture's lock, which the next process takes.
        blocking(move || pipe::open_pipe(&fifo).map(|pipe| store.keep(&label, pipe.as_fd()))).await?;
        Ok(capture)
    }

    fn keep_only(&self, wanted: &BTreeSet<String>) {
        self.store.keep_only(|name| wanted.contains(name));
    }

    async fn read(&self, alloc: &AllocId, query: Query) -> Result<Lines, LogError> {
        let (sender, receiver) = mpsc::channel(LINES_AHEAD);
        let reader = Reader {
            directory: layout::directory(&self.root, alloc),
            follow: query.follow,
            poll: self.poll,
            sender,
        };
        let (directory, alloc) = (reader.directory.clone(), alloc.clone());
        let merge = blocking(move || {
            // After the places were found: what was removed until then is told, and what goes later is read.
            let opened = Merge::open(&directory, &alloc, &query);
            let removed = Stream::ALL.map(|stream| Ok((stream, layout::removed_until(&directory, stream)?)));
            let removed: io::Result<Vec<_>> = removed.into_iter().collect();
            opened
                .and_then(|merge| Ok((merge, removed?)))
                .map_err(|source| LogError::Read { path: directory, source })
        });
        let (merge, removed) = merge.await?;
        tokio::spawn(reader.run(merge));
        let removed = removed.into_iter().filter_map(|(stream, until)| Some((stream, until?))).collect();
        Ok(Lines { lines: receiver, removed })
    }

    async fn remove(&self, alloc: &AllocId) -> Result<(), LogError> {
        let path = layout::directory(&self.root, alloc);
        blocking(move || match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LogError::Remove { path, source }),
            _ => {
                // The alloc's own directory goes with the last that is in it; it may not be ours.
                let _ = path.parent().map(fs::remove_dir);
                Ok(())
            }
        })
        .await
    }
}

/// Makes a directory that only root looks into: programs print secrets.
fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(LogError::Interrupted))
}

/// Feeds one receiver of lines.
struct Reader {
    directory: PathBuf,
    follow: bool,
    poll: Duration,
    sender: mpsc::Sender<Result<Line, LogError>>,
}

impl Reader {
    async fn run(self, mut merge: Merge) {
        // Looks that found a line begun and nothing more of it.
        let mut waited = 0;
        loop {
            let last = !self.follow;
            let step = blocking(move || Ok((merge.batch(last), merge))).await;
            let (batch, back) = match step {
                Ok((Ok(batch), back)) => (batch, back),
                Ok((Err(source), _)) => {
                    let path = self.directory;
                    let _ = self.sender.send(Err(LogError::Read { path, source })).await;
                    return;
                }
                Err(error) => {
                    let _ = self.sender.send(Err(error)).await;
                    return;
                }
            };
            merge = back;
            let Batch { lines, ended, partial } = batch;
            waited = if partial && lines.is_empty() { waited + 1 } else { 0 };
            for line in lines {
                if self.sender.send(Ok(line)).await.is_err() {
                    return;
                }
            }
            if !ended {
                continue;
            }
            if !self.follow {
                return;
            }
            if waited >= 2 {
                merge.flush();
                waited = 0;
                continue;
            }
            tokio::select! {
                () = self.sender.closed() => return,
                () = tokio::time::sleep(self.poll) => {}
            }
        }
    }
}
