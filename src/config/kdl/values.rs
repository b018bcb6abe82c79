//! Values: words, numbers, keywords, and what looks like them.

use super::cursor::{is_newline, is_word};
use super::numbers::is_number;
use super::parse::Parser;
use super::strings::{self, is_keyword};
use super::tree::{Text, Value};
use crate::code::Code;
use crate::finding::{Complained, Finding, did_you_mean, quote};
use crate::span::Span;

impl Parser<'_, '_> {
    /// `(type)` and the space behind it, if one begins here.
    pub(super) fn annotation(&mut self) -> Result<Option<Span>, Complained> {
        if self.cursor.peek() != Some('(') {
            return Ok(None);
        }
        let start = self.cursor.at();
        self.cursor.bump();
        self.cursor.node_space(self.out);
        let named = match self.cursor.peek() {
            Some(c) if is_word(c) || matches!(c, '"' | '#') => matches!(self.value(), Value::Text(_)),
            _ => false,
        };
        self.cursor.node_space(self.out);
        let closed = self.cursor.eat(")");
        if named && closed {
            let span = self.cursor.since(start);
            self.cursor.node_space(self.out);
            return Ok(Some(span));
        }
        self.cursor.take_while(|c| c != ')' && !is_newline(c));
        self.cursor.eat(")");
        let finding = Finding::new(Code::BadAnnotation, self.cursor.since(start), "not a type annotation");
        Err(self.complain(finding.hint("remove it, or put the text into quotes")))
    }

    /// A value; always moves on.
    pub(super) fn value(&mut self) -> Value {
        let start = self.cursor.at();
        let Some(first) = self.cursor.peek() else {
            return Value::Bad(self.unexpected(start));
        };
        match first {
            '"' => Value::Text(strings::quoted(&mut self.cursor, self.out)),
            '#' => self.hash(),
            'r' if self.is_old_raw() => self.old_raw(),
            c if is_word(c) => self.word(),
            _ => {
                self.cursor.bump();
                Value::Bad(self.unexpected(start))
            }
        }
    }

    /// Text that needs quotes, or a sign out of place: all of it up to the next space.
    fn unexpected(&mut self, start: usize) -> Complained {
        self.cursor.take_while(|c| is_word(c) || matches!(c, '/' | '(' | ')' | '[' | ']' | '\\'));
        let span = self.cursor.since(start);
        let written = self.cursor.slice(start);
        let hint = match written.chars().next() {
            Some('[' | ']') => {
                "a list is written without brackets and commas: `command \"migrate\" \"--to\" \"latest\"`"
                    .to_owned()
            }
            Some(_) if written.contains('\\') => {
                "text with a `\\` needs quotes, and the `\\` is doubled".to_owned()
            }
            Some(_) if written.len() > 1 && written.len() < 60 => {
                format!("text with such signs needs quotes: \"{written}\"")
            }
            _ => "remove it, or put the text into quotes".to_owned(),
        };
        self.complain(
            Finding::new(Code::ForbiddenCharacter, span, format!("{} outside of text", quote(written)))
                .hint(hint),
        )
    }

    /// `#true` and its kin, or raw text.
    fn hash(&mut self) -> Value {
        let start = self.cursor.at();
        if self.cursor.rest().trim_start_matches('#').starts_with('"') {
            return Value::Text(strings::raw(&mut self.cursor, self.out));
        }
        self.cursor.take_while(|c| c == '#');
        if self.cursor.take_while(is_word).is_empty() {
            // A comment as shells write it: nothing behind it is meant as KDL.
            self.cursor.take_while(|c| !is_newline(c));
            let finding = Finding::new(Code::BadKeyword, self.cursor.since(start), "`#` begins no comment");
            return Value::Bad(self.complain(finding.hint("a comment begins with `//`")));
        }
        let written = self.cursor.slice(start);
        match written {
            "#true" => return Value::Bool(true),
            "#false" => return Value::Bool(false),
            "#null" => return Value::Null,
            "#inf" | "#-inf" | "#nan" => return Value::NotFinite,
            _ => {}
        }
        let hint = match written.to_lowercase().as_str() {
            "#yes" | "#on" => Some("did you mean `#true`?".to_owned()),
            "#no" | "#off" => Some("did you mean `#false`?".to_owned()),
            word => did_you_mean(word, ["#true", "#false", "#null"]),
        };
        let hint = hint.unwrap_or_else(|| "a comment begins with `//`".to_owned());
        let finding = Finding::new(
            Code::BadKeyword,
            self.cursor.since(start),
            format!("{} is no word", quote(written)),
        );
        Value::Bad(self.complain(finding.hint(hint)))
    }

    /// A word without quotes, or a number.
    fn word(&mut self) -> Value {
        let start = self.cursor.at();
        let written = self.cursor.take_while(is_word);
        if self.goes_on() {
            return Value::Bad(self.unexpected(start));
        }
        let span = self.cursor.since(start);
        let unsigned = written.strip_prefix(['+', '-']).unwrap_or(written);
        let fraction = unsigned.strip_prefix('.').unwrap_or(unsigned);
        if fraction.starts_with(|c: char| c.is_ascii_digit()) {
            return match is_number(written) {
                true => Value::Number(written.to_owned()),
                false => Value::Bad(self.bad_number(written, span)),
            };
        }
        if is_keyword(written) {
            let finding = Finding::new(Code::BareKeyword, span, format!("{} without `#`", quote(written)));
            let hint = format!("write `#{written}`, or \"{written}\" if the text is meant");
            return Value::Bad(self.complain(finding.hint(hint)));
        }
        Value::Text(Text { value: written.to_owned(), span, verbatim: Some(start) })
    }

    /// Whether a word runs into a sign that words don't have: `team/web:v1`, `C:\temp`, `f(x)`.
    fn goes_on(&self) -> bool {
        let mut rest = self.cursor.rest().chars();
        match (rest.next(), rest.next()) {
            (Some('/'), Some('/' | '*' | '-')) => false,
            (Some('/' | '(' | '[' | ']'), _) => true,
            (Some('\\'), Some(next)) => is_word(next),
            _ => false,
        }
    }

    fn bad_number(&mut self, written: &str, span: Span) -> Complained {
        let number = written.trim_end_matches([',', ':']);
        let hint = if number != written && is_number(number) {
            "values are set apart by spaces alone".to_owned()
        } else if written.starts_with(['.', '+', '-']) || written.ends_with('.') {
            "a fraction has digits on both sides of the point: `0.5`".to_owned()
        } else if written.len() > 40 {
            "text needs quotes".to_owned()
        } else {
            format!("text needs quotes: \"{written}\"")
        };
        self.complain(
            Finding::new(Code::BadNumber, span, format!("{} is no number", quote(written))).hint(hint),
        )
    }

    /// Whether raw text as in KDL 1 begins here: `r"…"`, `r#"…"#`.
    fn is_old_raw(&self) -> bool {
        let behind = self.cursor.rest().strip_prefix('r').unwrap_or_default();
        behind.trim_start_matches('#').starts_with('"')
    }

    fn old_raw(&mut self) -> Value {
        let start = self.cursor.at();
        self.cursor.bump();
        let hashed = self.cursor.peek() == Some('#');
        let text = match hashed {
            true => strings::raw(&mut self.cursor, self.out),
            false => strings::old_raw(&mut self.cursor),
        };
        let span = Span::new(start, text.span.end);
        let hint = if hashed { "remove the `r`" } else { "write #\"…\"#" };
        Value::Bad(self.complain(Finding::new(Code::OldRawString, span, "raw text of KDL 1").hint(hint)))
    }
}
