//! A line to a registry: slow, and gone when told. It counts what goes over it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::until::let_pass;
use super::{Context as _, Failed};

/// Bytes that go over a connection at once, and then a pause.
const STEP_BYTES: usize = 32 << 10;

/// A line to a port of this machine. Dropping it cuts it.
pub struct SlowLine {
    at: SocketAddr,
    to: SocketAddr,
    pause: Duration,
    sent: Arc<AtomicU64>,
    served: Option<Served>,
}

/// A line while it is there.
struct Served {
    over: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    acceptor: thread::JoinHandle<()>,
}

impl SlowLine {
    /// A line from `at` to `to` that lets so many bytes a second through to the client, for each connection.
    ///
    /// # Errors
    /// `at` is in use.
    pub fn start(at: SocketAddr, to: SocketAddr, bytes_per_second: u32) -> Result<Self, Failed> {
        let pause = Duration::from_secs(1) * u32::try_from(STEP_BYTES).or_fail("a step")? / bytes_per_second;
        let mut line = Self { at, to, pause, sent: Arc::default(), served: None };
        line.mend()?;
        Ok(line)
    }

    /// Where it begins.
    pub const fn address(&self) -> SocketAddr {
        self.at
    }

    /// Bytes that went to clients so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Nobody listens any more, and all connections break.
    pub fn cut(&mut self) {
        let Some(Served { over, streams, acceptor }) = self.served.take() else { return };
        over.store(true, Ordering::SeqCst);
        // Wakes it from its wait for a client.
        let _ = TcpStream::connect(self.at);
        let _ = acceptor.join();
        for stream in streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// It is there again.
    ///
    /// # Errors
    /// Its address is in use.
    pub fn mend(&mut self) -> Result<(), Failed> {
        let listener = TcpListener::bind(self.at).or_fail(format_args!("a line at {}", self.at))?;
        let (over, streams) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<TcpStream>>>::default());
        let (told, kept) = (Arc::clone(&over), Arc::clone(&streams));
        let (to, pause, sent) = (self.to, self.pause, Arc::clone(&self.sent));
        let acceptor = thread::spawn(move || {
            for client in listener.incoming() {
                if told.load(Ordering::SeqCst) {
                    return;
                }
                let Ok((client, server)) = client.and_then(|client| Ok((client, TcpStream::connect(to)?)))
                else {
                    continue;
                };
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend([&client, &server].into_iter().filter_map(|stream| stream.try_clone().ok()));
                relay(client, server, pause, &sent);
            }
        });
        self.served = Some(Served { over, streams, acceptor });
        Ok(())
    }
}

impl Drop for SlowLine {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Carries both ways until either side ends; slowly towards the client.
fn relay(client: TcpStream, server: TcpStream, pause: Duration, sent: &Arc<AtomicU64>) {
    let (Ok(mut up_from), Ok(mut up_to)) = (client.try_clone(), server.try_clone()) else { return };
    thread::spawn(move || {
        let _ = std::io::copy(&mut up_from, &mut up_to);
        let _ = up_to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to, sent) = (server, client, Arc::clone(sent));
    thread::spawn(move || {
        let mut buffer = vec![0; STEP_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if to.write_all(buffer.get(..count).unwrap_or_default()).is_err() {
                break;
            }
            sent.fetch_add(count as u64, Ordering::Relaxed);
            // Headers and small documents take no time.
            if count > STEP_BYTES / 8 {
                let share = u32::try_from(count).unwrap_or(u32::MAX);
                let_pass(pause * share / u32::try_from(STEP_BYTES).unwrap_or(u32::MAX));
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
