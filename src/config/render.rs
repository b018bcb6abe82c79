//! Complaints as people read them: the line, what is meant in it, why, and what to do.
//!
//! ```text
//! error[unknown-field]: service `web` has no field `replica`
//!  --> mill.kdl:5:5
//!   |
//! 5 |     replica 2
//!   |     ^^^^^^^
//!   = why: a name that Mill doesn't know would otherwise be ignored in silence
//!   = hint: did you mean `replicas`?
//! ```

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

use crate::complaint::{Complaint, Complaints, Place, Severity};
use crate::finding::visible;
use crate::span::Lines;

/// How complaints are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether colours are wanted (ANSI).
    pub color: bool,
    /// Columns of a source line that are shown at most. Longer lines are cut around the place in question.
    pub columns: usize,
}

impl Default for Look {
    fn default() -> Self {
        Self { color: false, columns: 100 }
    }
}

/// What is marked in a line, and how.
struct Mark<'a> {
    place: Place,
    sign: char,
    label: &'a str,
}

#[derive(Clone, Copy)]
enum Paint {
    Error,
    Warning,
    Frame,
    Note,
    Strong,
}

impl Complaints {
    /// All of them as text. `text` is the file that they are about.
    pub fn render(&self, text: &str, look: Look) -> String {
        let lines = Lines::of(text);
        let mut drawn = String::new();
        for complaint in &self.list {
            Page { text, lines: &lines, look, drawn: &mut drawn }.complaint(complaint);
            drawn.push('\n');
        }
        drawn.push_str(&self.sum());
        drawn
    }

    /// "2 errors, 1 warning"
    fn sum(&self) -> String {
        let count = |severity| self.list.iter().filter(|complaint| complaint.severity == severity).count();
        let plural =
            |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        let mut parts = Vec::new();
        if errors > 0 {
            parts.push(plural(errors + self.omitted, "error"));
        }
        if warnings > 0 {
            parts.push(plural(warnings, "warning"));
        }
        let shown = if self.omitted > 0 { format!("; the first {errors} are shown") } else { String::new() };
        format!("{}{shown}\n", parts.join(", "))
    }
}

impl From<Vec<Complaint>> for Complaints {
    fn from(list: Vec<Complaint>) -> Self {
        Self { list, omitted: 0 }
    }
}

struct Page<'a> {
    text: &'a str,
    lines: &'a Lines,
    look: Look,
    drawn: &'a mut String,
}

impl Page<'_> {
    fn complaint(&mut self, complaint: &Complaint) {
        let (word, paint) = match complaint.severity {
            Severity::Error => ("error", Paint::Error),
            Severity::Warning => ("warning", Paint::Warning),
        };
        let mut marks = vec![Mark { place: complaint.place, sign: '^', label: "" }];
        marks.extend(complaint.related.iter().map(|r| Mark { place: r.place, sign: '-', label: &r.label }));
        marks.sort_by_key(|mark| (mark.place.line, mark.place.column));
        let gutter = marks.iter().map(|mark| mark.place.line.to_string().len()).max().unwrap_or_default();

        self.paint(paint, &format!("{word}[{}]", complaint.code));
        self.paint(Paint::Strong, &format!(": {}\n", complaint.message));
        self.paint(Paint::Frame, &format!("{:gutter$}--> ", ""));
        let Place { line, column, .. } = complaint.place;
        let _ = writeln!(self.drawn, "{}:{line}:{column}", complaint.file);
        self.marks(&marks, gutter, paint);
        for (what, text) in [("why", Some(&complaint.reason)), ("hint", complaint.hint.as_ref())] {
            let Some(text) = text else { continue };
            self.paint(Paint::Frame, &format!("{:gutter$} = ", ""));
            self.paint(Paint::Note, &format!("{what}: "));
            let _ = writeln!(self.drawn, "{text}");
        }
    }

    fn marks(&mut self, marks: &[Mark<'_>], gutter: usize, paint: Paint) {
        // A file that is empty, or refused unread, has no line to show.
        if self.text.is_empty()
            || marks.iter().all(|mark| self.lines.line(self.text, mark.place.line).1.is_empty())
        {
            return;
        }
        self.paint(Paint::Frame, &format!("{:gutter$} |\n", ""));
        let mut shown: Option<(usize, bool)> = None;
        for mark in marks {
            let line = mark.place.line;
            let (source, before, width, cut) = self.excerpt(mark.place);
            if shown.is_some_and(|(last, _)| line > last + 1) {
                self.paint(Paint::Frame, "...\n");
            }
            if shown != Some((line, false)) || cut {
                self.paint(Paint::Frame, &format!("{line:>gutter$} | "));
                let _ = writeln!(self.drawn, "{}", source.trim_end());
            }
            shown = Some((line, cut));
            self.paint(Paint::Frame, &format!("{:gutter$} | ", ""));
            let sign = mark.sign.to_string().repeat(width.max(1));
            let space = if mark.label.is_empty() { "" } else { " " };
            let painted = if mark.sign == '^' { paint } else { Paint::Frame };
            self.drawn.push_str(&" ".repeat(before));
            self.paint(painted, &format!("{sign}{space}{}", mark.label));
            self.drawn.push('\n');
        }
    }

    /// A line as it is shown, the columns before the mark, those of the mark, and whether something was cut off.
    fn excerpt(&self, place: Place) -> (String, usize, usize, bool) {
        let (start, line) = self.lines.line(self.text, place.line);
        let (from, to) = (place.start.saturating_sub(start), place.end.saturating_sub(start).min(line.len()));
        let columns = self.look.columns.max(20);
        // Characters far from the mark aren't even looked at: a line may have a megabyte.
        let near = from.saturating_sub(columns * 4);
        let near = (near..=from).find(|at| line.is_char_boundary(*at)).unwrap_or(from);
        let cells = cells(line.get(near..).unwrap_or_default(), near, columns * 2 + from - near);
        let before: usize = cells.iter().filter(|cell| cell.at < from).map(|cell| cell.width).sum();
        let total: usize = cells.iter().map(|cell| cell.width).sum();
        let fits = near == 0 && total <= columns;
        let skip = if fits || before < columns / 2 { 0 } else { before - columns / 3 };
        let (mut shown, mut at, mut width, mut marked, mut ahead) = (String::new(), 0, 0, 0, 0);
        for cell in &cells {
            at += cell.width;
            if at <= skip || width + cell.width > columns {
                continue;
            }
            shown.push_str(&cell.shown);
            width += cell.width;
            if cell.at < from {
                ahead += cell.width;
            } else if cell.at < to {
                marked += cell.width;
            }
        }
        if !fits && (skip > 0 || near > 0) {
            shown.insert_str(0, "… ");
            ahead += 2;
        }
        if !fits && at > skip + width {
            shown.push_str(" …");
        }
        (shown, ahead, marked, !fits)
    }

    fn paint(&mut self, paint: Paint, text: &str) {
        let code = match paint {
            _ if !self.look.color => {
                self.drawn.push_str(text);
                return;
            }
            Paint::Error => "1;31",
            Paint::Warning => "1;33",
            Paint::Frame => "34",
            Paint::Note => "1;32",
            Paint::Strong => "1",
        };
        let (line, end) = text.strip_suffix('\n').map_or((text, ""), |line| (line, "\n"));
        let _ = write!(self.drawn, "\u{1b}[{code}m{line}\u{1b}[0m{end}");
    }
}

/// A character as it is shown.
struct Cell {
    /// Its byte in the line.
    at: usize,
    shown: String,
    width: usize,
}

/// The characters of a line up to a number of bytes.
fn cells(text: &str, first: usize, most: usize) -> Vec<Cell> {
    const TAB: &str = "    ";
    let cell = |(at, character): (usize, char)| {
        let shown: String = if character == '\t' { TAB.to_owned() } else { visible(character).collect() };
        let width = shown.chars().map(|c| c.width().unwrap_or_default()).sum();
        Cell { at: first + at, shown, width }
    };
    text.char_indices().take_while(|(at, _)| *at < most).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complaint::{Code, Related};

    fn draw(text: &str, needle: &str, look: Look) -> String {
        let lines = Lines::of(text);
        let start = text.find(needle).unwrap();
        let place = lines.place(text, crate::span::Span::new(start, start + needle.len()));
        let (message, reason) = ("m".to_owned(), "r".to_owned());
        let (code, severity, file) = (Code::NoSpace, Severity::Error, "f".to_owned());
        let list =
            vec![Complaint { code, severity, file, place, message, reason, hint: None, related: vec![] }];
        Complaints::from(list).render(text, look)
    }

    fn underlined(text: &str, needle: &str) -> (String, String) {
        let drawn = draw(text, needle, Look::default());
        let lines: Vec<&str> = drawn.lines().collect();
        (lines[3].to_owned(), lines[4].to_owned())
    }

    #[test]
    fn the_underline_is_below_what_it_means() {
        for (text, needle, below) in [
            ("a bcd", "bcd", "  ^^^"),
            ("\tx", "x", "    ^"),
            ("日本 x", "x", "     ^"),
            ("日本 x", "本", "  ^^"),
            ("e\u{301}é x", "x", "   ^"),
            ("\u{1b}[31m x", "x", "           ^"),
            ("a\u{202e}b x", "x", "           ^"),
            ("\u{FEFF}x", "x", "^"),
            ("a\r\n b\r\n", "b", " ^"),
        ] {
            let (source, under) = underlined(text, needle);
            assert_eq!(under.get(4..), Some(below), "{source}");
            assert!(!source.contains(['\u{1b}', '\u{202e}', '\r']), "{source:?}");
        }
    }

    #[test]
    fn a_long_line_is_cut_around_its_place() {
        for at in [0, 10, 60, 99, 100, 5000, 999_000] {
            let text = format!("{}XYZ{}", "é".repeat(at), "b".repeat(999_999 - at));
            let (source, under) = underlined(&text, "XYZ");
            assert!(source.chars().count() < 110, "{at}: {source}");
            let column = under.find('^').unwrap();
            let marked: String = source.chars().skip(column).take(3).collect();
            assert_eq!(marked, "XYZ", "{at}: {source}\n{under}");
        }
    }

    #[test]
    fn colours_are_only_there_when_wanted() {
        let plain = draw("a b", "b", Look::default());
        let painted = draw("a b", "b", Look { color: true, ..Look::default() });
        assert!(!plain.contains('\u{1b}') && painted.contains("\u{1b}[1;31m"));
        let parts = painted.split('\u{1b}').enumerate();
        let stripped = parts.map(|(n, part)| if n == 0 { part } else { part.split_once('m').unwrap().1 });
        assert_eq!(stripped.collect::<String>(), plain);
    }

    #[test]
    fn related_places_stand_in_the_order_of_the_file() {
        let text = "one\ntwo\nthree\nfour";
        let lines = Lines::of(text);
        let place = |start, end| lines.place(text, crate::span::Span::new(start, end));
        let complaint = Complaint {
            code: Code::DuplicateField,
            severity: Severity::Warning,
            file: "f".to_owned(),
            place: place(14, 18),
            message: "m".to_owned(),
            reason: "r".to_owned(),
            hint: Some("h".to_owned()),
            related: vec![Related { place: place(0, 3), label: "first".to_owned() }],
        };
        let drawn = Complaints { list: vec![complaint], omitted: 0 }.render(text, Look::default());
        let wanted = "warning[duplicate-field]: m\n --> f:4:1\n  |\n1 | one\n  | --- first\n...\n4 | four\n  | ^^^^\n  = why: r\n  = hint: h\n\n1 warning\n";
        assert_eq!(drawn, wanted);
    }
}
