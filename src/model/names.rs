//! Names and ids. Each kind is a type of its own, so that one can't stand where another belongs.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name can't be empty")]
    Empty,
    /// Longer than a DNS label leaves room for.
    #[error("a name has at most {} characters, this has {length}", limits::NAME_LENGTH_MAX)]
    TooLong {
        /// Characters given.
        length: usize,
    },
    /// A character that a DNS label can't carry.
    #[error("a name has only lower-case letters, digits and `-`, not `{character}`")]
    Character {
        /// The first offender.
        character: char,
    },
    /// Starts or ends with a dash.
    #[error("a name starts and ends with a letter or digit")]
    Border,
}

/// Checks that `text` is a DNS label (RFC 1123 §2.1, lower case only), short enough to carry a suffix.
///
/// # Errors
/// The first rule that the text breaks.
pub fn check_label(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(character) = text.chars().find(|&c| !allowed(c)) {
        return Err(NameError::Character { character });
    }
    if text.len() > limits::NAME_LENGTH_MAX {
        return Err(NameError::TooLong { length: text.len() });
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::Border);
    }
    Ok(())
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes a text that is a DNS label.
            ///
            /// # Errors
            /// The rule that the text breaks.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check_label(&text)?;
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

label! {
    /// What one config file describes.
    ProjectName
}
label! {
    /// A service or a task within its project; the two share one set of names.
    WorkloadName
}
label! {
    /// What people call a machine.
    NodeName
}
label! {
    /// A declared port within its service. A port without a name is called by its number.
    PortName
}
label! {
    /// A volume within its project.
    VolumeName
}
label! {
    /// What people call a token. Of the cluster's tokens no two have one.
    TokenName
}

/// A service or task, named across projects: `shop/web`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    /// The project it belongs to.
    pub project: ProjectName,
    /// Its name there.
    pub name: WorkloadName,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.name)
    }
}

/// One placed instance of a service or task: `web-7k2f`. Unique in the cluster, never reused while listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AllocId(String);

impl AllocId {
    /// Letters and digits of the random part: none that look alike (no `0 o 1 l i`).
    pub const ALPHABET: &'static [u8; 31] = b"23456789abcdefghjkmnpqrstuvwxyz";
    /// Length of the random part: 31⁴ ≈ 920,000 per workload name, and the state machine refuses a duplicate.
    pub const SUFFIX_LENGTH: usize = 4;

    /// The id of an instance of `workload`, its random part drawn from `random`.
    pub fn derive(workload: &WorkloadName, mut random: u64) -> Self {
        let mut text = String::with_capacity(workload.as_str().len() + 1 + Self::SUFFIX_LENGTH);
        text.push_str(workload.as_str());
        text.push('-');
        for _ in 0..Self::SUFFIX_LENGTH {
            let base = Self::ALPHABET.len() as u64;
            let index = usize::try_from(random % base).unwrap_or_default();
            text.push(char::from(Self::ALPHABET[index]));
            random /= base;
        }
        Self(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AllocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for AllocId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        // The suffix may take an id past a name's length; its head is a name, and so is its tail.
        let (head, tail) = text.rsplit_once('-').ok_or(NameError::Empty)?;
        check_label(head)?;
        check_label(tail)?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for AllocId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<AllocId> for String {
    fn from(id: AllocId) -> Self {
        id.0
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A machine, for ever: ids are never reused. Also its id in Raft.
    NodeId(u64)
}
number! {
    /// One attempt to bring a project to a new config; counted over the whole cluster.
    DeployId(u64)
}
number! {
    /// A token, for ever: a revoked one's number isn't given again, so that what it did stays its own.
    TokenId(u64)
}
number! {
    /// One run of an alloc's container. Only its node counts it up; its end is final.
    Incarnation(u32)
}
number! {
    /// A leader's reign. A node refuses orders of an older one.
    Term(u64)
}

/// The hash of everything that a running container depends on: equal hashes need no restart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpecHash(pub [u8; 32]);

/// Why a text is no hash.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a spec hash has 64 hexadecimal digits")]
pub struct HashError;

impl SpecHash {
    /// The first twelve digits: enough to tell versions apart for a person.
    pub fn short(&self) -> String {
        hex(&self.0[..6])
    }
}

impl fmt::Display for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpecHash({})", self.short())
    }
}

impl FromStr for SpecHash {
    type Err = HashError;
    fn from_str(text: &str) -> Result<Self, HashError> {
        let bytes = unhex(text).ok_or(HashError)?;
        Ok(Self(bytes.try_into().map_err(|_| HashError)?))
    }
}

impl TryFrom<String> for SpecHash {
    type Error = HashError;
    fn try_from(text: String) -> Result<Self, HashError> {
        text.parse()
    }
}

impl From<SpecHash> for String {
    fn from(hash: SpecHash) -> Self {
        hash.to_string()
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits?;
    if digits.len() % 2 != 0 {
        return None;
    }
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "web", "web-2", "7", &"x".repeat(limits::NAME_LENGTH_MAX)] {
            assert_eq!(check_label(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", NameError::Empty),
            ("Web", NameError::Character { character: 'W' }),
            ("a_b", NameError::Character { character: '_' }),
            ("é", NameError::Character { character: 'é' }),
            ("-a", NameError::Border),
            ("a-", NameError::Border),
            (&"x".repeat(41), NameError::TooLong { length: 41 }),
        ] {
            assert_eq!(check_label(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn an_alloc_id_reads_back_what_it_prints() {
        let name = WorkloadName::new("x".repeat(limits::NAME_LENGTH_MAX)).unwrap();
        for random in [0, 1, 31, 923_520, u64::MAX] {
            let id = AllocId::derive(&name, random);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!("web".parse::<AllocId>().is_err());
        assert!("../x-a".parse::<AllocId>().is_err());
    }

    #[test]
    fn a_hash_reads_back_what_it_prints() {
        let hash = SpecHash(std::array::from_fn(|i| u8::try_from(i * 7).unwrap()));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert!("abc".parse::<SpecHash>().is_err());
        assert!("zz".repeat(32).parse::<SpecHash>().is_err());
    }
}
