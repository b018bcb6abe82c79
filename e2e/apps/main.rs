//! The programs that run in test containers, in one static binary so that images stay small.
//!
//! The first argument, else `$APP`, picks one; its wishes come from the environment, so that a story changes
//! a program by changing its config. Nothing here knows Mill: they are what a user's programs might be.

use std::io;
use std::process::ExitCode;

mod checked;
mod hello;
mod life;
mod settings;
mod sockets;
mod tries;
mod udp;
mod works;

use life::Asked;

/// A program's name, what it is for, and its main function.
type Program = (&'static str, &'static str, fn(Asked) -> io::Result<ExitCode>);

const PROGRAMS: &[Program] = &[
    (
        "hello",
        "answers HTTP on $BIND_PORT, else $PORT, else 8080, and on $MORE_PORTS; /health unless it is ill",
        hello::serve,
    ),
    ("never-healthy", "hello, whose /health never succeeds", hello::serve_never_healthy),
    ("tcp", "accepts connections on $PORT unless it is ill", checked::accept),
    ("grpc-health", "serves gRPC's health protocol on $PORT, not serving while it is ill", checked::grpc),
    (
        "sockets",
        "measures what binding and connecting cost, says it, and sleeps until SIGTERM",
        sockets::measure,
    ),
    ("udp-echo", "sends back each datagram that reaches $PORT", udp::echo),
    ("exit", "ends after $AFTER_MS with $CODE, or by a signal if $HOW is `abort`", works::exit),
    ("hog", "takes $HOG_MB of memory after $AFTER_MS and keeps it", works::hog),
    ("chatter", "writes numbered lines to both outputs, $RATE a second, $COUNT at most", works::chatter),
    ("sleeper", "does nothing until SIGTERM", works::sleeper),
    ("stubborn", "does nothing, SIGTERM or not", works::stubborn),
];

fn main() -> ExitCode {
    let asked = std::env::args().nth(1).or_else(|| std::env::var("APP").ok()).unwrap_or_default();
    let Some((name, _, program)) = PROGRAMS.iter().find(|(name, ..)| *name == asked) else {
        life::complain(&format!("no program `{asked}`; there are:"));
        for (name, purpose, _) in PROGRAMS {
            life::complain(&format!("  {name}: {purpose}"));
        }
        return ExitCode::from(64);
    };
    let ended = Asked::listen().and_then(|asked| {
        life::say(&format!("{name} started at {}", life::unix_ms()));
        program(asked)
    });
    ended.unwrap_or_else(|error| {
        life::complain(&format!("{name}: {error}"));
        ExitCode::from(70)
    })
}
