//! Texts of KDL: plain words, quoted, raw, and of several lines.

use super::cursor::{Cursor, is_forbidden, is_newline, is_space, is_word};
use super::tree::Text;
use crate::code::Code;
use crate::finding::{Finding, Findings, quote, visible};
use crate::span::Span;

/// A character of a text of several lines, before its indentation is taken away.
#[derive(Clone, Copy, PartialEq)]
enum Piece {
    /// As it stands in the file.
    Literal(char),
    /// From an escape: never indentation, never a line end.
    Escaped(char),
}

/// `"…"` or `"""…"""`; the cursor is at the first quote.
pub(super) fn quoted(cursor: &mut Cursor<'_>, out: &mut Findings) -> Text {
    let start = cursor.at();
    if cursor.eat("\"\"\"") {
        return several_lines(cursor, out, start, None);
    }
    cursor.eat("\"");
    let content = cursor.at();
    let mut value = String::new();
    let mut escaped = false;
    loop {
        let at = cursor.at();
        match cursor.peek() {
            Some('"') => {
                cursor.bump();
                break;
            }
            Some('\\') => {
                escaped = true;
                value.extend(escape(cursor, out));
            }
            Some(c) if !is_newline(c) => {
                cursor.bump();
                check_allowed(c, cursor.since(at), out);
                value.push(c);
            }
            _ => {
                unclosed(cursor.since(start), out);
                break;
            }
        }
    }
    Text { value, span: cursor.since(start), verbatim: (!escaped).then_some(content) }
}

fn unclosed(span: Span, out: &mut Findings) {
    out.error(
        Finding::new(Code::UnclosedString, span, "the closing `\"` is missing")
            .hint("add `\"`; text of several lines begins and ends with `\"\"\"` on lines of their own"),
    );
}

fn check_allowed(character: char, span: Span, out: &mut Findings) {
    if is_forbidden(character) {
        let shown: String = visible(character).collect();
        out.error(
            Finding::new(Code::ForbiddenCharacter, span, format!("the character `{shown}` in text"))
                .because("control characters and those that turn the direction of writing can hide what a file says")
                .hint(format!("write it as an escape: `\\u{{{:x}}}`", u32::from(character))),
        );
    }
}

/// `\n`, `\u{1F600}`, or `\` and blanks that it takes away; the cursor is at the `\`.
fn escape(cursor: &mut Cursor<'_>, out: &mut Findings) -> Option<char> {
    let start = cursor.at();
    cursor.bump();
    let next = cursor.peek();
    let simple = match next {
        Some('n') => Some('\n'),
        Some('t') => Some('\t'),
        Some('r') => Some('\r'),
        Some('s') => Some(' '),
        Some('b') => Some('\u{8}'),
        Some('f') => Some('\u{C}'),
        Some(same @ ('\\' | '"')) => Some(same),
        _ => None,
    };
    if simple.is_some() {
        cursor.bump();
        return simple;
    }
    if next.is_some_and(|c| is_space(c) || is_newline(c)) {
        cursor.take_while(|c| is_space(c) || is_newline(c));
        return None;
    }
    if next == Some('u') {
        cursor.bump();
        return unicode_escape(cursor, out, start);
    }
    // The quotes must not be eaten by a slip before them.
    if next.is_some_and(|c| c != '"') {
        cursor.bump();
    }
    let written = cursor.slice(start);
    out.error(
        Finding::new(Code::BadEscape, cursor.since(start), format!("{} is no escape", quote(written)))
            .hint(format!("a single backslash is written twice: {}", quote(&format!("\\{written}")))),
    );
    next
}

fn unicode_escape(cursor: &mut Cursor<'_>, out: &mut Findings, start: usize) -> Option<char> {
    let open = cursor.eat("{");
    let digits = cursor.take_while(|c| c.is_ascii_hexdigit());
    let closed = cursor.eat("}");
    let number = u32::from_str_radix(digits, 16).ok().filter(|_| open && closed && digits.len() <= 6);
    let character = number.and_then(char::from_u32);
    if character.is_none() {
        let message = format!("{} names no character", quote(cursor.slice(start)));
        out.error(
            Finding::new(Code::BadEscape, cursor.since(start), message)
                .because("`\\u` is followed by one to six hexadecimal digits in braces, the number of a Unicode character")
                .hint("for example `\\u{e9}` for é"),
        );
    }
    character
}

/// `#"…"#` with any number of `#`; the cursor is at the first. Nothing in it is an escape.
pub(super) fn raw(cursor: &mut Cursor<'_>, out: &mut Findings) -> Text {
    let start = cursor.at();
    let hashes = cursor.take_while(|c| c == '#').len();
    if cursor.eat("\"\"\"") {
        return several_lines(cursor, out, start, Some(hashes));
    }
    cursor.eat("\"");
    let content = cursor.at();
    let mut length = 0;
    loop {
        let at = cursor.at();
        if ends_raw(cursor, "\"", hashes) {
            break;
        }
        match cursor.peek() {
            Some(c) if !is_newline(c) => {
                cursor.bump();
                check_allowed(c, cursor.since(at), out);
                length += c.len_utf8();
            }
            _ => {
                let end = format!("\"{}", "#".repeat(hashes.min(8)));
                out.error(
                    Finding::new(Code::UnclosedString, cursor.since(start), "this raw text doesn't end")
                        .because(
                            "raw text ends with quotes and as many `#` as it began with, on the same line",
                        )
                        .hint(format!("add `{end}`")),
                );
                break;
            }
        }
    }
    let body = cursor.slice(content);
    let value = body.get(..length).unwrap_or(body).to_owned();
    Text { value, span: cursor.since(start), verbatim: Some(content) }
}

/// `"…"` behind an `r`, as KDL 1 wrote it: without escapes, over several lines if need be.
pub(super) fn old_raw(cursor: &mut Cursor<'_>) -> Text {
    let start = cursor.at();
    cursor.eat("\"");
    let value = cursor.take_while(|c| c != '"').to_owned();
    cursor.eat("\"");
    Text { value, span: cursor.since(start), verbatim: None }
}

/// Eats quotes that are followed by exactly the `#` that end a raw text.
fn ends_raw(cursor: &mut Cursor<'_>, quotes: &str, hashes: usize) -> bool {
    let behind = cursor.rest().strip_prefix(quotes);
    // Only as many as needed are looked at, so that a run of quotes and `#` costs no more than its length.
    let found =
        behind.is_some_and(|behind| behind.bytes().take(hashes).take_while(|b| *b == b'#').count() == hashes);
    if found {
        cursor.eat(quotes);
        (0..hashes).for_each(|_| {
            cursor.eat("#");
        });
    }
    found
}

/// The rest of `"""…"""` or, with a number of hashes, of `#"""…"""#`.
fn several_lines(cursor: &mut Cursor<'_>, out: &mut Findings, start: usize, hashes: Option<usize>) -> Text {
    let opening = cursor.since(start);
    if !cursor.newline() {
        out.error(
            Finding::new(Code::BadMultiline, opening, "text behind the opening `\"\"\"`")
                .hint("begin the text on the next line, or use single quotes `\"`"),
        );
    }
    let mut pieces = Vec::new();
    loop {
        let at = cursor.at();
        let ended = match hashes {
            Some(hashes) => ends_raw(cursor, "\"\"\"", hashes),
            None => cursor.eat("\"\"\""),
        };
        if ended {
            break;
        }
        if cursor.newline() {
            pieces.push(Piece::Literal('\n'));
            continue;
        }
        match cursor.peek() {
            Some('\\') if hashes.is_none() => pieces.extend(escape(cursor, out).map(Piece::Escaped)),
            Some(c) => {
                cursor.bump();
                check_allowed(c, cursor.since(at), out);
                pieces.push(Piece::Literal(c));
            }
            None => {
                out.error(
                    Finding::new(Code::UnclosedString, opening, "this text of several lines doesn't end")
                        .hint("close it with the same quotes on a line of their own"),
                );
                return Text { value: String::new(), span: opening, verbatim: None };
            }
        }
    }
    let span = cursor.since(start);
    Text { value: dedent(&pieces, opening, out), span, verbatim: None }
}

/// Takes the indentation of the last line from all lines, and the last line away.
fn dedent(pieces: &[Piece], opening: Span, out: &mut Findings) -> String {
    let mut lines: Vec<&[Piece]> = pieces.split(|piece| *piece == Piece::Literal('\n')).collect();
    let blank = |line: &[Piece]| line.iter().all(|piece| matches!(piece, Piece::Literal(c) if is_space(*c)));
    let last = lines.pop().unwrap_or_default();
    if !blank(last) {
        out.error(
            Finding::new(
                Code::BadMultiline,
                opening,
                "the closing quotes of this text share their line with text",
            )
            .hint("put the closing quotes on a line of their own"),
        );
        return String::new();
    }
    let mut value = String::new();
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            value.push('\n');
        }
        if blank(line) {
            continue;
        }
        match line.strip_prefix(last) {
            Some(line) => value.extend(line.iter().map(|(Piece::Literal(c) | Piece::Escaped(c))| *c)),
            None => {
                let message = format!("line {} of this text is indented otherwise than its end", index + 1);
                out.error(
                    Finding::new(Code::BadMultiline, opening, message)
                        .hint("indent each line with the same blanks as the closing quotes, or more"),
                );
            }
        }
    }
    value
}

/// Whether a word can stand without quotes: it isn't a keyword, and nobody would read it as a number.
pub(crate) fn is_plain_word(word: &str) -> bool {
    let digit = |c: char| c.is_ascii_digit();
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let fraction = unsigned.strip_prefix('.').unwrap_or(unsigned);
    !word.is_empty() && word.chars().all(is_word) && !fraction.starts_with(digit) && !is_keyword(word)
}

/// Words that KDL 2 keeps for values with a `#`.
pub(super) fn is_keyword(word: &str) -> bool {
    matches!(word, "true" | "false" | "null" | "inf" | "-inf" | "nan")
}
