//! Names of projects, services, tasks, ports and volumes.

use mill_model::limits;
use mill_model::names::NameError;

use crate::code::Code;
use crate::finding::{Complained, Finding, Findings, quote};
use crate::span::{Span, Spanned};

/// A name of any kind: they share one rule.
pub(crate) fn read<T>(
    what: &str,
    text: &str,
    span: Span,
    out: &mut Findings,
) -> Result<Spanned<T>, Complained>
where
    T: std::str::FromStr<Err = NameError>,
{
    text.parse().map(|name| Spanned::new(name, span)).map_err(|error: NameError| {
        let finding = Finding::new(Code::BadName, span, format!("{} can't name a {what}", quote(text)));
        let finding = finding.because(error.to_string());
        out.error(finding.maybe_hint(likeness(text).map(|name| format!("did you mean `{name}`?"))))
    })
}

/// The nearest text that is a name: lower case, other characters as `-`, cut to length.
pub(crate) fn likeness(text: &str) -> Option<String> {
    let lower = text.chars().take(limits::NAME_LENGTH_MAX).flat_map(char::to_lowercase);
    let mut name = String::new();
    for character in lower {
        match character {
            'a'..='z' | '0'..='9' => name.push(character),
            _ if name.is_empty() || name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    let name = name.get(..limits::NAME_LENGTH_MAX).unwrap_or(&name).trim_end_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_a_likeness_that_is_a_name() {
        for (text, name) in [
            ("My_App", Some("my-app")),
            (".hidden dir.", Some("hidden-dir")),
            ("é", None),
            ("größe", Some("gr-e")),
            ("", None),
            ("--", None),
        ] {
            assert_eq!(likeness(text).as_deref(), name, "{text}");
        }
        for text in ["x".repeat(99), "İ".repeat(99), "a-".repeat(99)] {
            let name = likeness(&text).unwrap();
            assert_eq!(mill_model::names::check_label(&name), Ok(()), "{text}");
        }
    }
}
