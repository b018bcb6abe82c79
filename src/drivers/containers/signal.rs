//! Signals, by the names that images and people use.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A signal of Linux, 1 to 64. Numbers are those of x86 and ARM, which is where Mill runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// A text that names no signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no such signal: a name like SIGTERM, or a number from 1 to 64")]
pub struct UnknownSignal;

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The first and last number of the signals for programs' own use. The C library keeps 32 and 33.
const REAL_TIME: (u8, u8) = (34, 64);

impl Signal {
    /// Asks to end.
    pub const TERM: Self = Self(15);
    /// Ends.
    pub const KILL: Self = Self(9);

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The signal of a number from 1 to 64.
    pub fn from_number(number: u8) -> Option<Self> {
        (1..=64).contains(&number).then_some(Self(number))
    }
}

impl FromStr for Signal {
    type Err = UnknownSignal;
    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        if let Ok(number) = text.parse() {
            return Self::from_number(number).ok_or(UnknownSignal);
        }
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.get(1..)?.parse::<u8>().ok() };
        let (first, last) = REAL_TIME;
        let number = match bare {
            "IOT" => Some(6),
            "POLL" => Some(29),
            "CLD" => Some(17),
            _ => match (bare.strip_prefix("RTMIN"), bare.strip_prefix("RTMAX")) {
                (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => {
                    offset(rest).and_then(|n| first.checked_add(n))
                }
                (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => {
                    offset(rest).and_then(|n| last.checked_sub(n))
                }
                _ => {
                    let index = NAMES.iter().position(|name| *name == bare);
                    index.and_then(|index| u8::try_from(index + 1).ok())
                }
            },
        };
        let is_real_time = bare.starts_with("RTM");
        let in_range = |n: &u8| !is_real_time || (first..=last).contains(n);
        number.filter(in_range).and_then(Self::from_number).ok_or(UnknownSignal)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0) - 1) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 >= REAL_TIME.0 => write!(f, "SIGRTMIN+{}", self.0 - REAL_TIME.0),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        let table = [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("SIGQUIT", 3),
            ("WINCH", 28),
            ("SIGUSR2", 12),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("RTMIN", 34),
            ("SIGSYS", 31),
            ("IOT", 6),
        ];
        for (text, number) in table {
            assert_eq!(text.parse::<Signal>().map(Signal::number), Ok(number), "{text}");
        }
        for bad in ["", "0", "65", "-1", "SIG", "SIGNOPE", "RTMIN+31", "RTMAX-31", "RTMIN3"] {
            assert_eq!(bad.parse::<Signal>(), Err(UnknownSignal), "{bad}");
        }
    }

    #[test]
    fn every_signal_reads_back_what_it_prints() {
        for signal in (1..=64).filter_map(Signal::from_number) {
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
    }
}
