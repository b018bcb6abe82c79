//! Mill's side of the format: what the program reads is written, what it tells is read.

use std::fmt;

use crate::format::{Failed, Kind, LEASED, MAGIC, NO_CORE, Run};

/// What the file of a container's own program is called; those of others have names of their own.
pub const START: &str = "start";

/// It holds what no program can be given: an argument or a variable with a NUL in it, or four gigabytes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unwritable;

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an argument or a variable has a NUL in it, which no program can be given")
    }
}

impl std::error::Error for Unwritable {}

impl Run {
    /// The bytes of its file.
    ///
    /// # Errors
    /// A text in it has a NUL, with which the kernel ends texts.
    pub fn encode(&self) -> Result<Vec<u8>, Unwritable> {
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let mut body = vec![flag(self.no_core, NO_CORE) | flag(self.leased, LEASED)];
        body.extend(self.capabilities.to_le_bytes());
        body.extend(self.uid.to_le_bytes());
        body.extend(self.gid.to_le_bytes());
        body.extend([self.terminal.0, self.terminal.1].iter().flat_map(|side| side.to_le_bytes()));
        body.extend(count(self.groups.len())?);
        body.extend(self.groups.iter().flat_map(|group| group.to_le_bytes()));
        for list in [&self.argv, &self.env] {
            body.extend(count(list.len())?);
            for text in list {
                if text.contains(&0) {
                    return Err(Unwritable);
                }
                body.extend(count(text.len())?);
                body.extend(text);
            }
        }
        let length = u64::try_from(body.len()).map_err(|_| Unwritable)?;
        Ok([&MAGIC[..], &length.to_le_bytes(), &body].concat())
    }
}

impl Failed {
    /// What was told; `None`: not a word, so that the program was executed.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (code, said) = bytes.split_first()?;
        let kind = match code {
            127 => Kind::NotFound,
            126 => Kind::NotExecutable,
            _ => Kind::Unprepared,
        };
        Some(Self { kind, said: String::from_utf8_lossy(said).into_owned() })
    }
}

fn count(number: usize) -> Result<[u8; 4], Unwritable> {
    u32::try_from(number).map(u32::to_le_bytes).map_err(|_| Unwritable)
}
