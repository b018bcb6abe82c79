//! The way of bytes from a container's pipe into its log.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::index;
use super::layout::{self, Bounds, SegmentId};
use super::pipe::{self, Step};
use super::segment::Segment;
use super::{Capture, LogError, Moved, Now, StreamName};

/// Most bytes that one go moves: a container that never pauses mustn't keep its reader from hearing orders.
const GO_BYTES_MAX: u64 = 1 << 20;

/// Bytes read at a time where splice can't be had, or where they are dropped: what a pipe holds by default.
const BUFFER_BYTES: usize = 64 << 10;

/// Captures a pipe into files.
pub struct FifoCapture {
    pipe: AsyncFd<Arc<OwnedFd>>,
    /// Away while a go is under way.
    writer: Option<Box<Writer>>,
    /// The go under way on another thread: whoever gave up waiting for it finds it here.
    going: Option<JoinHandle<(Box<Writer>, Gone)>>,
}

/// Registers a pipe for readiness.
#[expect(unsafe_code, reason = "tokio can't see that an owned descriptor stays open")]
fn watched(pipe: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: the `Arc` keeps the descriptor open and its number the same until the `AsyncFd` that owns it is gone.
    let registered = unsafe { AsyncFd::register_with_interest(pipe, Interest::READABLE) };
    registered.map_err(Into::into)
}

/// What one go came to.
struct Gone {
    moved: Moved,
    /// The pipe was empty at the end.
    emptied: bool,
}

impl FifoCapture {
    pub(super) async fn open(
        directory: PathBuf,
        name: StreamName,
        fifo: PathBuf,
        bounds: Bounds,
        now: Now,
    ) -> Result<Self, LogError> {
        let writer = tokio::task::spawn_blocking(move || Writer::open(directory, name, &fifo, bounds, now));
        let writer = writer.await.map_err(|_| LogError::Interrupted)??;
        let pipe = watched(Arc::clone(&writer.pipe))
            .map_err(|source| LogError::Open { path: writer.directory.clone(), source })?;
        Ok(Self { pipe, writer: Some(Box::new(writer)), going: None })
    }

    /// As on a file system that knows no splice.
    #[cfg(test)]
    pub(super) fn without_splice(mut self) -> Self {
        if let Some(writer) = &mut self.writer {
            writer.splices = false;
        }
        self
    }

    /// One go, on a thread that may wait for the disk. Given up in the middle, it is the next one's result.
    async fn go(
        writer: &mut Option<Box<Writer>>,
        going: &mut Option<JoinHandle<(Box<Writer>, Gone)>>,
    ) -> Result<Gone, LogError> {
        if let Some(mut taken) = writer.take() {
            *going = Some(tokio::task::spawn_blocking(move || {
                let gone = taken.go();
                (taken, gone)
            }));
        }
        let under_way = going.as_mut().ok_or(LogError::Interrupted)?;
        let done = under_way.await;
        *going = None;
        let (back, gone) = done.map_err(|_| LogError::Interrupted)?;
        *writer = Some(back);
        Ok(gone)
    }
}

impl Capture for FifoCapture {
    async fn pump(&mut self) -> Result<Moved, LogError> {
        loop {
            let mut ready = self.pipe.readable().await.map_err(|_| LogError::Interrupted)?;
            let gone = Self::go(&mut self.writer, &mut self.going).await?;
            if gone.emptied {
                // What came since then has made the pipe ready anew; this doesn't clear that.
                ready.clear_ready();
            }
            if gone.moved != Moved::default() {
                return Ok(gone.moved);
            }
        }
    }

    async fn drain(&mut self) -> Result<Moved, LogError> {
        let mut all = Moved::default();
        loop {
            let gone = Self::go(&mut self.writer, &mut self.going).await?;
            all.kept += gone.moved.kept;
            all.dropped += gone.moved.dropped;
            if gone.emptied {
                return Ok(all);
            }
        }
    }
}

/// The blocking side.
struct Writer {
    pipe: Arc<OwnedFd>,
    directory: PathBuf,
    name: StreamName,
    bounds: Bounds,
    now: Now,
    /// Made when the first byte comes: most containers write to one stream only.
    segment: Option<Segment>,
    next_number: u32,
    /// Dropped before there was a segment to note it in.
    dropped_before: u64,
    /// Whether bytes are being dropped, so that the log tells of the beginning and the end only.
    dropping: bool,
    splices: bool,
}

impl Writer {
    fn open(
        directory: PathBuf,
        name: StreamName,
        fifo: &Path,
        bounds: Bounds,
        now: Now,
    ) -> Result<Self, LogError> {
        let pipe = pipe::open_pipe(fifo)?;
        pipe::claim(&pipe, fifo)?;
        // If that can't be, output is dropped and counted until it can.
        let _ = fs::create_dir_all(&directory);
        let segments = layout::segments(&directory, name.stream).unwrap_or_default();
        let last = segments.into_iter().rfind(|id| id.incarnation == name.incarnation);
        let segment = last.and_then(|id| match Segment::resume(&directory, &name, id, now()) {
            Ok(segment) => Some(segment),
            Err(error) => {
                warn!(stream = %name, %error, "log can't be continued, a new file is begun");
                None
            }
        });
        Ok(Self {
            pipe: Arc::new(pipe),
            directory,
            name,
            bounds,
            now,
            segment,
            next_number: last.map_or(0, |id| id.number.saturating_add(1)),
            dropped_before: 0,
            dropping: false,
            splices: true,
        })
    }

    /// Moves bytes until the pipe is empty, or enough for one go.
    fn go(&mut self) -> Gone {
        let mut moved = Moved::default();
        while moved.kept + moved.dropped < GO_BYTES_MAX {
            let step = match rustix::io::ioctl_fionread(&*self.pipe) {
                Ok(1..) => self.step(),
                _ => Moved::default(),
            };
            if step == Moved::default() {
                return Gone { moved, emptied: true };
            }
            moved.kept += step.kept;
            moved.dropped += step.dropped;
        }
        Gone { moved, emptied: false }
    }

    /// Moves some bytes, into the log if that can be.
    fn step(&mut self) -> Moved {
        if let Err(error) = self.make_segment() {
            return self.drop_some(&error);
        }
        let Some(segment) = &mut self.segment else { return Moved::default() };
        let room = usize::try_from(self.bounds.segment.saturating_sub(segment.size())).unwrap_or(usize::MAX);
        let step = match self.splices {
            true => pipe::splice_into(&self.pipe, &segment.log, segment.length, room),
            false => Step::NoSplice,
        };
        match step {
            Step::Moved(bytes) => {
                segment.grown(bytes, (self.now)());
                self.kept(bytes)
            }
            Step::Empty => Moved::default(),
            Step::Refused(error) => self.drop_some(&error),
            Step::NoSplice => {
                if std::mem::replace(&mut self.splices, false) {
                    warn!(
                        stream = %self.name,
                        "the file system knows no splice: output is copied, and killing mill can lose some of it"
                    );
                }
                self.copy_some(room)
            }
        }
    }

    /// Sees to it that there is a segment with room.
    fn make_segment(&mut self) -> io::Result<()> {
        // A record may come with the bytes, and a gap's before it.
        let full = |segment: &Segment| segment.size() + 2 * index::RECORD >= self.bounds.segment;
        if self.segment.as_ref().is_some_and(|segment| !full(segment)) {
            return Ok(());
        }
        layout::make_room(&self.directory, self.name.stream, self.bounds)?;
        let id = SegmentId { incarnation: self.name.incarnation, number: self.next_number };
        let mut made = Segment::create(&self.directory, self.name.stream, id)?;
        self.next_number = self.next_number.saturating_add(1);
        let dropped = std::mem::take(&mut self.dropped_before);
        if dropped > 0 {
            made.dropped(dropped, (self.now)());
        }
        self.segment = Some(made);
        Ok(())
    }

    /// Where splice can't be had: reads, then writes.
    fn copy_some(&mut self, room: usize) -> Moved {
        let mut buffer = vec![0; BUFFER_BYTES.min(room)];
        let taken = pipe::take(&self.pipe, &mut buffer).unwrap_or_default();
        let Some(segment) = &mut self.segment else { return Moved::default() };
        let mut moved = Moved::default();
        let mut rest = buffer.get(..taken).unwrap_or_default();
        while !rest.is_empty() {
            match segment.log.write_at(rest, segment.length) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(written) if written > 0 => {
                    let bytes = bytes(written);
                    segment.grown(bytes, (self.now)());
                    moved.kept += bytes;
                    rest = rest.get(written..).unwrap_or_default();
                }
                refused => {
                    moved.dropped = bytes(rest.len());
                    segment.dropped(moved.dropped, (self.now)());
                    let error = refused.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    self.tell_of_dropping(&error);
                    return moved;
                }
            }
        }
        self.kept(moved.kept)
    }

    /// Takes bytes out of the pipe that can't be written, so that the container needn't wait.
    fn drop_some(&mut self, error: &io::Error) -> Moved {
        let mut buffer = vec![0; BUFFER_BYTES];
        let dropped = bytes(pipe::take(&self.pipe, &mut buffer).unwrap_or_default());
        if dropped > 0 {
            match &mut self.segment {
                Some(segment) => segment.dropped(dropped, (self.now)()),
                None => self.dropped_before += dropped,
            }
            self.tell_of_dropping(error);
        }
        Moved { kept: 0, dropped }
    }

    fn tell_of_dropping(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.dropping, true) {
            warn!(stream = %self.name, %error, "output can't be written and is dropped");
        }
    }

    fn kept(&mut self, kept: u64) -> Moved {
        if kept > 0 && std::mem::replace(&mut self.dropping, false) {
            info!(stream = %self.name, "output is written again");
        }
        Moved { kept, dropped: 0 }
    }
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
