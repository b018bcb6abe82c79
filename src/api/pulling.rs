//! How far a node is with fetching an image: in a deploy's progress, and of an alloc that waits for it.

use std::fmt;

use mill_model::Digest;
use mill_model::text::transfer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a node is with fetching an image. Bytes are those that go over the network: compressed ones.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pulling {
    /// Bytes there so far.
    pub bytes_done: u64,
    /// All bytes; 0 while not known.
    pub bytes_total: u64,
    /// Its layers, the lowest first; none while not known.
    #[serde(default)]
    pub layers: Vec<Layer>,
    /// What the last attempt ran into, while nothing has come since: it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// How far a layer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Layer {
    /// Of its compressed bytes.
    pub digest: Digest,
    /// Bytes there so far.
    pub bytes_done: u64,
    /// All bytes.
    pub bytes_total: u64,
    /// Whether it is unpacked.
    pub unpacked: bool,
}

impl Pulling {
    /// How much of it is there, 0 to 100; `None`: it isn't known how much there is.
    pub fn percent(&self) -> Option<u64> {
        let done = u128::from(self.bytes_done.min(self.bytes_total)) * 100;
        done.checked_div(u128::from(self.bytes_total)).and_then(|percent| u64::try_from(percent).ok())
    }

    /// What the numbers of bytes don't tell: layers that are unpacked while nothing comes any more, and trouble.
    pub fn beside_bytes(&self) -> Option<String> {
        let unpacked = self.layers.iter().filter(|layer| layer.unpacked).count();
        match &self.trouble {
            Some(trouble) => Some(format!("trying again: {trouble}")),
            None if self.layers.is_empty() => None,
            None if self.bytes_done >= self.bytes_total && unpacked < self.layers.len() => {
                Some(format!("unpacked {unpacked} of {} layers", self.layers.len()))
            }
            None => None,
        }
    }
}

impl fmt::Display for Pulling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes_total {
            0 => f.write_str("the registry is asked for it")?,
            total => write!(f, "{} of {}", transfer(self.bytes_done), transfer(total))?,
        }
        self.beside_bytes().map_or(Ok(()), |more| write!(f, ", {more}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(bytes_done: u64, bytes_total: u64, unpacked: bool) -> Layer {
        let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        Layer { digest, bytes_done, bytes_total, unpacked }
    }

    #[test]
    fn it_says_what_is_there_and_what_keeps_the_rest() {
        let pulling = |layers: &[Layer], trouble: Option<&str>| Pulling {
            bytes_done: layers.iter().map(|layer| layer.bytes_done).sum(),
            bytes_total: layers.iter().map(|layer| layer.bytes_total).sum(),
            layers: layers.to_vec(),
            trouble: trouble.map(str::to_owned),
        };
        let table = [
            (pulling(&[], None), None, "the registry is asked for it"),
            (pulling(&[], Some("refused")), None, "the registry is asked for it, trying again: refused"),
            (
                pulling(&[layer(5_000_000, 5_000_000, true), layer(1_500_000, 8_000_000, false)], None),
                Some(50),
                "6.5 MB of 13 MB",
            ),
            (
                pulling(&[layer(8, 8, true), layer(8, 8, false)], None),
                Some(100),
                "16 B of 16 B, unpacked 1 of 2 layers",
            ),
            (pulling(&[layer(2, 8, false)], Some("reset")), Some(25), "2 B of 8 B, trying again: reset"),
        ];
        for (pulling, percent, text) in table {
            assert_eq!((pulling.percent(), pulling.to_string().as_str()), (percent, text));
        }
    }
}
