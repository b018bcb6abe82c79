//! Replicated writes through the whole of the daemon: socket, HTTP, log, disk, state, answer.
//!
//! What is written is the least that the API has: to cancel a deploy that has ended. It goes through the log like
//! every write, is on disk before it is answered, and is refused by the state machine, so that nothing comes of it
//! that would have to be told apart from the write itself.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::api::{Connection, SOCKET};
use super::figures::{rates_beside, say};
use super::{load, peers, times};
use crate::harness::failed::expect;
use crate::harness::json::Fields as _;
use crate::harness::{Context as _, Failed, World};

/// Users who write at the same time, each waiting for the answer to its last write.
const OUTSTANDING: [usize; 3] = [1, 16, 256];
/// How long each side of a pair is measured: short, because a shared disk changes its mind within seconds.
const LASTS: Duration = Duration::from_millis(300);
/// An entry of the log with its frame, rounded up.
const RECORD: usize = 64;

/// A service that runs nothing: its deploys only write.
const CONFIG: &str = r#"project "bench"
service "none" {
    image IMAGE(hello:v1)
    replicas 0
}
"#;

pub(super) fn through_the_api(world: &mut World) -> Result<(), Failed> {
    world.deploy_ok(CONFIG)?;
    let history = world.mill.json(&["history", "bench"])?;
    let path = format!("/v1/deploys/{}/cancel", history.number("/0/id")?);
    say(&format!("writes through the API, beside {RECORD} bytes written and synced ({})", load(world)))?;
    for outstanding in OUTSTANDING {
        let (mut rates, mut floors) = (vec![], vec![]);
        for _ in 0..times(&world.machine, 4, 25) {
            floors.push(peers::synced_writes(world.node.data(), RECORD, LASTS)?);
            let before = applied(world)?;
            let (count, took) = write(&path, outstanding)?;
            let after = applied(world)?;
            expect(after - before >= count, "each write is an entry of the log", (before, after, count))?;
            rates.push(f64::from(u32::try_from(count).or_fail("a count")?) / took.as_secs_f64());
        }
        let what = format!("{outstanding} outstanding");
        rates_beside((&what, &rates), ("bare writes and fdatasyncs", &floors))?;
    }
    Ok(())
}

/// Entries of the log that the node has applied.
fn applied(world: &World) -> Result<u64, Failed> {
    let actors = world.mill.json(&["actors"])?;
    let daemon = actors.at("/daemon")?;
    find(daemon, "daemon/raft")
        .and_then(|raft| raft.number("/observed/applied").ok())
        .or_fail("the log's actor")
}

fn find<'a>(actor: &'a Value, path: &str) -> Option<&'a Value> {
    let found = actor.is("/path", path).then_some(actor);
    found.or_else(|| actor.list("/children").ok()?.iter().find_map(|child| find(child, path)))
}

/// Has `outstanding` users write for as long as [`LASTS`]: how many writes were answered, and how long that took.
fn write(path: &str, outstanding: usize) -> Result<(u64, Duration), Failed> {
    let connections: Result<Vec<Connection>, Failed> =
        (0..outstanding).map(|_| Connection::open(Path::new(SOCKET))).collect();
    let connections = connections?;
    let begun = Instant::now();
    let counts: Result<Vec<u64>, Failed> = thread::scope(|scope| {
        let users: Vec<_> = connections
            .into_iter()
            .map(|mut connection| scope.spawn(move || write_alone(&mut connection, path, begun)))
            .collect();
        users.into_iter().map(|user| user.join().map_err(|_| Failed::because("a user panicked"))?).collect()
    });
    Ok((counts?.iter().sum(), begun.elapsed()))
}

fn write_alone(connection: &mut Connection, path: &str, begun: Instant) -> Result<u64, Failed> {
    let mut count = 0;
    while begun.elapsed() < LASTS {
        let answer = connection.ask("POST", path)?;
        expect(answer.status == 409, "the state machine refuses it", &answer)?;
        count += 1;
    }
    Ok(count)
}
