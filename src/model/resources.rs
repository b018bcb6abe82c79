//! What a container reserves, which is also what it can't exceed.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Thousandths of a core.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Millicores(pub u32);

/// A number of bytes.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// Reservation and ceiling at once (product.md §2): what is promised is what can be used.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Resources {
    /// Processor time.
    pub cpu: Millicores,
    /// Memory.
    pub memory: Bytes,
}

impl Resources {
    /// Whether `wanted` fits into this.
    pub fn holds(&self, wanted: &Self) -> bool {
        wanted.cpu <= self.cpu && wanted.memory <= self.memory
    }

    /// The sum, at most the largest number.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu: Millicores(self.cpu.0.saturating_add(other.cpu.0)),
            memory: Bytes(self.memory.0.saturating_add(other.memory.0)),
        }
    }

    /// What is left, at least nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            cpu: Millicores(self.cpu.0.saturating_sub(other.cpu.0)),
            memory: Bytes(self.memory.0.saturating_sub(other.memory.0)),
        }
    }
}

impl fmt::Display for Millicores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&(f64::from(self.0) / 1000.0).to_string())
    }
}

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SizeError {
    /// Not a number with a unit.
    #[error("a size is a whole number with a unit: \"512M\", \"2G\" (K, M, G, T, 1024-based)")]
    Form,
    /// More than 64 bits hold.
    #[error("a size this large can't be meant")]
    TooLarge,
}

const UNITS: [(&str, u32); 4] = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];

impl FromStr for Bytes {
    type Err = SizeError;

    /// `512M`, `512Mi`, `1G`, `4096`: units are 1024-based, with or without the `i`.
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = text.strip_prefix(digits).unwrap_or_default();
        let number: u64 = match digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            true => return Err(SizeError::Form),
            false => digits.parse().map_err(|_| SizeError::TooLarge)?,
        };
        let unit = unit.strip_suffix('i').filter(|unit| !unit.is_empty()).unwrap_or(unit);
        let shift = match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, shift)) => *shift,
            None if unit.is_empty() => 0,
            None => return Err(SizeError::Form),
        };
        number.checked_mul(1 << shift).map(Self).ok_or(SizeError::TooLarge)
    }
}

impl fmt::Display for Bytes {
    /// The largest unit that leaves a whole number, so that what is printed reads back the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |shift: u32| self.0 != 0 && self.0.trailing_zeros() >= shift;
        match UNITS.iter().find(|(_, shift)| whole(*shift)) {
            Some((name, shift)) => f.pad(&format!("{}{name}", self.0 >> shift)),
            None => f.pad(&self.0.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_1024_based_with_or_without_the_i() {
        for (text, bytes) in [
            ("512M", 512 << 20),
            ("512Mi", 512 << 20),
            ("1G", 1 << 30),
            ("2T", 2 << 40),
            ("7K", 7168),
            ("4096", 4096),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for bad in ["", "M", "1.5G", "-1M", "1 G", "1MB", "1i", "i", "1m", "１M"] {
            assert_eq!(bad.parse::<Bytes>(), Err(SizeError::Form), "{bad}");
        }
        assert_eq!("99999999T".parse::<Bytes>(), Err(SizeError::TooLarge));
        assert_eq!("99999999999999999999".parse::<Bytes>(), Err(SizeError::TooLarge));
    }

    #[test]
    fn a_size_reads_back_what_it_prints() {
        for bytes in [0, 1, 1023, 1024, 1536, 512 << 20, (1 << 30) + 1, u64::MAX] {
            assert_eq!(Bytes(bytes).to_string().parse(), Ok(Bytes(bytes)));
        }
    }

    #[test]
    fn cores_print_as_people_write_them() {
        for (millis, text) in [(250, "0.25"), (1000, "1"), (1500, "1.5"), (1, "0.001"), (100, "0.1")] {
            assert_eq!(Millicores(millis).to_string(), text);
        }
    }
}
