//! Walking through a text, and what KDL counts as space.

use crate::code::Code;
use crate::finding::{Finding, Findings, visible};
use crate::span::Span;

/// A place in a text that only moves forward.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn bump(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    pub(super) fn looks_at(&self, text: &str) -> bool {
        self.rest().starts_with(text)
    }

    pub(super) fn eat(&mut self, text: &str) -> bool {
        let there = self.looks_at(text);
        if there {
            self.at += text.len();
        }
        there
    }

    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = rest.find(|c| !wanted(c)).and_then(|end| rest.get(..end)).unwrap_or(rest);
        self.at += taken.len();
        taken
    }

    pub(super) fn skip_to_end(&mut self) {
        self.at = self.text.len();
    }

    /// The span from `start` to here.
    pub(super) const fn since(&self, start: usize) -> Span {
        Span::new(start, self.at)
    }

    pub(super) fn slice(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// One line end, CRLF being one.
    pub(super) fn newline(&mut self) -> bool {
        self.eat("\r\n") || (self.peek().is_some_and(is_newline) && self.bump().is_some())
    }

    /// `// …` up to its line end, which is left.
    pub(super) fn line_comment(&mut self) -> bool {
        let there = self.eat("//");
        if there {
            self.take_while(|c| !is_newline(c));
        }
        there
    }

    /// Space within a line: blanks, comments, continued lines. Says whether there was any.
    pub(super) fn node_space(&mut self, out: &mut Findings) -> bool {
        let start = self.at;
        loop {
            self.take_while(is_space);
            match self.peek() {
                Some('/') if self.looks_at("/*") => self.block_comment(out),
                Some('\\') => self.continuation(out),
                Some(c) if is_forbidden(c) => self.forbidden(out),
                _ => return self.at > start,
            }
        }
    }

    /// Space between lines: the above, line ends, line comments, stray `;`.
    pub(super) fn line_space(&mut self, out: &mut Findings) {
        while self.node_space(out) || self.newline() || self.line_comment() || self.eat(";") {}
    }

    /// `/* … */`, nested. Counted, not recursed into.
    fn block_comment(&mut self, out: &mut Findings) {
        let start = self.at;
        let mut open = 0_usize;
        loop {
            if self.eat("/*") {
                open += 1;
            } else if self.eat("*/") {
                open -= 1;
                if open == 0 {
                    return;
                }
            } else if self.bump().is_none() {
                let span = Span::new(start, start + 2);
                out.error(
                    Finding::new(Code::UnclosedComment, span, "this comment doesn't end").hint("add `*/`"),
                );
                return;
            }
        }
    }

    fn continuation(&mut self, out: &mut Findings) {
        let start = self.at;
        self.bump();
        let span = self.since(start);
        self.take_while(is_space);
        while self.looks_at("/*") {
            self.block_comment(out);
            self.take_while(is_space);
        }
        if self.line_comment() && self.peek().is_none() || self.newline() || self.peek().is_none() {
            return;
        }
        out.error(
            Finding::new(Code::BadContinuation, span, "`\\` in the middle of a line")
                .hint("put text that contains `\\` into quotes, doubled: \"C:\\\\temp\""),
        );
    }

    fn forbidden(&mut self, out: &mut Findings) {
        let start = self.at;
        let Some(character) = self.bump() else { return };
        let shown: String = visible(character).collect();
        out.error(
            Finding::new(Code::ForbiddenCharacter, self.since(start), format!("the character `{shown}`"))
                .because("control characters and those that turn the direction of writing can hide what a file says")
                .hint("remove it; in quoted text it can be written as an escape, `\\u{…}`"),
        );
    }
}

/// Line ends (KDL 2.0, "Newline").
pub(super) const fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{B}' | '\u{C}' | '\u{2028}' | '\u{2029}')
}

/// Blanks (KDL 2.0, "Whitespace").
pub(super) const fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t' | ' ' | '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}'
    )
}

/// Characters that may stand nowhere unescaped (KDL 2.0, "Disallowed Literal Code Points").
pub(super) const fn is_forbidden(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{8}' | '\u{E}'..='\u{1F}' | '\u{7F}' | '\u{200E}' | '\u{200F}'
            | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}'
    )
}

/// Characters of a word without quotes.
pub(super) const fn is_word(c: char) -> bool {
    !is_newline(c)
        && !is_space(c)
        && !is_forbidden(c)
        && !matches!(c, '\\' | '/' | '(' | ')' | '{' | '}' | '[' | ']' | ';' | '"' | '#' | '=')
}
