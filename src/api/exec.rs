//! `GET /v1/exec/{name}`: a program run inside a container, over a WebSocket.
//!
//! Text messages are JSON: [`ExecAsk`] from the client, [`ExecTold`] from the server. Binary messages are what flows:
//! their first byte says which stream ([`INPUT`], [`OUTPUT`], [`ERRORS`]), the rest is bytes of it. The client begins
//! with [`ExecAsk::Begin`]; the last word is [`ExecTold::Ended`] or [`ExecTold::Failed`]. A connection that ends
//! without one was cut; whoever leaves ends the program.
//!
//! # Why
//! - **A WebSocket**, not a stream of HTTP/2: proxies that people have pass it on, the local socket's HTTP/1.1 has it,
//!   and a browser can speak it. Bodies of requests that go on while the answer comes are held up by many a proxy.
//! - **Windows.** Neither side sends more than [`EXEC_WINDOW_BYTES`] of stream data that the other hasn't said to have
//!   read (`read` messages). So a side that waits for a slow reader still hears everything else, and can tell one that
//!   is slow from one that is gone.
//!
//! [`EXEC_WINDOW_BYTES`]: mill_model::limits::EXEC_WINDOW_BYTES

use mill_model::AllocId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// The WebSocket's subprotocol.
pub const PROTOCOL: &str = "mill.exec.v1";

/// What the program reads.
pub const INPUT: u8 = 0;
/// What it writes, and with a terminal its errors too.
pub const OUTPUT: u8 = 1;
/// Its errors.
pub const ERRORS: u8 = 2;

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ExecAsk {
    /// First of all: what to run.
    Begin {
        /// The program, a path or a name to be found in the image's `PATH`, and its arguments.
        command: Vec<String>,
        /// With a terminal of this size; absent: with pipes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terminal: Option<TerminalSize>,
    },
    /// So much more of the output was read.
    Read {
        /// Bytes, of both streams.
        bytes: usize,
    },
    /// The terminal has another size.
    Resize(TerminalSize),
    /// Send the program a signal.
    Signal {
        /// Its name: `SIGINT`.
        name: String,
    },
    /// There is no more input.
    CloseInput,
}

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TerminalSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ExecTold {
    /// The program runs.
    Began {
        /// In which alloc.
        alloc: AllocId,
    },
    /// So much more of the input was taken.
    Read {
        /// Bytes.
        bytes: usize,
    },
    /// It has ended, and all that it wrote was sent.
    Ended {
        /// Its exit code; 128 + n for signal n.
        code: u8,
    },
    /// It couldn't be run, or can't be followed any more.
    Failed {
        /// Why.
        error: ApiError,
        /// What a shell's exit code would be: 127 for no such program, 126 for one that can't be executed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u8>,
    },
}

/// The binary message of some bytes of a stream.
pub fn message(stream: u8, bytes: &[u8]) -> Vec<u8> {
    [&[stream], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_and_are_what_the_documentation_shows() {
        let size = TerminalSize { columns: 80, rows: 24 };
        let asks = [
            (
                ExecAsk::Begin { command: vec!["sh".into()], terminal: None },
                r#"{"kind":"begin","command":["sh"]}"#,
            ),
            (ExecAsk::Resize(size), r#"{"kind":"resize","columns":80,"rows":24}"#),
            (ExecAsk::Signal { name: "SIGINT".into() }, r#"{"kind":"signal","name":"SIGINT"}"#),
            (ExecAsk::CloseInput, r#"{"kind":"close_input"}"#),
            (ExecAsk::Read { bytes: 7 }, r#"{"kind":"read","bytes":7}"#),
        ];
        for (ask, text) in asks {
            assert_eq!(serde_json::to_string(&ask).unwrap(), text);
            assert_eq!(serde_json::from_str::<ExecAsk>(text).unwrap(), ask);
        }
        let told = ExecTold::Ended { code: 137 };
        assert_eq!(serde_json::to_string(&told).unwrap(), r#"{"kind":"ended","code":137}"#);
        assert_eq!(message(OUTPUT, b"hi"), b"\x01hi");
    }
}
