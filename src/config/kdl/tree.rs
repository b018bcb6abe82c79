//! What a KDL document is made of, each piece with its place.

use super::numbers::integer;
use crate::finding::Complained;
use crate::span::Span;

/// A node: a name, entries, perhaps a block.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) name: Text,
    /// `(u8)`: read, and then refused by the grammar, which has no use for it.
    pub(crate) annotation: Option<Span>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) block: Option<Block>,
    /// From the name to the end of the last entry; the block is left out, so that an underline stays short.
    pub(crate) span: Span,
}

/// The nodes between `{` and `}`.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) nodes: Vec<Node>,
    /// The opening brace.
    pub(crate) span: Span,
}

/// A value after a node's name: alone (an argument) or with a key (a property).
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Option<Text>,
    pub(crate) annotation: Option<Span>,
    pub(crate) value: Value,
    /// Of the value.
    pub(crate) span: Span,
}

/// A string and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) value: String,
    pub(crate) span: Span,
    /// Where `value` begins in the file, if it stands there unchanged, without escapes: then a part of it can
    /// be underlined.
    pub(crate) verbatim: Option<usize>,
}

impl Text {
    /// Where bytes `offset..offset + length` of the value are written; all of it where that can't be told.
    pub(crate) fn place_of(&self, offset: usize, length: usize) -> Span {
        match self.verbatim {
            Some(start) => Span::new(start, start + self.value.len()).part(offset, length),
            None => self.span,
        }
    }
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(Text),
    /// As written; a sign, digits, `_`, `.`, an exponent or a radix prefix, well-formed.
    Number(String),
    Bool(bool),
    Null,
    /// `#inf`, `#-inf`, `#nan`
    NotFinite,
    /// Not readable. The complaint has been made.
    Bad(Complained),
}

impl Value {
    /// What kind of value it is, for complaints.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Number(number) if integer(number).is_none() => "a number with a fraction or an exponent",
            Self::Number(_) => "a number",
            Self::NotFinite => "infinity",
            Self::Bool(true) => "`#true`",
            Self::Bool(false) => "`#false`",
            Self::Null => "`#null`",
            Self::Bad(_) => "something unreadable",
        }
    }
}
