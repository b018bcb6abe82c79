//! Values of fields: texts, numbers, durations, sizes.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use mill_model::limits;
use mill_model::resources::{Bytes, SizeError};
use mill_model::template::Part;

use super::fields::Field;
use crate::code::Code;
use crate::draft::Templated;
use crate::finding::{Complained, Finding, Findings, quote};
use crate::interpolate::{self, ReferenceError};
use crate::kdl::{Entry, Text, Value, integer};
use crate::span::Spanned;

/// The result of reading a value: with its place, or proof that a complaint was made.
pub(crate) type Read<T> = Result<Spanned<T>, Complained>;

/// The one value of a field.
pub(crate) fn single<'a>(field: &Field<'a>, out: &mut Findings) -> Result<&'a Entry, Complained> {
    field.refuse_fields(out);
    match field.values.as_slice() {
        [value] => Ok(value),
        [] => Err(missing(field, out)),
        [_, extra, ..] => {
            let message = format!("`{}` takes one value", field.known.name);
            Err(out.error(Finding::new(Code::ExtraValue, extra.span, message).hint(field.example())))
        }
    }
}

pub(crate) fn missing(field: &Field<'_>, out: &mut Findings) -> Complained {
    let message = format!("`{}` has no value: it takes {}", field.known.name, field.known.takes);
    out.error(Finding::new(Code::MissingValue, field.span, message).hint(field.example()))
}

/// Complains about a value of the wrong kind; a value that wasn't readable has its complaint already.
pub(crate) fn wrong_type(field: &Field<'_>, entry: &Entry, out: &mut Findings) -> Complained {
    if let Value::Bad(complained) = entry.value {
        return complained;
    }
    let message = format!("`{}` takes {}, not {}", field.known.name, field.known.takes, entry.value.kind());
    let hint = match (&entry.value, field.known.takes) {
        (Value::Number(number), "text" | "texts") if number.len() < 40 => {
            format!("put it into quotes: \"{number}\"")
        }
        _ => field.example(),
    };
    out.error(Finding::new(Code::WrongType, entry.span, message).hint(hint))
}

/// A text as it is, with what no field can take refused: NUL, and emptiness.
pub(crate) fn entry_text<'a>(
    field: &Field<'_>,
    entry: &'a Entry,
    out: &mut Findings,
) -> Result<&'a Text, Complained> {
    let Value::Text(text) = &entry.value else { return Err(wrong_type(field, entry, out)) };
    check_nul(text, out)?;
    Ok(text)
}

pub(crate) fn check_nul(text: &Text, out: &mut Findings) -> Result<(), Complained> {
    match text.value.contains('\0') {
        false => Ok(()),
        true => Err(out.error(
            Finding::new(Code::NulCharacter, text.span, "NUL in a text")
                .hint("remove `\\u{0}`, or encode the value"),
        )),
    }
}

/// A text in which nothing is filled in.
pub(crate) fn plain<'a>(
    field: &Field<'_>,
    entry: &'a Entry,
    out: &mut Findings,
) -> Result<&'a Text, Complained> {
    let text = entry_text(field, entry, out)?;
    if text.value.is_empty() {
        let message = format!("`{}` is empty", field.known.name);
        return Err(out.error(Finding::new(Code::EmptyText, entry.span, message).hint(field.example())));
    }
    if let Some(at) = text.value.find("${") {
        let message = format!("a reference in `{}`", field.known.name);
        let span = text.place_of(at, text.value.len() - at);
        return Err(
            out.error(Finding::new(Code::ReferenceHere, span, message).hint("write the value itself"))
        );
    }
    Ok(text)
}

/// The one text of a field, in which nothing is filled in.
pub(crate) fn text(field: &Field<'_>, out: &mut Findings) -> Read<String> {
    let entry = single(field, out)?;
    plain(field, entry, out).map(|text| Spanned::new(text.value.clone(), text.span))
}

/// All texts of a field that takes a list.
pub(crate) fn texts(field: &Field<'_>, out: &mut Findings) -> Vec<Spanned<String>> {
    field.refuse_fields(out);
    if field.values.is_empty() {
        missing(field, out);
    }
    let read = |entry: &&Entry| {
        plain(field, entry, out).ok().map(|text| Spanned::new(text.value.clone(), text.span))
    };
    field.values.iter().filter_map(read).collect()
}

/// A text in which references are filled in.
pub(crate) fn templated(text: &Text, out: &mut Findings) -> Result<Templated, Complained> {
    let mut broken = None;
    let (mut parts, mut references) = (vec![], vec![]);
    for piece in interpolate::pieces(&text.value) {
        match piece.part {
            Ok(part) => {
                if !matches!(part, Part::Text(_)) {
                    references.push(Spanned::new(part.clone(), text.place_of(piece.offset, piece.length)));
                }
                parts.push(part);
            }
            Err(bad) => {
                let span = text.place_of(bad.offset, bad.length);
                let written = quote(&format!("${{{}}}", bad.inner));
                let message = match bad.error {
                    ReferenceError::Unclosed => "`${` without `}`".to_owned(),
                    _ => format!("{written} means nothing"),
                };
                let finding = Finding::new(Code::BadReference, span, message);
                broken = Some(out.error(finding.because(bad.reason()).hint(bad.hint())));
            }
        }
    }
    match broken {
        Some(complained) => Err(complained),
        None => Ok(Templated { template: interpolate::join(parts), references, span: text.span }),
    }
}

/// `#true` or `#false`.
pub(crate) fn flag(field: &Field<'_>, out: &mut Findings) -> Read<bool> {
    let entry = single(field, out)?;
    match entry.value {
        Value::Bool(value) => Ok(Spanned::new(value, entry.span)),
        _ => Err(wrong_type(field, entry, out)),
    }
}

/// A whole number within bounds.
pub(crate) fn count(field: &Field<'_>, range: RangeInclusive<u32>, out: &mut Findings) -> Read<u32> {
    let entry = single(field, out)?;
    let Value::Number(written) = &entry.value else { return Err(wrong_type(field, entry, out)) };
    let Some(number) = integer(written) else { return Err(wrong_type(field, entry, out)) };
    match u32::try_from(number).ok().filter(|number| range.contains(number)) {
        Some(number) => Ok(Spanned::new(number, entry.span)),
        None => Err(out_of_range(field, entry, (range.start(), range.end()), out)),
    }
}

pub(crate) fn out_of_range<T: Display>(
    field: &Field<'_>,
    entry: &Entry,
    (least, most): (T, T),
    out: &mut Findings,
) -> Complained {
    let message = format!("`{}` is out of range", field.known.name);
    let reason = format!("it is at least {least} and at most {most}");
    out.error(Finding::new(Code::OutOfRange, entry.span, message).because(reason).hint(field.example()))
}

/// A duration within bounds.
pub(crate) fn duration(field: &Field<'_>, least: Duration, out: &mut Findings) -> Read<Duration> {
    let entry = single(field, out)?;
    if let Value::Number(number) = &entry.value {
        let finding =
            Finding::new(Code::BadDuration, entry.span, format!("`{}` has no unit", field.known.name));
        return Err(out.error(
            finding.hint(format!("write the unit: \"{number}s\" for seconds, \"{number}m\" for minutes")),
        ));
    }
    let text = plain(field, entry, out)?;
    let read = humantime::parse_duration(&text.value);
    let Ok(duration) = read else {
        let unitless = text.value.parse::<u64>().is_ok();
        let message = format!("{} is no duration", quote(&text.value));
        let hint = if unitless {
            "write the unit: \"10s\", \"5m\""
        } else {
            "for example \"10s\", \"1m30s\", \"500ms\", \"2h\""
        };
        return Err(out.error(Finding::new(Code::BadDuration, entry.span, message).hint(hint)));
    };
    match (least..=limits::DURATION_MAX).contains(&duration) {
        true => Ok(Spanned::new(duration, entry.span)),
        false => {
            let show = |duration| humantime::format_duration(duration).to_string();
            Err(out_of_range(field, entry, (show(least), show(limits::DURATION_MAX)), out))
        }
    }
}

/// A size, at least `least`.
pub(crate) fn size(field: &Field<'_>, least: u64, out: &mut Findings) -> Read<Bytes> {
    let entry = single(field, out)?;
    if let Value::Number(number) = &entry.value {
        let finding = Finding::new(Code::BadSize, entry.span, format!("`{}` has no unit", field.known.name));
        return Err(out.error(
            finding.hint(format!("write the unit: \"{number}M\" for mebibytes, \"{number}G\" for gibibytes")),
        ));
    }
    let text = plain(field, entry, out)?;
    let bytes: Bytes = text.value.parse().map_err(|error: SizeError| {
        let finding = Finding::new(Code::BadSize, entry.span, format!("{} is no size", quote(&text.value)));
        out.error(finding.because(error.to_string()).hint(field.example()).maybe_hint(size_hint(&text.value)))
    })?;
    match bytes.0 >= least {
        true => Ok(Spanned::new(bytes, entry.span)),
        false => {
            let finding =
                Finding::new(Code::OutOfRange, entry.span, format!("`{}` is too small", field.known.name));
            let reason = format!("it is at least {}", Bytes(least));
            Err(out.error(finding.because(reason).hint(field.example())))
        }
    }
}

/// What was probably meant by `512MB`, `1.5G`, `512m`.
fn size_hint(written: &str) -> Option<String> {
    let upper = written.to_uppercase();
    let tidy: String = upper.chars().filter(|c| !matches!(c, ' ' | 'B' | 'I')).collect();
    if tidy.parse::<Bytes>().is_ok() {
        return Some(format!("write \"{tidy}\""));
    }
    let (number, unit) = tidy.split_at_checked(tidy.len().saturating_sub(1))?;
    let number: f64 = number.parse().ok().filter(|number| (0.001..1000.0).contains(number))?;
    let smaller = match unit {
        "T" => "G",
        "G" => "M",
        "M" => "K",
        _ => return None,
    };
    Some(format!("write it in the next smaller unit: \"{}{smaller}\"", (number * 1024.0).round()))
}
