//! What the environment asks for.

use std::env;
use std::io;
use std::str::FromStr;
use std::time::Duration;

/// A number from the environment.
///
/// # Errors
/// The variable is set and no number: a story with a typo must not pass by a default.
pub(crate) fn number<N: FromStr>(name: &str, default: N) -> io::Result<N> {
    match env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => text.parse().map_err(|_| io::Error::other(format!("${name} is no number: `{text}`"))),
    }
}

/// Milliseconds from the environment.
///
/// # Errors
/// As [`number`].
pub(crate) fn millis(name: &str, default: u64) -> io::Result<Duration> {
    number(name, default).map(Duration::from_millis)
}

/// A text from the environment.
pub(crate) fn text(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}
