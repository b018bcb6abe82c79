//! What happened, for people.

use std::collections::VecDeque;

use mill_model::Timestamp;

use super::START;

/// Lines that are kept for a failure's report.
const KEPT: usize = 80;

/// The log of one story.
#[derive(Debug)]
pub(crate) struct Log {
    /// Whether anybody will read it.
    pub(crate) on: bool,
    whole: bool,
    lines: VecDeque<String>,
}

impl Log {
    pub(crate) const fn off() -> Self {
        Self { on: false, whole: false, lines: VecDeque::new() }
    }

    pub(crate) const fn last() -> Self {
        Self { on: true, whole: false, lines: VecDeque::new() }
    }

    pub(crate) const fn whole() -> Self {
        Self { on: true, whole: true, lines: VecDeque::new() }
    }

    pub(crate) fn push(&mut self, now: Timestamp, line: &str) {
        if !self.whole && self.lines.len() >= KEPT {
            self.lines.pop_front();
        }
        let ms = now.0.saturating_sub(START.0);
        self.lines.push_back(format!("{:>8}.{:03}  {line}", ms / 1000, ms % 1000));
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

/// Adds a line to a world's log. Costs nothing when nobody reads it.
macro_rules! note {
    ($world:expr, $($text:tt)*) => {
        if $world.log.on {
            let line = format!($($text)*);
            $world.log.push($world.now, &line);
        }
    };
}
pub(crate) use note;
