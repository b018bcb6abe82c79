//! A registry that misbehaves: Debian's, behind a proxy that spoils what it is told to. What it does to an image is told
//! by the image's repository, so that many go wrong side by side.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::until::let_pass;
use super::{Context as _, Failed};

/// Longest wait for the registry behind it: it is on this machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two parts of a slow answer.
const PART_EVERY: Duration = Duration::from_millis(100);

/// What a registry does to an image's repository.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Breaks off each blob at this byte, whatever it announced.
    Breaks(usize),
    /// Gives of each blob this many bytes, and announces no more.
    Truncates(usize),
    /// Gives blobs whose last byte is another.
    LiesOfBlobs,
    /// Gives manifests that aren't those that were asked for.
    LiesOfManifests,
    /// Answers requests for blobs with this status.
    Status(u16),
    /// Answers everything with this status, so many times; then it is well.
    StatusAtFirst(u16, u32),
    /// Sends who asks for blobs to an address.
    Redirects(String),
    /// Sends blobs at so many bytes a second.
    Slow(usize),
    /// Goes silent once in the middle of a blob, for so long, and never ends that answer.
    Stalls(Duration),
}

/// A running one. Dropping it ends it.
pub struct FaultyRegistry {
    shared: Arc<Shared>,
    at: SocketAddr,
    acceptor: Option<thread::JoinHandle<()>>,
}

struct Shared {
    to: SocketAddr,
    over: AtomicBool,
    faults: Mutex<BTreeMap<String, Fault>>,
}

impl FaultyRegistry {
    /// One at `at` in front of the registry at `to`.
    ///
    /// # Errors
    /// `at` is in use.
    pub fn start(at: SocketAddr, to: SocketAddr) -> Result<Self, Failed> {
        let shared = Arc::new(Shared { to, over: AtomicBool::new(false), faults: Mutex::default() });
        let listener = TcpListener::bind(at).or_fail(format_args!("a registry at {at}"))?;
        let at = listener.local_addr().or_fail("a registry's address")?;
        let accepting = Arc::clone(&shared);
        let acceptor = thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                let shared = Arc::clone(&accepting);
                // A client that goes away, as one does that has seen enough, is no failure.
                thread::spawn(move || shared.answer(client));
            }
        });
        Ok(Self { shared, at, acceptor: Some(acceptor) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.at
    }

    /// From now on this happens to `repository`.
    pub fn spoil(&self, repository: &str, fault: Fault) {
        self.shared.faults().insert(repository.to_owned(), fault);
    }

    /// All is well again.
    pub fn mend(&self) {
        self.shared.faults().clear();
    }
}

impl Drop for FaultyRegistry {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.at);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// A request, as far as it matters here.
struct Request {
    /// Its lines, as they came.
    head: Vec<String>,
    /// `/v2/REPOSITORY/…`
    path: String,
    /// From which byte on a blob is wanted.
    from: usize,
}

/// What the registry answered.
struct Answer {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Shared {
    fn faults(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be done about a request; what happens a number of times has happened once more.
    fn fault(&self, request: &Request) -> Option<Fault> {
        let mut faults = self.faults();
        let repository = request.path.strip_prefix("/v2/")?.split('/').next()?;
        let fault = faults.get(repository)?.clone();
        let is_of_blob = request.path.contains("/blobs/");
        match &fault {
            Fault::StatusAtFirst(_, 0) => return None,
            Fault::StatusAtFirst(status, left) => {
                faults.insert(repository.to_owned(), Fault::StatusAtFirst(*status, left - 1));
            }
            Fault::LiesOfManifests => return request.path.contains("/manifests/sha256:").then_some(fault),
            Fault::Stalls(_) if is_of_blob => drop(faults.remove(repository)),
            _ => {}
        }
        (is_of_blob || matches!(fault, Fault::StatusAtFirst(..))).then_some(fault)
    }

    fn answer(&self, client: TcpStream) -> Result<(), Failed> {
        let mut client = client;
        let request = Request::read(&client)?;
        let fault = self.fault(&request);
        let status =
            |status: u16| format!("HTTP/1.1 {status} Spoilt\r\nContent-Length: 0\r\nConnection: close\r\n");
        let bare = match &fault {
            Some(Fault::Status(code) | Fault::StatusAtFirst(code, _)) => Some(status(*code)),
            Some(Fault::Redirects(to)) => Some(format!("{}Location: {to}\r\n", status(307))),
            _ => None,
        };
        if let Some(head) = bare {
            return client.write_all(format!("{head}\r\n").as_bytes()).or_fail("a client");
        }
        let answer = self.ask(&request)?;
        match fault {
            None | Some(Fault::Status(_) | Fault::StatusAtFirst(..) | Fault::Redirects(_)) => {
                answer.send(&mut client)
            }
            Some(fault) => answer.spoilt(&fault, request.from, &mut client),
        }
    }

    fn ask(&self, request: &Request) -> Result<Answer, Failed> {
        let mut server = TcpStream::connect(self.to).or_fail("the registry")?;
        server.set_read_timeout(Some(PATIENCE)).or_fail("the registry")?;
        let head = request.head.iter().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        let head: String = head.map(|line| format!("{line}\r\n")).collect();
        server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).or_fail("the registry")?;
        let mut bytes = vec![];
        server.read_to_end(&mut bytes).or_fail("the registry")?;
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").or_fail("an answer's head")?;
        let body = bytes.split_off(end + 4);
        let head = String::from_utf8_lossy(&bytes).trim_end().lines().map(str::to_owned).collect();
        Ok(Answer { head, body })
    }
}

impl Request {
    fn read(client: &TcpStream) -> Result<Self, Failed> {
        client.set_read_timeout(Some(PATIENCE)).or_fail("a client")?;
        let mut head = vec![];
        for line in BufReader::new(client).lines() {
            let line = line.or_fail("a client")?;
            if line.is_empty() {
                break;
            }
            head.push(line);
        }
        let path = head.first().and_then(|line| line.split(' ').nth(1)).or_fail("a request")?.to_owned();
        let range = head.iter().find_map(|line| {
            let line = line.to_ascii_lowercase();
            line.strip_prefix("range: bytes=")?.split('-').next()?.parse().ok()
        });
        Ok(Self { head, path, from: range.unwrap_or_default() })
    }
}

impl Answer {
    fn send(&self, client: &mut TcpStream) -> Result<(), Failed> {
        self.send_head(self.head.clone(), client)?;
        client.write_all(&self.body).or_fail("a client")
    }

    fn send_head(&self, head: Vec<String>, client: &mut TcpStream) -> Result<(), Failed> {
        let head: String = head.into_iter().map(|line| format!("{line}\r\n")).collect();
        client.write_all(format!("{head}\r\n").as_bytes()).or_fail("a client")
    }

    /// Sends it, spoilt; its body begins at byte `from` of the blob.
    fn spoilt(mut self, fault: &Fault, from: usize, client: &mut TcpStream) -> Result<(), Failed> {
        let first =
            |at: usize| self.body.get(..at.saturating_sub(from).min(self.body.len())).unwrap_or_default();
        match fault {
            Fault::Breaks(at) => {
                self.send_head(self.head.clone(), client)?;
                client.write_all(first(*at)).or_fail("a client")
            }
            Fault::Truncates(at) => {
                let body = first(*at).to_vec();
                let length = |line: &String| line.to_ascii_lowercase().starts_with("content-length:");
                let mut head: Vec<String> = self.head.iter().filter(|line| !length(line)).cloned().collect();
                head.push(format!("Content-Length: {}", body.len()));
                Self { head, body }.send(client)
            }
            Fault::LiesOfBlobs | Fault::LiesOfManifests => {
                if let Some(last) = self.body.last_mut() {
                    // A manifest ends with a brace: a blank keeps it one.
                    *last = if matches!(fault, Fault::LiesOfBlobs) { !*last } else { b' ' };
                }
                self.send(client)
            }
            Fault::Slow(bytes_per_second) => {
                self.send_head(self.head.clone(), client)?;
                let part = bytes_per_second / 10;
                self.body.chunks(part.max(1)).try_for_each(|part| {
                    let_pass(PART_EVERY);
                    client.write_all(part).or_fail("a client")
                })
            }
            Fault::Stalls(time) => {
                self.send_head(self.head.clone(), client)?;
                client.write_all(first(from + self.body.len() / 2)).or_fail("a client")?;
                let_pass(*time);
                Ok(())
            }
            Fault::Status(_) | Fault::StatusAtFirst(..) | Fault::Redirects(_) => self.send(client),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::http;

    /// A registry of one blob.
    fn registry() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                Request::read(&client).unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789").unwrap();
            }
        });
        at
    }

    #[test]
    fn each_fault_does_what_it_says_to_its_repository_and_to_no_other() {
        let faulty = FaultyRegistry::start("127.0.0.1:0".parse().unwrap(), registry()).unwrap();
        let blob =
            |repository: &str| http::get(faulty.address(), &format!("/v2/{repository}/blobs/sha256:1"));
        for (fault, status, body) in [
            (Fault::Truncates(4), 200, "0123"),
            (Fault::Breaks(4), 200, "0123"),
            (Fault::Status(500), 500, ""),
            (Fault::Redirects("http://127.0.0.1:1/".to_owned()), 307, ""),
            (Fault::Slow(100), 200, "0123456789"),
            (Fault::Stalls(Duration::from_millis(1)), 200, "01234"),
        ] {
            faulty.spoil("bad", fault.clone());
            let answer = blob("bad").unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (status, body), "{fault:?}");
            assert_eq!(blob("good").unwrap().body, "0123456789");
        }
        assert_eq!(blob("bad").unwrap().body, "0123456789", "it stalls once");
        faulty.spoil("bad", Fault::LiesOfBlobs);
        assert_ne!(blob("bad").unwrap().body, "0123456789");
        faulty.spoil("bad", Fault::StatusAtFirst(429, 1));
        assert_eq!(blob("bad").unwrap().status, 429);
        assert_eq!(blob("bad").unwrap().status, 200);
        faulty.mend();
    }
}
