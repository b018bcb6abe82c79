//! A program executed inside a container with its streams in somebody's hands.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use super::{ContainerError, Signal};

/// What to execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// With a terminal of this size; `None`: with pipes.
    pub terminal: Option<Size>,
}

/// A terminal's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// What the program reads.
pub type Input = Box<dyn AsyncWrite + Send + Unpin>;

/// What the program writes.
pub type Output = Box<dyn AsyncRead + Send + Unpin>;

/// Asked of whoever looks after the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Its terminal has another size now.
    Resize(Size),
    /// Send it a signal.
    Signal(Signal),
    /// Nothing more will come to be read.
    CloseInput,
}

/// Asks that wait: a person resizes a window some dozen times a second.
const ASKS_MAX: usize = 16;

/// A program that runs.
pub struct Attached {
    /// What it reads. [`Ask::CloseInput`] after it was dropped says that there is no more.
    pub input: Input,
    /// What it writes, and with a terminal its errors too. Ends with the last of those who write.
    pub output: Output,
    /// Its errors; with a terminal there are none.
    pub errors: Output,
    /// What can be done to it.
    pub hand: Hand,
    /// How it ended: its exit code, 128 + n for signal n. Told once all that it wrote has been read, or can be.
    pub ended: oneshot::Receiver<Result<u8, ContainerError>>,
}

/// A hand on a program. Let go, it ends.
#[derive(Debug)]
pub struct Hand {
    asks: mpsc::Sender<Ask>,
}

impl Hand {
    /// A hand, and what is asked by it: that this has ended says that it was let go.
    pub fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        (Self { asks }, asked)
    }

    /// Asks for something, and waits only for those that were asked before. A program that has ended hears nothing.
    pub async fn ask(&self, ask: Ask) {
        // Whoever would do it is gone with the program.
        let _ = self.asks.send(ask).await;
    }
}
