//! How a story fails: with what was expected and what was seen.

use std::fmt;

/// What went wrong, in words. A story ends at its first.
#[derive(Debug)]
pub struct Failed(String);

impl Failed {
    /// A failure in these words.
    pub fn because(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

/// Says what was being done when an error came.
pub trait Context<T> {
    /// The value, or a failure `WHAT: ERROR`.
    ///
    /// # Errors
    /// The error, with `what` before it.
    fn or_fail(self, what: impl fmt::Display) -> Result<T, Failed>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    fn or_fail(self, what: impl fmt::Display) -> Result<T, Failed> {
        self.map_err(|error| Failed(format!("{what}: {error}")))
    }
}

impl<T> Context<T> for Option<T> {
    fn or_fail(self, what: impl fmt::Display) -> Result<T, Failed> {
        self.ok_or_else(|| Failed(what.to_string()))
    }
}

/// Fails with `what` and what was seen unless `holds`.
///
/// # Errors
/// It doesn't hold.
pub fn expect(holds: bool, what: &str, seen: impl fmt::Debug) -> Result<(), Failed> {
    match holds {
        true => Ok(()),
        false => Err(Failed(format!("expected: {what}\n    seen: {seen:#?}"))),
    }
}
