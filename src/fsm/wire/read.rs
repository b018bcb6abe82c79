//! Reading of fields that must be there and make sense.

use std::time::Duration;

use mill_model::{SpecHash, Timestamp};

/// What is wrong with a message, by the field's name.
pub(crate) type Malformed = &'static str;

/// A message field that must be set.
pub(super) fn required<T>(field: Option<T>, name: Malformed) -> Result<T, Malformed> {
    field.ok_or(name)
}

/// A text that must be a name, an id or the like.
pub(super) fn text<T: std::str::FromStr>(text: &str, name: Malformed) -> Result<T, Malformed> {
    text.parse().map_err(|_| name)
}

/// A list of texts that must be names.
pub(super) fn texts<T: std::str::FromStr>(list: &[String], name: Malformed) -> Result<Vec<T>, Malformed> {
    list.iter().map(|item| text(item, name)).collect()
}

/// Each message of a list.
pub(super) fn each<A, B>(
    list: Vec<A>,
    read: impl Fn(A) -> Result<B, Malformed>,
) -> Result<Vec<B>, Malformed> {
    list.into_iter().map(read).collect()
}

pub(super) fn hash(bytes: &[u8]) -> Result<SpecHash, Malformed> {
    Ok(SpecHash(bytes.try_into().map_err(|_| "hash")?))
}

pub(super) fn port(number: u32) -> Result<std::num::NonZeroU16, Malformed> {
    u16::try_from(number).ok().and_then(|number| number.try_into().ok()).ok_or("port")
}

pub(super) const fn duration(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) const fn time(ms: u64) -> Timestamp {
    Timestamp(ms)
}
