//! Tables on standard output.

use std::io::{self, IsTerminal, Write};

use crate::failure::Failure;
use crate::style::{self, Shade};

/// Prints rows below a heading, columns aligned to the left and two spaces apart.
pub(crate) fn print<const N: usize>(
    heading: [&str; N],
    rows: &[[String; N]],
) -> Result<(), Failure> {
    let colour = style::wants_colour(&io::stdout());
    let mut lines = layout(heading, rows);
    lines[0] = style::shaded(&lines[0], Shade::Dim, colour);
    print_lines(lines)
}

/// Prints lines.
pub(crate) fn print_lines(lines: impl IntoIterator<Item = String>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    lines
        .into_iter()
        .try_for_each(|line| writeln!(stdout, "{line}"))
        .map_err(|error| Failure::of_output(&error))
}

/// Prints a value as JSON: indented on a terminal, on one line otherwise.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)?
    } else {
        serde_json::to_string(value)?
    };
    print_lines([text])
}

fn layout<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let mut widths = heading.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(heading.to_vec())];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [
            ["é".to_owned(), "1".to_owned()],
            ["longer".to_owned(), String::new()],
        ];
        assert_eq!(
            layout(["A", "B"], &rows),
            ["A       B", "é       1", "longer"]
        );
    }
}
