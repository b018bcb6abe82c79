//! What a value may be.

use mill_model::limits;
use thiserror::Error;

/// Why bytes are no secret's value. Says nothing of the bytes but their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ValueError {
    /// Nothing to keep: a slip, most likely of a pipe.
    #[error("the value is empty")]
    Empty,
    /// More than is kept.
    #[error("a secret has at most {} KiB, this has {length} bytes", limits::SECRET_BYTES_MAX >> 10)]
    TooLong {
        /// Bytes given.
        length: usize,
    },
}

/// Checks a value before it is sealed.
///
/// # Errors
/// It is empty or too long.
pub const fn check(value: &[u8]) -> Result<(), ValueError> {
    match value.len() {
        0 => Err(ValueError::Empty),
        length if length > limits::SECRET_BYTES_MAX => Err(ValueError::TooLong { length }),
        _ => Ok(()),
    }
}
