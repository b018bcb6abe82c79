//! What the system calls cost that name addresses.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use crate::life::{self, Asked};
use crate::settings;

/// Calls that are measured together: the clock isn't much faster than they are.
const BATCH: usize = 64;

/// Measures, says a line for each kind of call, in nanoseconds, and waits to be told to end.
pub(crate) fn measure(mut asked: Asked) -> io::Result<ExitCode> {
    let rounds: usize = settings::number("ROUNDS", 200)?;
    let port: u16 = settings::number("PORT", 7000)?;
    let side: u16 = settings::number("SIDE_PORT", 7001)?;
    let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let own = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    said("bind, a declared port", rounds, || bind(any(port)))?;
    said("bind, another port", rounds, || bind(any(side)))?;
    said("bind, any port", rounds, || bind(any(0)))?;
    let listener = TcpListener::bind(any(port))?;
    // Else its queue is full after some hundred.
    thread::spawn(move || while listener.accept().is_ok() {});
    said("connect a datagram socket to localhost", rounds, || {
        let socket = UdpSocket::bind(any(0))?;
        timed(|| socket.connect(own(side)))
    })?;
    said("connect to localhost and close", rounds, || timed(|| TcpStream::connect(own(port)).map(drop)))?;
    life::say("measured");
    asked.wait()?;
    Ok(ExitCode::SUCCESS)
}

/// Binds a socket, as `UdpSocket` makes one: what is measured is both.
fn bind(address: SocketAddr) -> io::Result<u128> {
    timed(|| UdpSocket::bind(address).map(drop))
}

fn timed(call: impl FnOnce() -> io::Result<()>) -> io::Result<u128> {
    let begun = Instant::now();
    call()?;
    Ok(begun.elapsed().as_nanos())
}

/// Says median and spread over the rounds, each the mean of a batch.
fn said(what: &str, rounds: usize, mut call: impl FnMut() -> io::Result<u128>) -> io::Result<()> {
    let mut means = vec![];
    for _ in 0..rounds {
        let mut sum = 0;
        for _ in 0..BATCH {
            sum += call()?;
        }
        means.push(sum / BATCH as u128);
    }
    means.sort_unstable();
    let at =
        |share: usize| means.get((means.len().saturating_sub(1)) * share / 100).copied().unwrap_or_default();
    life::say(&format!("{what}: {} ns [{}, {}]", at(50), at(10), at(90)));
    Ok(())
}
