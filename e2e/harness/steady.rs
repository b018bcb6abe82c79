//! Clients that ask for as long as a story wants, and note each time that they weren't answered.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::failed::expect;
use super::until::let_pass;
use super::world::endpoint;
use super::{Context as _, Failed, http};

/// Pause between two requests of one client: often enough that a gap of a tenth of a second is seen.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Failures that are kept in words.
const KEPT_MAX: usize = 5;

/// One client; it stops with its value.
pub struct Steady {
    what: String,
    over: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Steady {
    /// Asks again and again. What is asked keeps what it needs from one time to the next.
    pub fn asks(what: &str, mut ask: impl FnMut() -> Result<(), Failed> + Send + 'static) -> Self {
        let (over, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let failed = Arc::<Mutex<Vec<String>>>::default();
        let (told, count, kept) = (Arc::clone(&over), Arc::clone(&asked), Arc::clone(&failed));
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                if let Err(error) = ask() {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() < KEPT_MAX {
                        kept.push(error.to_string());
                    }
                }
                count.fetch_add(1, Ordering::Relaxed);
                let_pass(PAUSE);
            }
        });
        Self { what: what.to_owned(), over, asked, failed, thread: Some(thread) }
    }

    /// `GET path`, a connection each.
    pub fn http(at: SocketAddr, path: &'static str, body: &'static str) -> Self {
        Self::asks(&format!("GET {at}{path}"), move || {
            let answer = http::get(at, path)?;
            expect(answer.status == 200 && answer.body == body, "the service answers", &answer)
        })
    }

    /// The same of each of these allocs.
    ///
    /// # Errors
    /// One isn't reached anywhere.
    pub fn each(allocs: &[Value], path: &'static str, body: &'static str) -> Result<Vec<Self>, Failed> {
        allocs.iter().map(|alloc| Ok(Self::http(endpoint(alloc)?, path, body))).collect()
    }

    /// Sends `line` and waits for the answer `wanted`, over one connection for all its life.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn line(at: SocketAddr, line: &'static str, wanted: &'static str) -> Result<Self, Failed> {
        let mut connection = Kept::connect(at)?;
        Ok(Self::asks(&format!("{line} to {at} over one connection"), move || {
            let answer = connection.ask(line)?;
            expect(answer == wanted, "it answers over the connection that it has", &answer)
        }))
    }

    /// The same, a connection each.
    pub fn lines(at: SocketAddr, line: &'static str, wanted: &'static str) -> Self {
        Self::asks(&format!("{line} to {at}"), move || {
            let answer = Kept::connect(at)?.ask(line)?;
            expect(answer == wanted, "it answers", &answer)
        })
    }

    /// That every request so far was answered.
    ///
    /// # Errors
    /// One wasn't, or none was made: says what came instead.
    pub fn all_answered(&self) -> Result<(), Failed> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        expect(failed.is_empty(), &format!("each is answered: {}", self.what), &failed)?;
        expect(self.asked.load(Ordering::Relaxed) > 0, &format!("it asks: {}", self.what), ())
    }

    /// How often it asked.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A connection on which lines are asked and answered.
struct Kept {
    write: TcpStream,
    read: BufReader<TcpStream>,
}

impl Kept {
    fn connect(at: SocketAddr) -> Result<Self, Failed> {
        let write = TcpStream::connect_timeout(&at, PATIENCE).or_fail(at)?;
        write.set_read_timeout(Some(PATIENCE)).or_fail(at)?;
        let read = BufReader::new(write.try_clone().or_fail(at)?);
        Ok(Self { write, read })
    }

    fn ask(&mut self, line: &str) -> Result<String, Failed> {
        self.write.write_all(format!("{line}\r\n").as_bytes()).or_fail(line)?;
        let mut answer = String::new();
        self.read.by_ref().take(1024).read_line(&mut answer).or_fail(line)?;
        Ok(answer.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_client_that_is_not_answered_once_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (connection, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(connection.try_clone().unwrap());
            for _ in 0..3 {
                lines.read_line(&mut String::new()).unwrap();
                (&connection).write_all(b"+PONG\r\n").unwrap();
            }
        });
        let steady = Steady::line(at, "PING", "+PONG").unwrap();
        while steady.asked() < 2 {
            thread::yield_now();
        }
        steady.all_answered().unwrap();
        server.join().unwrap();
        while steady.asked() < 4 {
            thread::yield_now();
        }
        assert!(steady.all_answered().unwrap_err().to_string().contains("PING"));
    }
}
