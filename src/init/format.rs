//! What passes between Mill and the program: where things are in the container, what is to be run, and how that went.
//!
//! # Why
//! A format of its own, and one that can be read in a page: the program that reads it is root, links nothing, and
//! must not be brought down by a file that was cut.

use std::fmt;

/// Where the container sees the program. Its `/dev` is a memory file system of its own, so that nothing is left in the
/// image's files.
pub const PROGRAM_PATH: &str = "/dev/mill/init";

/// Where the container sees what is to be run: a directory that only root can enter, in which each file is called as
/// the program's only argument says.
pub const FOLDER: &str = "/dev/mill/run";

/// A pipe beside the file into which the program tells how it failed. It ends without a word when the program was
/// executed.
pub const TOLD: &str = ".told";

/// A pipe beside the file that is held open by whoever asked: the program ends when nobody holds it any more.
pub const LEASE: &str = ".lease";

/// First bytes of a file: what it is, and the version of what follows. A container keeps the program that it was
/// started with, so a later Mill has to write for it what that program reads.
pub const MAGIC: [u8; 8] = *b"millrun1";

/// It has its maker's secrets in its memory: it leaves no core.
pub const NO_CORE: u8 = 1;

/// It ends with whoever asked for it.
pub const LEASED: u8 = 2;

/// What to run, and as whom.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// The program, a path or a name to be found in `PATH`, and its arguments.
    pub argv: Vec<Vec<u8>>,
    /// Its environment, `NAME=VALUE` each.
    pub env: Vec<Vec<u8>>,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// Capabilities that are left to it, a mask by number.
    pub capabilities: u64,
    /// Whether it never leaves a core: its memory holds secrets.
    pub no_core: bool,
    /// Whether it ends when [`LEASE`] is let go.
    pub leased: bool,
    /// Its terminal's columns and rows; 0 and 0: it has none, or nobody knows.
    pub terminal: (u16, u16),
}

/// Names and values are never shown: they may be secrets.
impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("uid", &self.uid).field("gid", &self.gid).finish_non_exhaustive()
    }
}

/// The bytes aren't what Mill writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Garbled {
    /// Another version's, or no such file at all.
    Version,
    /// Shorter or longer than it says.
    Length,
}

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "it is of another version",
            Self::Length => "its length isn't what it says",
        })
    }
}

impl std::error::Error for Garbled {}

impl Run {
    /// Reads what Mill wrote.
    ///
    /// # Errors
    /// It is of another version, or cut.
    pub fn decode(bytes: &[u8]) -> Result<Self, Garbled> {
        let mut rest = Rest(bytes.strip_prefix(&MAGIC).ok_or(Garbled::Version)?);
        let length = rest.number::<8>().map(u64::from_le_bytes)?;
        if u64::try_from(rest.0.len()) != Ok(length) {
            return Err(Garbled::Length);
        }
        let [flags] = rest.number::<1>()?;
        let capabilities = rest.number::<8>().map(u64::from_le_bytes)?;
        let (uid, gid) = (rest.count()?, rest.count()?);
        let mut side = || rest.number().map(u16::from_le_bytes);
        let terminal = (side()?, side()?);
        let groups = rest.list(Rest::count)?;
        let (argv, env) = (rest.list(Rest::text)?, rest.list(Rest::text)?);
        if !rest.0.is_empty() {
            return Err(Garbled::Length);
        }
        let (no_core, leased) = (flags & NO_CORE != 0, flags & LEASED != 0);
        Ok(Self { argv, env, uid, gid, groups, capabilities, no_core, leased, terminal })
    }
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn number<const N: usize>(&mut self) -> Result<[u8; N], Garbled> {
        let (number, rest) = self.0.split_first_chunk().ok_or(Garbled::Length)?;
        self.0 = rest;
        Ok(*number)
    }

    fn count(&mut self) -> Result<u32, Garbled> {
        self.number().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Result<Vec<u8>, Garbled> {
        let length = usize::try_from(self.count()?).map_err(|_| Garbled::Length)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Garbled::Length)?;
        self.0 = rest;
        Ok(text.to_vec())
    }

    /// Each item takes bytes, so a count that lies ends where the bytes do: nothing is reserved for it.
    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, Garbled>) -> Result<Vec<T>, Garbled> {
        let mut list = vec![];
        for _ in 0..self.count()? {
            list.push(item(self)?);
        }
        Ok(list)
    }
}

/// Why nothing was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Of which kind it is.
    pub kind: Kind,
    /// What went wrong, in a sentence.
    pub said: String,
}

/// Kinds of failure, each with the exit code that shells and Docker know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no such program: 127.
    NotFound,
    /// It can't be executed: 126.
    NotExecutable,
    /// It wasn't come to that: 125.
    Unprepared,
}

impl Kind {
    /// How the process ends.
    pub const fn code(self) -> u8 {
        match self {
            Self::NotFound => 127,
            Self::NotExecutable => 126,
            Self::Unprepared => 125,
        }
    }
}

impl Failed {
    /// What is told of it: the code, and the sentence.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&[self.kind.code()], self.said.as_bytes()].concat()
    }
}
