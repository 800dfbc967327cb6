//! Columns of text.

use std::fmt;

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table: a heading per column, rows of as many cells, and lines that cut across.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    lines: Vec<Line>,
}

#[derive(Debug)]
enum Line {
    Cells(Vec<String>),
    Across(String),
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), lines: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.lines.push(Line::Cells(cells));
    }

    /// Adds a line that is not divided into columns.
    pub(crate) fn gap(&mut self, text: String) {
        self.lines.push(Line::Across(text));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(column, (title, _))| {
                let cells = self.lines.iter().filter_map(|line| match line {
                    Line::Cells(cells) => Some(cells[column].chars().count()),
                    Line::Across(_) => None,
                });
                cells.max().unwrap_or(0).max(title.chars().count())
            })
            .collect();
        let line = |f: &mut fmt::Formatter<'_>, cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            for ((cell, (_, align)), width) in cells.zip(&self.columns).zip(&widths) {
                match align {
                    Align::Left => text.push_str(&format!("  {cell:<width$}")),
                    Align::Right => text.push_str(&format!("  {cell:>width$}")),
                }
            }
            writeln!(f, "{}", text.trim_end())
        };
        line(f, &mut self.columns.iter().map(|(title, _)| *title))?;
        for row in &self.lines {
            match row {
                Line::Cells(cells) => line(f, &mut cells.iter().map(String::as_str))?,
                Line::Across(text) => writeln!(f, "  {text}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("n", Align::Right), ("name", Align::Left), ("x", Align::Right)]);
        assert!(table.is_empty());
        table.row(vec!["1".into(), "größe".into(), String::new()]);
        table.gap("…".into());
        table.row(vec!["100".into(), "b".into(), "7".into()]);
        assert_eq!(table.to_string(), "    n  name   x\n    1  größe\n  …\n  100  b      7\n");
    }
}
