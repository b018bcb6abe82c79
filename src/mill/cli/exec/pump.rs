//! Streams of this process, which block: each is read or written by a thread of its own.
//!
//! Those threads aren't waited for, since a read of a terminal can't be called off: they end with the process.

use std::io::{self, Read as _, Write as _};
use std::thread;

use bytes::Bytes;
use mill_model::limits::EXEC_CHUNK_BYTES;
use tokio::sync::mpsc;

/// What this process is given to read.
pub(super) struct Input(mpsc::Receiver<Bytes>);

impl Input {
    /// Nothing at all.
    pub(super) fn none() -> Self {
        Self(mpsc::channel(1).1)
    }

    /// Standard input.
    pub(super) fn begin() -> Self {
        let (chunks, received) = mpsc::channel(1);
        thread::spawn(move || {
            let mut buffer = vec![0; EXEC_CHUNK_BYTES];
            loop {
                match io::stdin().lock().read(&mut buffer) {
                    Ok(count @ 1..) => {
                        let chunk = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
                        if chunks.blocking_send(chunk).is_err() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(_) | Err(_) => return,
                }
            }
        });
        Self(received)
    }

    /// The next bytes; `None`: there are no more.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }
}

/// Where the program's output goes. The window that the server keeps bounds what waits here.
pub(super) struct Output {
    chunks: Option<mpsc::UnboundedSender<(Bytes, bool)>>,
    written: mpsc::UnboundedReceiver<usize>,
}

/// What became of output.
pub(super) enum Written {
    /// So many bytes were written.
    Bytes(usize),
    /// Nobody reads it any more.
    Nobody,
}

impl Output {
    /// Standard output and errors.
    pub(super) fn begin() -> Self {
        let (chunks, mut received) = mpsc::unbounded_channel::<(Bytes, bool)>();
        let (tell, written) = mpsc::unbounded_channel();
        thread::spawn(move || {
            while let Some((chunk, is_error)) = received.blocking_recv() {
                let done = match is_error {
                    true => io::stderr().lock().write_all(&chunk),
                    false => {
                        let mut out = io::stdout().lock();
                        out.write_all(&chunk).and_then(|()| out.flush())
                    }
                };
                // Errors that nobody reads are no reason to end; output is.
                if (done.is_err() && !is_error) || tell.send(chunk.len()).is_err() {
                    return;
                }
            }
        });
        Self { chunks: Some(chunks), written }
    }

    /// Has it written, after all that came before.
    pub(super) fn write(&self, bytes: Bytes, is_error: bool) {
        if let Some(chunks) = &self.chunks {
            // Refused when nobody reads any more, which is told by itself.
            let _ = chunks.send((bytes, is_error));
        }
    }

    /// What became of it. May be dropped at any time.
    pub(super) async fn written(&mut self) -> Written {
        self.written.recv().await.map_or(Written::Nobody, Written::Bytes)
    }

    /// Waits until all of it is written, or nobody reads it.
    pub(super) async fn finish(&mut self) {
        self.chunks = None;
        while let Written::Bytes(_) = self.written().await {}
    }
}
