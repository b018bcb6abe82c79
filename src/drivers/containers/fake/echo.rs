//! Programs that are executed in fake containers.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{mpsc, oneshot};

use super::{FakeContainers, STREAM_BYTES};
use crate::containers::{Ask, ContainerError, ExecOutcome};

impl FakeContainers {
    /// A program that says what its script says to its errors, gives back what it reads, and ends when there is no
    /// more.
    pub(super) async fn echo(
        self,
        exec: ExecOutcome,
        (mut input, mut output, mut errors): (DuplexStream, DuplexStream, DuplexStream),
        mut asks: mpsc::Receiver<Ask>,
        ended: oneshot::Sender<Result<u8, ContainerError>>,
    ) {
        // Whoever reads may have left.
        let _ = errors.write_all(exec.output.as_bytes()).await;
        drop(errors);
        let mut buffer = [0; STREAM_BYTES];
        let mut is_open = true;
        let code = loop {
            tokio::select! {
                read = input.read(&mut buffer), if is_open => match read {
                    Ok(count @ 1..) => {
                        let _ = output.write_all(buffer.get(..count).unwrap_or_default()).await;
                    }
                    // Its end is said by asking.
                    _ => is_open = false,
                },
                ask = asks.recv() => match ask {
                    None => {
                        self.state().let_go += 1;
                        return;
                    }
                    Some(ask) => {
                        self.state().asked.push(ask);
                        match ask {
                            Ask::Resize(_) => {}
                            Ask::CloseInput => {
                                // What was written before it was dropped is there to be read.
                                let mut rest = vec![];
                                let _ = input.read_to_end(&mut rest).await;
                                let _ = output.write_all(&rest).await;
                                break exec.code;
                            }
                            Ask::Signal(signal) => break 128 + signal.number(),
                        }
                    }
                },
            }
        };
        drop(output);
        let _ = ended.send(Ok(code));
    }
}
