//! KDL 2 (<https://kdl.dev/spec>) into a tree with places, and every slip of syntax at once.
//!
//! # Why not the `kdl` crate
//!
//! It is right about good documents, and the tests hold this reader against it. But a config comes from anyone
//! with a token, and a reader must neither hang nor take the process down. Of `kdl` 6.7.1 it was measured:
//! 100,000 `}` overflow the stack, and so do 100,000 `*` in one comment (both abort the process, which nothing
//! can catch); commented-out blocks cost twice the time per level (`n⏎/-x { n⏎/-x { …`, 16 deep: 3 s for 177
//! bytes). Its complaints don't say enough either: `port {} 80` is "Expected end of document … not EOF".
//!
//! This reader looks at each character a bounded number of times, recurses only into blocks, and those at most
//! `limits::CONFIG_DEPTH_MAX` deep. After a slip it goes on as the writer probably meant.

mod cursor;
mod numbers;
mod parse;
mod strings;
mod tree;
mod values;

pub(crate) use numbers::{float, integer};
pub(crate) use parse::parse;
pub(crate) use strings::is_plain_word;
pub(crate) use tree::{Entry, Node, Text, Value};

#[cfg(test)]
mod tests;
