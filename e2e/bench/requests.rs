//! How many requests the API answers per second over the node's socket, beside the least that could answer on one: a
//! thread for each connection that writes the same bytes again, whatever it is asked.
//!
//! Over TLS a token has a rate of its own (`limits::TOKEN_REQUESTS_PER_SECOND`), far below what the server does: there is
//! nothing to be measured there that the limit doesn't say.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::api::{Connection, SOCKET};
use super::figures::{rates_beside, say};
use super::{load, times};
use crate::harness::failed::expect;
use crate::harness::{Context as _, Failed, World};

/// Clients that ask at the same time, each on a connection of its own.
const CLIENTS: [usize; 2] = [1, 16];
/// How long each side of a pair is measured.
const LASTS: Duration = Duration::from_millis(300);

const CONFIG: &str = r#"project "bench"
service "web" {
    image IMAGE(apps:1)
    command "sleeper"
    replicas 5
    cpu 0.1
    memory "32M"
}
"#;

pub(super) fn answered(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(CONFIG)?;
    world.settled("bench", "web", 5)?;
    say(&format!("requests to the API over the socket, five allocs ({})", load(world)))?;
    for path in ["/v1/status", "/v1/allocs", "/v1/services"] {
        let sample = Connection::open(Path::new(SOCKET))?.ask("GET", path)?;
        expect(sample.status == 200, "it answers", &sample)?;
        let bare = world.machine.folder.join(format!("bare{}.sock", path.replace('/', "-")));
        let listener = UnixListener::bind(&bare).or_fail("a bare socket")?;
        let body = sample.body.clone();
        thread::spawn(move || echo(&listener, &body));
        for clients in CLIENTS {
            let (mut rates, mut floors) = (vec![], vec![]);
            for _ in 0..times(&world.machine, 4, 25) {
                floors.push(rate(&bare, path, clients)?);
                rates.push(rate(Path::new(SOCKET), path, clients)?);
            }
            let what = format!("GET {path} ({} bytes), {clients} at a time", sample.body.len());
            rates_beside((&what, &rates), ("the same bytes from bare threads", &floors))?;
        }
    }
    world.mill.ok(&["undeploy", "bench", "--yes"]).map(drop)
}

/// Requests answered per second.
fn rate(socket: &Path, path: &str, clients: usize) -> Result<f64, Failed> {
    let connections: Result<Vec<Connection>, Failed> =
        (0..clients).map(|_| Connection::open(socket)).collect();
    let connections = connections?;
    let begun = Instant::now();
    let counts: Result<Vec<u32>, Failed> = thread::scope(|scope| {
        let users: Vec<_> = connections
            .into_iter()
            .map(|mut connection| scope.spawn(move || ask(&mut connection, path, begun)))
            .collect();
        users.into_iter().map(|user| user.join().map_err(|_| Failed::because("a client panicked"))?).collect()
    });
    let took = begun.elapsed();
    Ok(f64::from(counts?.iter().sum::<u32>()) / took.as_secs_f64())
}

fn ask(connection: &mut Connection, path: &str, begun: Instant) -> Result<u32, Failed> {
    let mut count = 0;
    while begun.elapsed() < LASTS {
        let answer = connection.ask("GET", path)?;
        expect(answer.status == 200, "it answers", &answer)?;
        count += 1;
    }
    Ok(count)
}

/// Answers every request with `body`. Ends with its process.
fn echo(listener: &UnixListener, body: &str) {
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    for stream in listener.incoming().flatten() {
        let answer = answer.clone();
        thread::spawn(move || answer_all(stream, &answer));
    }
}

fn answer_all(stream: UnixStream, answer: &str) {
    let Ok(mut out) = stream.try_clone() else { return };
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(line)) = lines.next() {
        // The empty line ends a request's head; none of them has a body.
        if line.is_empty() && out.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
