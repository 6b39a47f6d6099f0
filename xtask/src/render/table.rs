//! Tables: aligned columns, no frames, so that they can be cut and searched like any text.

use crate::paint::{Paint, Tone};

/// A cell: a text and how it is meant.
#[derive(Debug, Clone)]
pub(super) struct Cell(String, Tone);

impl Cell {
    /// A text with a tone.
    pub(super) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self(text.into(), tone)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self(text.into(), Tone::Plain)
    }
}

/// Rows of cells below a row of titles.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// One with these titles.
    pub(super) fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(|title| Cell::toned(*title, Tone::Dim)).collect()] }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines, each ended, without blanks at their ends.
    pub(super) fn render(&self, paint: Paint) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.0.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let last = row.iter().rposition(|cell| !cell.0.is_empty());
            for (column, cell) in row.iter().take(last.map_or(0, |last| last + 1)).enumerate() {
                text.push_str(&paint.tone(cell.1, &cell.0));
                if Some(column) != last {
                    // Escape codes have no width, so blanks are counted from the text itself.
                    text.push_str(&" ".repeat(widths[column] - cell.0.chars().count() + 2));
                }
            }
            text.push('\n');
        }
        text
    }
}
