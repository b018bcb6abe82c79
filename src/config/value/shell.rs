//! Commands in one text: cut into words as a shell would, and nothing else of a shell.

use std::borrow::Cow;

use crate::code::Code;
use crate::finding::{Complained, Finding, Findings};
use crate::kdl::Text;

/// The words of a command line.
pub(crate) fn read(text: &Text, out: &mut Findings) -> Result<Vec<Text>, Complained> {
    if let Some((offset, sign)) = operator(&text.value) {
        let length = if sign == LINE_END { 1 } else { sign.len() };
        let finding =
            Finding::new(Code::ShellSyntax, text.place_of(offset, length), format!("`{sign}` in a command"));
        return Err(out.error(finding.hint(hint(&text.value))));
    }
    let Some(words) = shlex::split(&text.value) else {
        let finding = Finding::new(Code::ShellSyntax, text.span, "a quote or backslash without its end");
        let finding = finding.because("the command is cut into words as a shell would do it");
        return Err(out.error(
            finding.hint("close the quote, or write the words apart: `exec \"program\" \"argument\"`"),
        ));
    };
    // A word that stands in the command unchanged can be underlined by itself. Not looked for in monstrous ones.
    let findable = text.value.len() < 4096;
    let word = |value: String| {
        let searched = if findable { text.value.as_str() } else { "" };
        let mut found = searched.match_indices(&value).map(|(at, _)| at);
        let found = found.next().filter(|_| found.next().is_none() && !value.is_empty());
        let place = found.map_or(text.span, |at| text.place_of(at, value.len()));
        Text { verbatim: found.and(text.verbatim).map(|_| place.start), value, span: place }
    };
    Ok(words.into_iter().map(word).collect())
}

fn hint(command: &str) -> String {
    if command.len() > 60 || command.contains(['\'', '"', '\\']) {
        return "run a shell: `exec \"sh\" \"-c\" \"…\"`".to_owned();
    }
    format!("run a shell: exec=\"sh -c '{command}'\"")
}

const LINE_END: &str = "line end";

/// One word as [`read`] would read it back.
pub(crate) fn quote_word(word: &str) -> Option<Cow<'_, str>> {
    shlex::try_quote(word).ok()
}

/// The first thing that only a shell would understand, outside of quotes, and where it is.
fn operator(text: &str) -> Option<(usize, &'static str)> {
    let mut rest = text;
    let mut word_begins = true;
    while let Some(c) = rest.chars().next() {
        let offset = text.len() - rest.len();
        let length = match c {
            '\\' => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            '\'' => quoted(rest, '\''),
            '"' => match quoted_operator(rest) {
                Some((at, sign)) => return Some((offset + at, sign)),
                None => quoted(rest, '"'),
            },
            '$' if rest.starts_with("${") => rest.find('}').map_or(rest.len(), |end| end + 1),
            '$' if rest.starts_with("$$") => 2,
            '#' if !word_begins => 1,
            _ => match sign(rest) {
                Some(sign) => return Some((offset, sign)),
                None => c.len_utf8(),
            },
        };
        word_begins = c.is_ascii_whitespace();
        rest = rest.get(length..).unwrap_or_default();
    }
    None
}

fn sign(rest: &str) -> Option<&'static str> {
    const SIGNS: [&str; 14] = ["&&", "||", "$(", ">>", "<<", "|", "&", ";", "<", ">", "(", ")", "`", "#"];
    let found = SIGNS.iter().find(|sign| rest.starts_with(**sign)).copied();
    found.or_else(|| rest.starts_with(['\n', '\r']).then_some(LINE_END))
}

/// Length of a quoted part, its quotes included.
fn quoted(rest: &str, quote: char) -> usize {
    let escapes = quote == '"';
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if escapes => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// What a shell would run even within double quotes.
fn quoted_operator(rest: &str) -> Option<(usize, &'static str)> {
    let inside = rest.get(..quoted(rest, '"'))?;
    let mut before = ' ';
    for (at, c) in inside.char_indices() {
        match c {
            '`' if before != '\\' => return Some((at, "`")),
            '(' if before == '$' => return Some((at - 1, "$(")),
            _ => {}
        }
        before = if before == '\\' || (before == '$' && c == '$') { ' ' } else { c };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_of_a_shell_are_found_outside_of_quotes_only() {
        for (text, found) in [
            ("pg_isready -U postgres", None),
            ("a | b", Some((2, "|"))),
            ("a && b", Some((2, "&&"))),
            ("a; b", Some((1, ";"))),
            ("a > /dev/null", Some((2, ">"))),
            ("echo $(b)", Some((5, "$("))),
            ("echo `b`", Some((5, "`"))),
            ("(a)", Some((0, "("))),
            ("a # b", Some((2, "#"))),
            ("a#b", None),
            ("a\nb", Some((1, "line end"))),
            ("sh -c 'a | b; c > d $(e)'", None),
            ("sh -c \"a | b; c > d\"", None),
            ("sh -c \"$(e)\"", Some((7, "$("))),
            ("sh -c \"`e`\"", Some((7, "`"))),
            ("sh -c \"\\`e\"", None),
            ("a \\| b", None),
            ("a -p ${secret(db)}", None),
            ("a $$", None),
            ("a é| b", Some((4, "|"))),
            ("a \"", None),
        ] {
            assert_eq!(operator(text), found, "{text}");
        }
    }
}
