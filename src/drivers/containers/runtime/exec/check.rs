//! A program that is asked a question: what a health check needs of it is its code, and the end of what it says.

use std::sync::Arc;
use std::time::Duration;

use mill_model::limits;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Exec, Fifos, Laid, Shared, read_from};
use crate::containers::{ContainerError, ContainerName, ExecOutcome};

/// Reads that empty a FIFO of the usual size, a page at a time.
const PIPE_READS_MAX: usize = 32;

/// How a program ended; nothing: not in time.
type Answer = oneshot::Sender<Option<Result<ExecOutcome, ContainerError>>>;

impl Shared {
    /// Runs a program in a task of its own: whoever waits may leave, and the program ends and is forgotten all the
    /// same.
    pub(in crate::containers::runtime) async fn exec(
        self: &Arc<Self>,
        name: &ContainerName,
        argv: &[String],
        deadline: Duration,
    ) -> Result<ExecOutcome, ContainerError> {
        let end = Instant::now() + deadline;
        let command = argv.first().cloned().unwrap_or_default();
        let id = self.exec_id();
        let (output, reader) = read_from(self.fifos.join(format!("{name}-{id}")))?;
        // Both streams end in one FIFO.
        let fifos = Fifos { output: Some(output), ..Fifos::default() };
        let exec = Exec { name: name.clone(), argv: argv.to_vec(), id, fifos };
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(self);
        tokio::spawn(async move { shared.see_through(&exec, end, reader, answer).await });
        // Nothing else drops the answer than a runtime that shuts down, or a panic over there.
        let overdue = || ContainerError::ExecDeadline { command, after: deadline };
        answered.await.ok().flatten().unwrap_or_else(|| Err(overdue()))
    }

    /// From the program's making to its last trace. Answers nothing if its deadline came first.
    async fn see_through(&self, exec: &Exec, end: Instant, mut reader: pipe::Receiver, mut answer: Answer) {
        let made = self.make_exec(exec).await;
        let mut tail = Tail::default();
        let status = match &made {
            Ok(_) => tokio::select! {
                status = self.run(exec) => Some(status),
                never = tail.read_from(&mut reader) => match never {},
                () = tokio::time::sleep_until(end) => None,
                () = answer.closed() => None,
            },
            Err(error) => Some(Err(error.clone())),
        };
        let is_alive = !matches!(status, Some(Ok(_)));
        let ended = self.end_exec(exec, is_alive).await;
        // What a program has written has arrived once it is deleted.
        tail.read_rest(&reader);
        let outcome = status.map(|status| {
            let code = u8::try_from(status?).unwrap_or(u8::MAX);
            made.as_ref().map_or(Ok(()), Laid::had_become).map_err(|failed| exec.failed(failed))?;
            Ok(ExecOutcome { code, output: tail.into_text() })
        });
        // Whoever asked may have left.
        let _ = answer.send(outcome);
        if let Err(error) = ended {
            self.end_exec_later(exec, is_alive, error).await;
        }
    }

    /// Starts the program and waits for its end.
    async fn run(&self, exec: &Exec) -> Result<u32, ContainerError> {
        self.start_exec(exec).await?;
        self.wait_exec(exec).await
    }
}

/// The last bytes of a stream.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
}

enum Never {}

impl Tail {
    /// Reads for as long as it is polled: the end of the stream isn't the end of the program.
    async fn read_from(&mut self, reader: &mut pipe::Receiver) -> Never {
        let mut buffer = vec![0; limits::EXEC_OUTPUT_BYTES_MAX];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            self.push(buffer.get(..count).unwrap_or_default());
        }
        std::future::pending().await
    }

    /// Reads what lies ready.
    fn read_rest(&mut self, reader: &pipe::Receiver) {
        let mut buffer = vec![0; limits::EXEC_OUTPUT_BYTES_MAX];
        // A FIFO holds 64 KiB: this ends, whoever still writes.
        for _ in 0..PIPE_READS_MAX {
            let Ok(count @ 1..) = reader.try_read(&mut buffer) else { return };
            self.push(buffer.get(..count).unwrap_or_default());
        }
    }

    fn push(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
        let excess = self.bytes.len().saturating_sub(limits::EXEC_OUTPUT_BYTES_MAX);
        self.bytes.drain(..excess);
    }

    fn into_text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_end() {
        let mut tail = Tail::default();
        tail.push(&[b'a'; limits::EXEC_OUTPUT_BYTES_MAX]);
        tail.push(b"end");
        assert_eq!(tail.bytes.len(), limits::EXEC_OUTPUT_BYTES_MAX);
        assert!(tail.into_text().ends_with("aaend"));
    }
}
