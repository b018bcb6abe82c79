//! Values that were opened for one container, by name.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::hidden::Hidden;
use crate::secret::Pin;

/// What stands in a message where a value stood.
const COVER: &str = "(secret)";

/// A value that can't be what it is used for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unusable {
    /// The deploy pinned no such secret.
    #[error("`${{secret({name})}}` has no version that this was deployed with")]
    Unpinned {
        /// Its name.
        name: String,
    },
    /// In a variable, an argument or a path.
    #[error("the secret `{pin}` isn't text, and only a file can hold it")]
    NotText {
        /// Which.
        pin: Pin,
    },
    /// In a variable, an argument or a path: the kernel ends these at a NUL.
    #[error("the secret `{pin}` has a NUL in it, and only a file can hold it")]
    Nul {
        /// Which.
        pin: Pin,
    },
}

/// The values that one container runs with. Gone from memory when dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened(BTreeMap<String, (Pin, Hidden<Vec<u8>>)>);

impl FromIterator<(Pin, Hidden<Vec<u8>>)> for Opened {
    fn from_iter<I: IntoIterator<Item = (Pin, Hidden<Vec<u8>>)>>(values: I) -> Self {
        Self(values.into_iter().map(|(pin, value)| (pin.secret.name.to_string(), (pin, value))).collect())
    }
}

impl Opened {
    /// The value that `${secret(NAME)}` stands for.
    ///
    /// # Errors
    /// There is none, or it can't be part of a text.
    pub fn text(&self, name: &str) -> Result<&str, Unusable> {
        let (pin, value) = self.get(name)?;
        let text = str::from_utf8(value.expose()).map_err(|_| Unusable::NotText { pin: pin.clone() })?;
        match text.contains('\0') {
            true => Err(Unusable::Nul { pin: pin.clone() }),
            false => Ok(text),
        }
    }

    /// The value that a file holds.
    ///
    /// # Errors
    /// There is none.
    pub fn bytes(&self, name: &str) -> Result<&Hidden<Vec<u8>>, Unusable> {
        self.get(name).map(|(_, value)| value)
    }

    fn get(&self, name: &str) -> Result<&(Pin, Hidden<Vec<u8>>), Unusable> {
        self.0.get(name).ok_or_else(|| Unusable::Unpinned { name: name.to_owned() })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `message` without any of the values, the longest first. What a program or an address said may repeat them, and
    /// what is said of a container is replicated and shown.
    pub fn cover(&self, message: &str) -> String {
        let mut values: Vec<&str> =
            self.0.values().filter_map(|(_, value)| str::from_utf8(value.expose()).ok()).collect();
        // Most values come with the newline of the file that they were in; messages are about lines.
        values = values.into_iter().flat_map(|value| [value, value.trim()]).collect();
        values.retain(|value| !value.is_empty());
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        values.into_iter().fold(message.to_owned(), |message, value| message.replace(value, COVER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(values: &[(&str, &[u8])]) -> Opened {
        let pin = |name: &str| Pin { secret: name.parse().unwrap(), version: 3 };
        values.iter().map(|(name, value)| (pin(name), Hidden::new(value.to_vec()))).collect()
    }

    #[test]
    fn a_value_goes_where_it_can() {
        let opened = opened(&[("shop/word", b"hunter2"), ("bytes", &[0xFF, 1]), ("nul", b"a\0b")]);
        assert_eq!(opened.text("word"), Ok("hunter2"));
        let said = |name| opened.text(name).unwrap_err().to_string();
        assert_eq!(said("bytes"), "the secret `bytes v3` isn't text, and only a file can hold it");
        assert_eq!(said("nul"), "the secret `nul v3` has a NUL in it, and only a file can hold it");
        assert_eq!(said("other"), "`${secret(other)}` has no version that this was deployed with");
        assert_eq!(opened.bytes("bytes").unwrap().expose(), &[0xFF, 1]);
        assert!(opened.bytes("other").is_err());
        assert!(!format!("{opened:?}").contains("hunter2"));
    }

    #[test]
    fn a_message_is_covered_also_where_values_are_parts_of_each_other() {
        let opened = opened(&[("a", b"hunter"), ("b", b"hunter22\n"), ("c", b"\xFF")]);
        let message = "GET /?key=hunter22: hunter, not hunter21";
        assert_eq!(opened.cover(message), "GET /?key=(secret): (secret), not (secret)21");
        assert_eq!(Opened::default().cover(message), message);
    }
}
