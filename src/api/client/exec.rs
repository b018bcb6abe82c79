//! A program run inside a container: the client's end of the WebSocket.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use mill_model::Tempo;
use mill_model::limits::EXEC_MESSAGE_BYTES_MAX;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::call;
use super::error::{ClientError, Cut};
use super::transport::Transport;
use crate::exec::{ERRORS, ExecAsk, ExecTold, INPUT, OUTPUT, message};

/// What comes of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecHeard {
    /// It wrote this.
    Output(Bytes),
    /// It wrote this to its errors.
    Errors(Bytes),
    /// The server says something.
    Told(ExecTold),
}

/// A program that runs, or is about to. Dropping it ends the program.
pub struct Exec {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    endpoint: String,
    silence: std::time::Duration,
}

impl Exec {
    pub(super) async fn open(transport: &Transport, tempo: &Tempo, path: &str) -> Result<Self, ClientError> {
        let after = tempo.api_read_deadline;
        let stream = timeout(after, call::upgrade(transport, tempo, path))
            .await
            .map_err(|_| ClientError::Deadline { endpoint: transport.to_string(), after })??;
        let config = WebSocketConfig::default()
            .max_message_size(Some(EXEC_MESSAGE_BYTES_MAX))
            .max_frame_size(Some(EXEC_MESSAGE_BYTES_MAX));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Client, Some(config)).await;
        Ok(Self { socket, endpoint: transport.to_string(), silence: tempo.api_silence })
    }

    /// Says something. That it can't be heard any more is told by [`Self::next`], after all that was said before.
    ///
    /// # Errors
    /// It can't be written down.
    pub async fn ask(&mut self, ask: &ExecAsk) -> Result<(), ClientError> {
        let text = serde_json::to_string(ask).map_err(|source| ClientError::Request { source })?;
        self.send(Message::text(text)).await;
        Ok(())
    }

    /// Sends some bytes for the program to read. No more may be on their way than
    /// [`mill_model::limits::EXEC_WINDOW_BYTES`].
    pub async fn input(&mut self, bytes: &[u8]) {
        self.send(Message::binary(message(INPUT, bytes))).await;
    }

    async fn send(&mut self, message: Message) {
        // A server that has closed has said its last word before, and that is still to be read.
        let _ = self.socket.send(message).await;
    }

    /// What comes next. May be dropped at any time without losing anything.
    ///
    /// # Errors
    /// The connection was cut, or what comes isn't Mill's.
    pub async fn next(&mut self) -> Result<ExecHeard, ClientError> {
        loop {
            let next = timeout(self.silence, self.socket.next()).await;
            let message = match next {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(source))) => return Err(self.cut(Cut::Socket(Box::new(source)))),
                Ok(None) => return Err(self.cut(Cut::Early)),
                Err(_) => return Err(self.cut(Cut::Silent(self.silence))),
            };
            match message {
                Message::Text(text) => {
                    let garbled = |source| ClientError::Garbled { endpoint: self.endpoint.clone(), source };
                    return serde_json::from_str(&text).map(ExecHeard::Told).map_err(garbled);
                }
                Message::Binary(mut bytes) => match bytes.first() {
                    Some(&OUTPUT) => return Ok(ExecHeard::Output(bytes.split_off(1))),
                    Some(&ERRORS) => return Ok(ExecHeard::Errors(bytes.split_off(1))),
                    // A stream of a later version.
                    _ => {}
                },
                Message::Close(_) => return Err(self.cut(Cut::Early)),
                // Answered by the socket itself.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    fn cut(&self, source: Cut) -> ClientError {
        ClientError::Cut { endpoint: self.endpoint.clone(), source }
    }
}
