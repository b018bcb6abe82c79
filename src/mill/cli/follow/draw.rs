//! Rows as lines: the same on a terminal and elsewhere, save for bars, colours and what is still under way.

use std::fmt::Write as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mill_model::Timestamp;

use super::board::{Board, Mood, Row};
use crate::cli::ui::{Colour, Terminal, duration, percent_of, printable, transfer};

/// Cells of a full bar.
const BAR_CELLS: u64 = 12;
/// Columns of a line between its verb and its time. A longer text pushes the time to the right.
const SUBJECT_COLUMNS: usize = 32;
/// Rows that are drawn at once; the rest is counted. More than fit on a screen flicker.
const DRAWN_MAX: usize = 16;

/// One row as a line.
pub(crate) fn line(row: &Row, took: Option<Duration>, service_width: usize, terminal: &Terminal) -> String {
    let service = row.service.as_ref().map_or("", |name| name.as_str());
    let colour = match row.mood {
        Mood::Busy => Colour::Cyan,
        Mood::Good => Colour::Green,
        Mood::Bad => Colour::Red,
        Mood::Quiet => Colour::Grey,
    };
    let verb = format!("{:<9}", row.verb);
    let mut subject = printable(&row.subject).into_owned();
    if let Some((done, all)) = row.bytes {
        if terminal.width.is_some() {
            let _ = write!(subject, " {}", bar(done, all));
        }
        let _ = write!(subject, " {}", transfer(done));
        if all > done {
            let _ = write!(subject, " of {}", transfer(all));
        }
    }
    if let Some(beside) = &row.beside {
        let _ = write!(subject, ", {}", printable(beside));
    }
    let took = took.map(duration).unwrap_or_default();
    let padding = SUBJECT_COLUMNS.saturating_sub(subject.chars().count());
    let line = format!(
        "  {service:<service_width$}  {} {subject}{:padding$}  {took:>6}",
        terminal.paint(colour, &verb),
        ""
    );
    line.trim_end().to_owned()
}

fn bar(done: u64, all: u64) -> String {
    let full = percent_of(done, all) * BAR_CELLS / 100;
    (0..BAR_CELLS).map(|cell| if cell < full { '█' } else { '░' }).collect()
}

/// What is under way as lines, at most [`DRAWN_MAX`] of them.
pub(crate) fn open_lines(board: &Board, now: Timestamp, terminal: &Terminal) -> Vec<String> {
    let width = board.service_width();
    let drawn = board.open().iter().take(DRAWN_MAX);
    let mut lines: Vec<String> =
        drawn.map(|row| line(row, Some(Board::open_for(row, now)), width, terminal)).collect();
    let more = board.open().len().saturating_sub(DRAWN_MAX);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines
}

/// Draws in place what is under way, below what is written for good.
pub(crate) struct Live {
    drawing: MultiProgress,
    bars: Vec<ProgressBar>,
    style: ProgressStyle,
}

impl Live {
    /// A drawing on stderr, which must be a terminal.
    pub(crate) fn new() -> Self {
        // The only way for the template to be wrong is a change of this line; the default draws too.
        let style =
            ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { drawing: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()), bars: vec![], style }
    }

    /// Writes a line for good.
    pub(crate) fn write(&self, line: &str) -> std::io::Result<()> {
        self.drawing.println(line)
    }

    /// Draws these lines in place of the last ones.
    pub(crate) fn draw(&mut self, lines: &[String]) {
        while self.bars.len() > lines.len() {
            if let Some(bar) = self.bars.pop() {
                bar.finish_and_clear();
                self.drawing.remove(&bar);
            }
        }
        while self.bars.len() < lines.len() {
            let bar = self.drawing.add(ProgressBar::new_spinner());
            bar.set_style(self.style.clone());
            self.bars.push(bar);
        }
        for (bar, line) in self.bars.iter().zip(lines) {
            bar.set_message(line.clone());
            bar.tick();
        }
    }
}
