//! The API over the node's own socket, one connection for many requests: for rates that no command line reaches.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::harness::http::Answer;
use crate::harness::{Context as _, Failed};

/// Where a node listens for its own machine.
pub(super) const SOCKET: &str = "/run/mill/mill.sock";
/// Longest wait for any part of an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open connection.
pub(super) struct Connection(BufReader<UnixStream>);

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub(super) fn open(socket: &Path) -> Result<Self, Failed> {
        let what = socket.display();
        let stream = UnixStream::connect(socket).or_fail(&what)?;
        stream.set_read_timeout(Some(PATIENCE)).or_fail(&what)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// One request without a body, and its whole answer.
    ///
    /// # Errors
    /// The connection ends, or the answer has no length.
    pub(super) fn ask(&mut self, method: &str, path: &str) -> Result<Answer, Failed> {
        let what = format!("{method} {path}");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: mill\r\nContent-Length: 0\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).or_fail(&what)?;
        let status = self.line(&what)?;
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.or_fail(format_args!("{what}: no status"))?;
        let mut length = None;
        loop {
            let line = self.line(&what)?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<usize>().ok();
            }
        }
        let mut body = vec![0; length.or_fail(format_args!("{what}: an answer without a length"))?];
        self.0.read_exact(&mut body).or_fail(&what)?;
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// A line of the head, empty at its end.
    fn line(&mut self, what: &str) -> Result<String, Failed> {
        let mut line = String::new();
        match self.0.read_line(&mut line).or_fail(what)? {
            0 => Err(Failed::because(format!("{what}: the connection was closed"))),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}
