//! Places in a config file: byte spans while reading, lines and columns for people.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes `start..end` of the text.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// From the start of this to the end of `other`.
    pub(crate) const fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }

    /// The `length` bytes that begin `offset` bytes into this, as far as this reaches.
    pub(crate) fn part(self, offset: usize, length: usize) -> Self {
        let start = self.start.saturating_add(offset).min(self.end);
        Self { start, end: start.saturating_add(length).min(self.end) }
    }
}

/// A value and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

impl<T> Spanned<T> {
    pub(crate) const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// Where something is in its file, for people and for tools.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ComplaintPlace")]
pub struct Place {
    /// First byte, counted from 0.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
    /// Line of the first character, counted from 1.
    pub line: usize,
    /// Column of the first character: characters, not bytes, counted from 1; a tab is one.
    pub column: usize,
    /// Line where it ends.
    pub end_line: usize,
    /// Column after its last character.
    pub end_column: usize,
}

/// Where each line of a text starts.
///
/// Lines end as editors see it: LF, CRLF or a lone CR. The rarer line ends of KDL end a node there, not a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lines {
    starts: Vec<usize>,
}

/// What some editors put before the first character. It has no width and no column.
pub(crate) const BYTE_ORDER_MARK: char = '\u{FEFF}';

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        let first = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        let mut starts = vec![first];
        let mut bytes = text.bytes().enumerate().peekable();
        while let Some((at, byte)) = bytes.next() {
            let ends = match byte {
                b'\n' => true,
                b'\r' => bytes.peek().is_none_or(|(_, next)| *next != b'\n'),
                _ => false,
            };
            if ends {
                starts.push(at + 1);
            }
        }
        Self { starts }
    }

    /// Line and column of a byte, both counted from 1.
    pub(crate) fn locate(&self, text: &str, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let before = text.get(start..at.max(start)).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    pub(crate) fn place(&self, text: &str, span: Span) -> Place {
        let start = floor(text, span.start);
        let end = floor(text, span.end).max(start);
        let ((line, column), (end_line, end_column)) = (self.locate(text, start), self.locate(text, end));
        Place { start, end, line, column, end_line, end_column }
    }

    /// The text of a line (counted from 1) without its end, and the byte where it starts.
    pub(crate) fn line<'a>(&self, text: &'a str, line: usize) -> (usize, &'a str) {
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(text.len());
        let end = self.starts.get(line).copied().unwrap_or(text.len());
        let content = text.get(start..end).unwrap_or_default();
        (start, content.trim_end_matches(['\n', '\r']))
    }
}

/// The nearest character border at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locate(text: &str, needle: &str) -> (usize, usize) {
        Lines::of(text).locate(text, text.find(needle).unwrap())
    }

    #[test]
    fn lines_and_columns_are_what_an_editor_shows() {
        for (text, place) in [
            ("x", (1, 1)),
            ("a\n  x", (2, 3)),
            ("a\r\nb\r\n\tx", (3, 2)),
            ("a\rx", (2, 1)),
            ("\n\n\nx", (4, 1)),
            ("äöü x", (1, 5)),
            ("日本 x", (1, 4)),
            ("\u{FEFF}x", (1, 1)),
            ("\u{FEFF}a\nx", (2, 1)),
            ("a\u{2028}x", (1, 3)),
        ] {
            assert_eq!(locate(text, "x"), place, "{text:?}");
        }
    }

    #[test]
    fn a_line_is_given_without_its_end() {
        let text = "a\r\nbc\n\nd";
        let lines = Lines::of(text);
        let all: Vec<_> = (1..=4).map(|n| lines.line(text, n)).collect();
        assert_eq!(all, [(0, "a"), (3, "bc"), (6, ""), (7, "d")]);
        assert_eq!(lines.line(text, 9), (8, ""));
    }
}
