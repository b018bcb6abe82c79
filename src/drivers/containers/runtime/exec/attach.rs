//! A program whose streams somebody holds: a shell, say.

use std::sync::Arc;

use containerd_client::services::v1 as api;
use tokio::sync::{mpsc, oneshot};

use super::{Exec, Fifos, Laid, Shared, read_from, write_to};
use crate::containerd::RuntimeError;
use crate::containers::{Ask, Attach, Attached, ContainerError, ContainerName, Hand, Output, Size};

/// Told once: that the program was executed, or why not.
type Begun = oneshot::Sender<Result<(), ContainerError>>;

/// Told once: how it ended.
type Ended = oneshot::Sender<Result<u8, ContainerError>>;

impl Shared {
    /// Executes a program, in a task of its own that sees it through. Answers when it was executed.
    pub(in crate::containers::runtime) async fn attach(
        self: &Arc<Self>,
        name: &ContainerName,
        wanted: &Attach,
    ) -> Result<Attached, ContainerError> {
        let id = self.exec_id();
        let path = |stream: &str| self.fifos.join(format!("{name}-{id}-{stream}"));
        let (input, writer) = write_to(path("in"))?;
        let (output, reader) = read_from(path("out"))?;
        let (errors, error_reader) = match wanted.terminal {
            None => read_from(path("err")).map(|(fifo, reader)| (Some(fifo), Some(reader)))?,
            // A terminal has one stream.
            Some(_) => (None, None),
        };
        let fifos = Fifos { input: Some(input), output: Some(output), errors, terminal: wanted.terminal };
        let exec = Exec { name: name.clone(), argv: wanted.argv.clone(), id, fifos };
        let (hand, mut asks) = Hand::new();
        let ((begun, begins), (ended, ends)) = (oneshot::channel(), oneshot::channel());
        let shared = Arc::clone(self);
        tokio::spawn(async move { shared.look_after(&exec, &mut asks, (begun, ended)).await });
        // Nothing else drops it than a runtime that shuts down, or a panic over there.
        let lost = || ContainerError::from(RuntimeError::Malformed { asked: "execute a program" });
        begins.await.unwrap_or_else(|_| Err(lost()))?;
        let errors: Output = match error_reader {
            Some(reader) => Box::new(reader),
            None => Box::new(tokio::io::empty()),
        };
        Ok(Attached { input: Box::new(writer), output: Box::new(reader), errors, hand, ended: ends })
    }

    /// From the program's making to its last trace.
    async fn look_after(&self, exec: &Exec, asks: &mut mpsc::Receiver<Ask>, (begun, ended): (Begun, Ended)) {
        let made = self.begin(exec).await;
        let (laid, failed) = match made {
            Ok(laid) => (Some(laid), None),
            Err(error) => (None, Some(error)),
        };
        let runs = failed.is_none();
        // Whoever asked may have left: then there is no one either who asks for more.
        let _ = begun.send(failed.map_or(Ok(()), Err));
        let status = match runs {
            true => tokio::select! {
                status = self.wait_exec(exec) => Some(status),
                () = self.obey(exec, asks) => None,
            },
            false => None,
        };
        let is_alive = !matches!(status, Some(Ok(_)));
        let forgotten = self.end_exec(exec, is_alive).await;
        if let Some(status) = status {
            // What a program has written has arrived once it is deleted.
            let _ = ended.send(status.map(|code| u8::try_from(code).unwrap_or(u8::MAX)));
        }
        if let Err(error) = forgotten {
            self.end_exec_later(exec, is_alive, error).await;
        }
        // Not before: what is laid down says that there is something to be forgotten.
        drop(laid);
    }

    /// Has the program made and run, and waits until it was executed.
    async fn begin(&self, exec: &Exec) -> Result<Laid, ContainerError> {
        let mut laid = self.make_exec(exec).await?;
        self.start_exec(exec).await?;
        let became = tokio::select! {
            became = laid.became() => became.map_err(self.in_state())?,
            _ended = self.wait_exec(exec) => laid.had_become(),
        };
        became.map(|()| laid).map_err(|failed| exec.failed(failed))
    }

    /// Does what is asked until the hand is let go. The program is killed then, with all that it started: one that
    /// hears only that its terminal is gone may go on without it.
    async fn obey(&self, exec: &Exec, asks: &mut mpsc::Receiver<Ask>) {
        while let Some(ask) = asks.recv().await {
            match ask {
                Ask::Resize(size) => self.resize(exec, size).await,
                Ask::Signal(signal) => {
                    self.signal_exec(&exec.name, &exec.id, signal).await;
                }
                Ask::CloseInput => self.close_input(exec).await,
            }
        }
    }

    /// A size that isn't set is a pity and no more.
    async fn resize(&self, exec: &Exec, size: Size) {
        let request = api::ResizePtyRequest {
            container_id: exec.name.to_string(),
            exec_id: exec.id.clone(),
            width: u32::from(size.columns),
            height: u32::from(size.rows),
        };
        let resized =
            self.containerd.call("resize a terminal", self.containerd.tasks().resize_pty(request)).await;
        if let Err(error) = resized {
            tracing::debug!(container = %exec.name, exec = %exec.id, %error, "terminal not resized");
        }
    }

    /// The shim holds a writing end of its own, so that the program sees no end before it is told of one.
    async fn close_input(&self, exec: &Exec) {
        let request = api::CloseIoRequest {
            container_id: exec.name.to_string(),
            exec_id: exec.id.clone(),
            stdin: true,
        };
        let closed =
            self.containerd.call("close a program's input", self.containerd.tasks().close_io(request)).await;
        if let Err(error) = closed {
            tracing::debug!(container = %exec.name, exec = %exec.id, %error, "input not closed");
        }
    }
}
