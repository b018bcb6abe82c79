//! Beginning, talking and ending: what all programs share.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{SystemTime, UNIX_EPOCH};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// A line on stdout. A reader that went away is no reason to die.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// A line on stderr.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Milliseconds since 1970: stories compare them across containers.
pub(crate) fn unix_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

/// Tells when the program is asked to end.
pub(crate) struct Asked(UnixStream);

impl Asked {
    /// From now on SIGTERM and SIGINT only wake [`Asked::wait`]. The first process of a container has no
    /// default action for them, so a program that doesn't do this can't be asked at all.
    pub(crate) fn listen() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        pipe::register(SIGTERM, write.try_clone()?)?;
        pipe::register(SIGINT, write)?;
        Ok(Self(read))
    }

    /// Blocks until the next such signal.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        self.0.read_exact(&mut [0])
    }
}
