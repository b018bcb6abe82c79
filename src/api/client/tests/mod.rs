//! The client against servers in this process that behave, and that don't.

mod answers;
mod streams;
mod tls;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::Api;

/// What a bad server does with one connection, after it has read the request.
#[derive(Clone)]
pub(super) enum Does {
    /// Sends these bytes and hangs up.
    Says(Vec<u8>),
    /// Sends these bytes and says no more.
    Hangs(Vec<u8>),
    /// Sends the first bytes, then the second ones for ever.
    Babbles(Vec<u8>, Vec<u8>),
}

/// A server that does one thing per connection, the last one again and again.
pub(super) struct Server {
    directory: TempDir,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(super) fn that(script: Vec<Does>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let requests = Arc::new(Mutex::new(vec![]));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            let mut held = vec![];
            for turn in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                seen.lock().unwrap().push(request);
                match script.get(turn).or(script.last()).unwrap().clone() {
                    Does::Says(bytes) => stream.write_all(&bytes).await.unwrap(),
                    Does::Hangs(bytes) => {
                        stream.write_all(&bytes).await.unwrap();
                        held.push(stream);
                    }
                    Does::Babbles(head, body) => {
                        stream.write_all(&head).await.unwrap();
                        while stream.write_all(&body).await.is_ok() {}
                    }
                }
            }
        });
        Self { directory, requests }
    }

    pub(super) fn says(text: impl Into<Vec<u8>>) -> Self {
        Self::that(vec![Does::Says(text.into())])
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    pub(super) fn api(&self) -> Api {
        Api::local(self.socket())
    }

    /// The heads and bodies that were read, one per connection.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn read_request(stream: &mut UnixStream) -> String {
    let mut request = vec![];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.unwrap();
        assert_ne!(read, 0, "the client hung up in the middle of its request: {text}");
        request.extend_from_slice(&part[..read]);
    }
}

/// A whole HTTP answer.
pub(super) fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
