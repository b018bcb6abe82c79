//! Cron expressions: minute, hour, day of the month, month, day of the week.

use std::ops::RangeInclusive;

use crate::code::Code;
use crate::finding::{Finding, Findings, quote};
use crate::read::Read;
use crate::span::Spanned;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A part: what it is called, its numbers, and the names that stand for them from the first number on.
type Part = (&'static str, RangeInclusive<u8>, &'static [&'static str]);

const PARTS: [Part; 5] = [
    ("minute", 0..=59, &[]),
    ("hour", 0..=23, &[]),
    ("day of the month", 1..=31, &[]),
    ("month", 1..=12, &MONTHS),
    // 7 is Sunday too, as crontab(5) has it.
    ("day of the week", 0..=7, &DAYS),
];

/// An expression of crontab(5)'s five parts: `*`, numbers, names, lists, ranges, steps.
pub(crate) fn read(text: Spanned<String>, out: &mut Findings) -> Read<String> {
    let parts: Vec<&str> = text.value.split_whitespace().collect();
    let refuse = |message: String| Finding::new(Code::BadSchedule, text.span, message);
    if parts.len() != PARTS.len() {
        let finding = refuse(format!("{} doesn't have five parts", quote(&text.value)));
        return Err(out.error(finding.hint("for example \"30 4 * * *\", every day at 4:30")));
    }
    for (part, (name, range, names)) in parts.iter().zip(&PARTS) {
        if !part.split(',').all(|item| is_item(item, range, names)) {
            let finding = refuse(format!("{} is no {name}", quote(part)));
            let words =
                if names.is_empty() { String::new() } else { format!(" (or names: {})", names.join(", ")) };
            let (first, last) = (range.start(), range.end());
            let reason = format!(
                "the {name} is `*`, or numbers from {first} to {last}{words}, also as lists (`1,2`), ranges (`1-5`) and steps (`*/2`)"
            );
            return Err(
                out.error(finding.because(reason).hint("for example \"30 4 * * *\", every day at 4:30"))
            );
        }
    }
    Ok(text)
}

fn is_item(item: &str, range: &RangeInclusive<u8>, names: &[&str]) -> bool {
    let (span, step) = match item.split_once('/') {
        Some((span, step)) => (span, Some(step)),
        None => (item, None),
    };
    let step_good = step.is_none_or(|step| digits(step).is_some_and(|step| step > 0 && step <= *range.end()));
    let value = |text: &str| number(text, range, names);
    let span_good = match span.split_once('-') {
        _ if span == "*" => true,
        Some((from, to)) => value(from).zip(value(to)).is_some_and(|(from, to)| from <= to),
        None => value(span).is_some() && step.is_none(),
    };
    step_good && span_good
}

fn number(text: &str, range: &RangeInclusive<u8>, names: &[&str]) -> Option<u8> {
    let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
    let named = named.and_then(|index| u8::try_from(index).ok()).map(|index| index + range.start());
    named.or_else(|| digits(text)).filter(|number| range.contains(number))
}

fn digits(text: &str) -> Option<u8> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Span;

    fn good(text: &str) -> bool {
        let span = Span::default();
        read(Spanned::new(text.to_owned(), span), &mut Findings::default()).is_ok()
    }

    #[test]
    fn schedules_have_five_parts_within_their_bounds() {
        for text in ["* * * * *", "30 4 * * *", "*/15 0-6/2 1,15 jan-MAR mon", "0 0 31 12 7", " 1  2 3 4 5 "]
        {
            assert!(good(text), "{text}");
        }
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "1/2 * * * *",
            "a * * * *",
            ", * * * *",
            "-1 * * * *",
            "+1 * * * *",
            "@daily",
            "999 * * * *",
        ] {
            assert!(!good(text), "{text}");
        }
    }
}
