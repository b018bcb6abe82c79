//! A registry that serves an OCI layout, and misbehaves as told.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use mill_model::ImageRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How it misbehaves.
#[derive(Debug, Default, Clone)]
pub(crate) struct Faults {
    /// Blob answers end after this many bytes, once per blob.
    pub(crate) cut_once: Option<usize>,
    /// Blob answers end after this many bytes, always.
    pub(crate) cut_always: Option<usize>,
    /// `Range` is ignored.
    pub(crate) no_ranges: bool,
    /// The last byte of each blob is another.
    pub(crate) corrupt: bool,
    /// Every answer has this status.
    pub(crate) status: Option<u16>,
    /// Blobs are begun and never ended.
    pub(crate) stall: bool,
    /// A token is wanted, and had at `/token`.
    pub(crate) token: bool,
    /// What a tag answers instead of the layout's manifest.
    pub(crate) index: Option<String>,
}

/// See the file's header.
pub(crate) struct Faulty {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    layout: PathBuf,
    faults: Faults,
    cut: BTreeSet<String>,
    requests: Vec<String>,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Faulty {
    /// Serves the image `v1` of a layout under any repository name.
    pub(crate) async fn start(layout: PathBuf, faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { layout, faults, cut: BTreeSet::new(), requests: vec![] };
        let state = Arc::new(Mutex::new(state));
        let task = tokio::spawn({
            let state = state.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, state.clone()));
                }
            }
        });
        Self { port, state, task }
    }

    pub(crate) fn image(&self) -> ImageRef {
        format!("127.0.0.1:{}/web:v1", self.port).parse().unwrap()
    }

    pub(crate) fn misbehave(&self, faults: Faults) {
        self.state.lock().unwrap().faults = faults;
    }

    /// What was asked since the last time: `GET /v2/… range`.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
    announced: usize,
    stall: bool,
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let answer = state.lock().unwrap().answer(&head);
        let text = format!(
            "HTTP/1.1 {} X\r\ncontent-length: {}\r\n{}\r\n",
            answer.status, answer.announced, answer.headers
        );
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        if head.starts_with("HEAD") {
            continue;
        }
        if stream.write_all(&answer.body).await.is_err() {
            return;
        }
        if answer.stall {
            std::future::pending::<()>().await;
        }
        if answer.body.len() < answer.announced {
            return;
        }
    }
}

impl State {
    fn answer(&mut self, head: &str) -> Answer {
        let mut words = head.split_whitespace();
        let (method, path) = (words.next().unwrap(), words.next().unwrap().to_owned());
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let range = header("range");
        self.requests
            .push(format!("{method} {path} {}", range.clone().unwrap_or_default()).trim().to_owned());
        let plain = |status, headers: String, body: Vec<u8>| {
            let announced = body.len();
            Answer { status, headers, body, announced, stall: false }
        };
        if path.starts_with("/token") {
            return plain(200, String::new(), br#"{"token":"open sesame"}"#.to_vec());
        }
        if self.faults.token && header("authorization").as_deref() != Some("Bearer open sesame") {
            let host = header("host").unwrap();
            let challenge =
                format!("www-authenticate: Bearer realm=\"http://{host}/token\",service=\"test\"\r\n");
            return plain(401, challenge, vec![]);
        }
        if let Some(status) = self.faults.status {
            return plain(status, String::new(), vec![]);
        }
        match path.rsplit_once('/') {
            Some((_, "v1")) => match self.faults.index.clone() {
                Some(index) => plain(200, String::new(), index.into_bytes()),
                None => plain(200, String::new(), self.blob(&manifest_digest(&self.layout)).unwrap()),
            },
            Some((before, digest)) => match self.blob(digest) {
                Some(body) if before.ends_with("/blobs") => self.blob_answer(digest, body, range.as_deref()),
                Some(body) => plain(200, String::new(), body),
                None => plain(404, String::new(), vec![]),
            },
            None => plain(404, String::new(), vec![]),
        }
    }

    fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        std::fs::read(self.layout.join("blobs").join(digest.replace(':', "/"))).ok()
    }

    fn blob_answer(&mut self, digest: &str, mut body: Vec<u8>, range: Option<&str>) -> Answer {
        if self.faults.corrupt {
            *body.last_mut().unwrap() ^= 1;
        }
        let from =
            range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let (status, mut body) = match from.filter(|_| !self.faults.no_ranges) {
            Some(from) => (206, body.split_off(from)),
            None => (200, body),
        };
        let announced = body.len();
        let once = self.faults.cut_once.filter(|_| self.cut.insert(digest.to_owned()));
        if let Some(cut) = once.or(self.faults.cut_always) {
            body.truncate(cut);
        }
        if self.faults.stall {
            body.truncate(announced / 2);
        }
        Answer { status, headers: String::new(), body, announced, stall: self.faults.stall }
    }
}

/// The digest of the layout's only image.
pub(crate) fn manifest_digest(layout: &std::path::Path) -> String {
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}
