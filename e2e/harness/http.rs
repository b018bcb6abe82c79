//! A small HTTP client: one request, one connection.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Context as _, Failed};

/// Longest wait for any part of an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// `GET path`.
///
/// # Errors
/// No connection, no whole answer.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer, Failed> {
    let what = format!("GET http://{address}{path}");
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE).or_fail(&what)?;
    connection.set_read_timeout(Some(PATIENCE)).or_fail(&what)?;
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .or_fail(&what)?;
    let mut bytes = vec![];
    connection.read_to_end(&mut bytes).or_fail(&what)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").or_fail(format_args!("{what}: not HTTP: {text}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.or_fail(format_args!("{what}: no status in {head}"))?;
    Ok(Answer { status, body: body.to_owned() })
}
