//! Signals of Linux (signal(7)), by name or number.

use crate::code::Code;
use crate::finding::{Complained, Finding, Findings, quote};
use crate::kdl::{Value, integer};
use crate::read::{Field, plain, single, wrong_type};

/// From 1 on, as x86, ARM and RISC-V number them.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The first and last real-time signal that programs may use (glibc keeps 32 and 33).
const REAL_TIME: std::ops::RangeInclusive<u8> = 34..=64;

/// The signal that a field names, as specs write it: `SIGTERM`, `SIGRTMIN+3`.
pub(crate) fn read(field: &Field<'_>, out: &mut Findings) -> Result<String, Complained> {
    let entry = single(field, out)?;
    let (written, signal) = match &entry.value {
        Value::Number(number) => (number.clone(), integer(number).and_then(by_number)),
        Value::Text(_) => {
            let text = plain(field, entry, out)?;
            (text.value.clone(), by_text(&text.value))
        }
        _ => return Err(wrong_type(field, entry, out)),
    };
    signal.ok_or_else(|| {
        let message = format!("{} is no signal", quote(&written));
        let finding = Finding::new(Code::BadSignal, entry.span, message);
        out.error(finding.hint("for example `SIGTERM`, `SIGQUIT`, `SIGINT`, `SIGRTMIN+3`"))
    })
}

fn by_text(text: &str) -> Option<String> {
    if let Ok(number) = text.parse::<i128>() {
        return by_number(number);
    }
    let upper = text.to_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = bare.strip_prefix("RTMIN") {
        let offset: u8 = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
        return by_number(i128::from(*REAL_TIME.start()) + i128::from(offset));
    }
    if let Some(offset) = bare.strip_prefix("RTMAX") {
        let offset: u8 = if offset.is_empty() { 0 } else { offset.strip_prefix('-')?.parse().ok()? };
        return by_number(i128::from(*REAL_TIME.end()) - i128::from(offset));
    }
    SIGNALS.contains(&bare).then(|| format!("SIG{bare}"))
}

fn by_number(number: i128) -> Option<String> {
    let number = u8::try_from(number).ok()?;
    if REAL_TIME.contains(&number) {
        return Some(match number - REAL_TIME.start() {
            0 => "SIGRTMIN".to_owned(),
            offset => format!("SIGRTMIN+{offset}"),
        });
    }
    let index = usize::from(number).checked_sub(1)?;
    SIGNALS.get(index).map(|name| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_one_spelling() {
        for (written, signal) in [
            ("SIGTERM", "SIGTERM"),
            ("term", "SIGTERM"),
            ("15", "SIGTERM"),
            ("31", "SIGSYS"),
            ("34", "SIGRTMIN"),
            ("SIGRTMIN+3", "SIGRTMIN+3"),
            ("37", "SIGRTMIN+3"),
            ("rtmax-1", "SIGRTMIN+29"),
            ("SIGRTMAX", "SIGRTMIN+30"),
        ] {
            assert_eq!(by_text(written).as_deref(), Some(signal), "{written}");
            assert_eq!(by_text(signal).as_deref(), Some(signal), "{signal}");
        }
        for bad in [
            "",
            "SIG",
            "SIGFOO",
            "0",
            "32",
            "65",
            "-1",
            "SIGRTMIN+31",
            "SIGRTMIN-1",
            "RTMAX-31",
            "SIGRTMIN+999",
        ] {
            assert_eq!(by_text(bad), None, "{bad}");
        }
    }
}
