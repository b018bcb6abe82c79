//! An echo over UDP.

use std::io;
use std::net::UdpSocket;
use std::process::ExitCode;
use std::thread;

use crate::life::{self, Asked};
use crate::settings;

/// Answers until asked to end.
pub(crate) fn echo(mut asked: Asked) -> io::Result<ExitCode> {
    let port: u16 = settings::number("PORT", 8080)?;
    let socket = UdpSocket::bind(("0.0.0.0", port))?;
    life::say(&format!("listening on udp {port}"));
    thread::spawn(move || -> io::Result<()> {
        let mut datagram = vec![0; 64 * 1024];
        loop {
            let (length, from) = socket.recv_from(&mut datagram)?;
            if let Some(bytes) = datagram.get(..length) {
                socket.send_to(bytes, from)?;
            }
        }
    });
    asked.wait()?;
    Ok(ExitCode::SUCCESS)
}
