//! Tables without lines: columns as wide as what is in them, two spaces between.

use super::{Colour, Terminal, printable};

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Names and words.
    Left,
    /// Numbers.
    Right,
}

/// A table.
pub(crate) struct Table {
    spare: &'static [&'static str],
    heads: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(heads: impl IntoIterator<Item = (&'static str, Align)>) -> Self {
        Self { spare: &[], heads: heads.into_iter().collect(), rows: vec![] }
    }

    /// Columns that a narrow terminal can do without, the first one first.
    #[must_use]
    pub(crate) const fn spare(mut self, columns: &'static [&'static str]) -> Self {
        self.spare = columns;
        self
    }

    /// Begins the next row.
    pub(crate) fn row(&mut self) -> &mut Self {
        self.rows.push(Vec::with_capacity(self.heads.len()));
        self
    }

    /// The row's next cell.
    pub(crate) fn cell(&mut self, text: impl Into<String>) -> &mut Self {
        self.push(&text.into(), None)
    }

    /// The row's next cell, coloured.
    pub(crate) fn painted(&mut self, colour: Colour, text: impl Into<String>) -> &mut Self {
        self.push(&text.into(), Some(colour))
    }

    fn push(&mut self, text: &str, colour: Option<Colour>) -> &mut Self {
        let text = printable(text).into_owned();
        if let Some(row) = self.rows.last_mut() {
            row.push(Cell { text, colour });
        }
        self
    }

    /// The table as text. Columns that are empty in every row are left out; on a terminal spare ones too, until the
    /// rest fits, and the last one is cut where the line ends.
    pub(crate) fn render(&self, terminal: &Terminal) -> String {
        let mut widths: Vec<usize> = (0..self.heads.len()).map(|column| self.width(column)).collect();
        for name in self.spare {
            let line: usize = widths.iter().filter(|width| **width > 0).map(|width| width + 2).sum();
            if terminal.width.is_none_or(|columns| line <= columns + 2) {
                break;
            }
            for (width, _) in widths.iter_mut().zip(&self.heads).filter(|(_, (head, _))| head == name) {
                *width = 0;
            }
        }
        let heads =
            self.heads.iter().map(|(text, _)| Cell { text: (*text).to_owned(), colour: Some(Colour::Grey) });
        let heads: Vec<Cell> = heads.collect();
        let lines = std::iter::once(&heads).chain(&self.rows);
        lines.map(|row| self.line(row, &widths, terminal)).collect()
    }

    /// 0 for a column that is empty in every row.
    fn width(&self, column: usize) -> usize {
        let widest =
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max();
        let head = self.heads.get(column).map_or(0, |(text, _)| text.len());
        match widest {
            None | Some(0) if !self.rows.is_empty() => 0,
            widest => head.max(widest.unwrap_or_default()),
        }
    }

    fn line(&self, row: &[Cell], widths: &[usize], terminal: &Terminal) -> String {
        let mut line = String::new();
        let mut used = 0;
        let last = widths.iter().rposition(|width| *width > 0).unwrap_or_default();
        for (index, (cell, &width)) in row.iter().zip(widths).enumerate() {
            if width == 0 {
                continue;
            }
            if used > 0 {
                line.push_str("  ");
                used += 2;
            }
            let text = match terminal.width {
                Some(columns) if index == last => cut(&cell.text, columns.saturating_sub(used)),
                _ => cell.text.clone(),
            };
            let padding = " ".repeat(width.saturating_sub(text.chars().count()));
            let text =
                cell.colour.map_or_else(|| text.as_str().into(), |colour| terminal.paint(colour, &text));
            match self.heads.get(index).map(|(_, align)| *align) {
                Some(Align::Right) => line.extend([padding.as_str(), &text]),
                _ if index == last => line.push_str(&text),
                _ => line.extend([&text, padding.as_str()]),
            }
            used += width;
        }
        let mut line = line.trim_end().to_owned();
        line.push('\n');
        line
    }
}

fn cut(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([
            ("NAME", Align::Left),
            ("N", Align::Right),
            ("NOTE", Align::Left),
            ("REASON", Align::Left),
        ]);
        table.row().cell("a").cell("1").cell("").painted(Colour::Red, "out of everything it needs");
        table.row().cell("longer").cell("100").cell("").cell("");
        table
    }

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        let text = table().render(&Terminal::plain());
        assert_eq!(text, "NAME      N  REASON\na         1  out of everything it needs\nlonger  100\n");
    }

    #[test]
    fn a_terminals_lines_are_not_exceeded() {
        let narrow = Terminal { width: Some(20), ..Terminal::plain() };
        assert_eq!(table().render(&narrow), "NAME      N  REASON\na         1  out of…\nlonger  100\n");
        let spared = table().spare(&["N", "NAME"]).render(&Terminal { width: Some(34), ..narrow });
        assert_eq!(spared, "NAME    REASON\na       out of everything it needs\nlonger\n");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let coloured = Terminal { colour: true, ..Terminal::plain() };
        let text = table().render(&coloured);
        assert!(text.contains("\x1b[1;31mout of everything it needs\x1b[0m"), "{text:?}");
        let mut bare = text;
        for code in ["\x1b[1;31m", "\x1b[90m", "\x1b[0m"] {
            bare = bare.replace(code, "");
        }
        let lines: Vec<&str> = bare.lines().map(str::trim_end).collect();
        assert_eq!(lines.join("\n") + "\n", table().render(&Terminal::plain()));
    }
}
