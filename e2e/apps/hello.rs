//! A small HTTP/1.1 server that obeys its stop signal the way product.md §3 asks of a program.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::checked;
use crate::life::{self, Asked};
use crate::settings;
use crate::tries;

/// How often an idle connection looks whether the program is ending.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest request head: a test client's are a few hundred bytes.
const HEAD_BYTES_MAX: u64 = 16 * 1024;

struct Server {
    begun: Instant,
    healthy_after: Option<Duration>,
    reply_after: Duration,
    draining: AtomicBool,
    open: AtomicUsize,
}

/// Serves until asked to end, then finishes what is in hand.
pub(crate) fn serve(asked: Asked) -> io::Result<ExitCode> {
    run(asked, Some(settings::millis("HEALTHY_AFTER_MS", 0)?))
}

/// Serves, but `/health` answers 503 for ever.
pub(crate) fn serve_never_healthy(asked: Asked) -> io::Result<ExitCode> {
    run(asked, None)
}

fn run(mut asked: Asked, healthy_after: Option<Duration>) -> io::Result<ExitCode> {
    let port: u16 = settings::number("BIND_PORT", settings::number("PORT", 8080)?)?;
    thread::sleep(settings::millis("START_AFTER_MS", 0)?);
    let more = settings::text("MORE_PORTS", "");
    let more =
        more.split(',').filter(|port| !port.is_empty()).map(|port| port.parse().map_err(io::Error::other));
    let ports = [Ok(port)].into_iter().chain(more).collect::<io::Result<Vec<u16>>>()?;
    let listeners = ports.iter().map(|port| listen(*port)).collect::<io::Result<Vec<_>>>()?;
    life::say(&format!("listening on {port}, version {}", settings::text("VERSION", "none")));
    let server = Arc::new(Server {
        begun: Instant::now(),
        healthy_after,
        reply_after: settings::millis("REPLY_AFTER_MS", 0)?,
        draining: AtomicBool::new(false),
        open: AtomicUsize::new(0),
    });
    for listener in listeners {
        let accepting = Arc::clone(&server);
        thread::spawn(move || accepting.accept(&listener));
    }
    asked.wait()?;
    life::say(&format!("asked to end at {}", life::unix_ms()));
    server.draining.store(true, Ordering::SeqCst);
    // the accepting threads sleep in accept(2); connections of our own wake them
    ports.iter().for_each(|port| drop(TcpStream::connect(("127.0.0.1", *port))));
    while server.open.load(Ordering::SeqCst) > 0 {
        thread::sleep(LOOK_EVERY);
    }
    life::say("drained");
    Ok(ExitCode::SUCCESS)
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("0.0.0.0", port))
        .map_err(|error| io::Error::new(error.kind(), format!("can't listen on port {port}: {error}")))
}

impl Server {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        while !self.draining.load(Ordering::SeqCst) {
            let Ok((connection, _)) = listener.accept() else { continue };
            self.open.fetch_add(1, Ordering::SeqCst);
            let server = Arc::clone(&self);
            thread::spawn(move || {
                // the client's going away is its own affair
                let _ = server.converse(connection);
                server.open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }

    /// Answers request after request on one connection.
    fn converse(&self, connection: TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(LOOK_EVERY))?;
        let mut answers = connection.try_clone()?;
        let mut requests = BufReader::new(connection);
        loop {
            if !self.wait_for_more(&mut requests)? {
                return Ok(());
            }
            let request = read_head(&mut requests)?;
            io::copy(&mut (&mut requests).take(request.body), &mut io::sink())?;
            let (status, text) = self.answer(&request.path);
            thread::sleep(self.reply_after);
            let last = request.last || self.draining.load(Ordering::SeqCst);
            let keep = if last { "close" } else { "keep-alive" };
            write!(
                answers,
                "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {keep}\r\n\r\n{text}",
                text.len()
            )?;
            if last {
                return Ok(());
            }
        }
    }

    /// Whether another request has begun; false when the client or the program is done.
    fn wait_for_more(&self, requests: &mut BufReader<TcpStream>) -> io::Result<bool> {
        loop {
            // Asked before looking: what had come by then is served, whenever this thread gets to it.
            let draining = self.draining.load(Ordering::SeqCst);
            match requests.fill_buf() {
                Ok(bytes) => return Ok(!bytes.is_empty()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if draining {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn answer(&self, path: &str) -> (&'static str, String) {
        match path {
            "/" => {
                ("200 OK", format!("hello from {} on {}\n", settings::text("VERSION", "none"), hostname()))
            }
            "/version" => ("200 OK", settings::text("VERSION", "none")),
            "/hostname" => ("200 OK", hostname()),
            "/health" => match self.healthy_after {
                Some(after) if self.begun.elapsed() >= after && !checked::is_ill() => {
                    ("200 OK", "healthy\n".to_owned())
                }
                _ => ("503 Service Unavailable", "not healthy\n".to_owned()),
            },
            _ if path.starts_with("/try/") => match path.strip_prefix("/try/").and_then(tries::answer) {
                Some(came) => ("200 OK", came),
                None => ("404 Not Found", String::new()),
            },
            _ => match told(path) {
                Some(value) => ("200 OK", value),
                None => ("404 Not Found", format!("nothing at {path}\n")),
            },
        }
    }
}

/// `/env/NAME`, a variable; `/file/PATH`, a file of text.
fn told(path: &str) -> Option<String> {
    let variable = path.strip_prefix("/env/").and_then(|name| std::env::var(name).ok());
    variable.or_else(|| std::fs::read_to_string(path.strip_prefix("/file")?).ok())
}

/// What is asked.
struct Request {
    /// The path without the query.
    path: String,
    /// Length of the body.
    body: u64,
    /// Whether the client wants the connection closed after the answer.
    last: bool,
}

/// Reads a request's head.
fn read_head(requests: &mut BufReader<TcpStream>) -> io::Result<Request> {
    let mut head = requests.take(HEAD_BYTES_MAX);
    let mut first = String::new();
    read_line(&mut head, &mut first)?;
    let target = first.split(' ').nth(1).unwrap_or("/");
    let path = target.split('?').next().unwrap_or(target).to_owned();
    let mut request = Request { path, body: 0, last: false };
    loop {
        let mut line = String::new();
        read_line(&mut head, &mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(request) };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => request.body = value.trim().parse().map_err(io::Error::other)?,
            "connection" => request.last = value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
}

/// Reads one line; a pause within a request is waited out.
fn read_line(head: &mut io::Take<&mut BufReader<TcpStream>>, line: &mut String) -> io::Result<()> {
    loop {
        match head.read_line(line) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}
