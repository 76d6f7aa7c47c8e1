//! What was measured, often enough to say what is usual and what is rare.

/// Who was measured: columns of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Clade,
    /// QEMU's `savevm` and `loadvm`.
    SaveVm,
    /// QEMU's `migrate` to a file, and QEMU started from it.
    Migration,
}

impl Column {
    const ALL: [Self; 3] = [Self::Clade, Self::SaveVm, Self::Migration];

    fn title(self) -> &'static str {
        match self {
            Self::Clade => "Clade",
            Self::SaveVm => "savevm/loadvm",
            Self::Migration => "migration file",
        }
    }
}

/// Figures of all, row by row, in the order in which the rows came. Less is better everywhere.
#[derive(Default)]
pub(super) struct Samples {
    rows: Vec<Row>,
}

struct Row {
    name: String,
    unit: &'static str,
    /// By column.
    figures: [Vec<f64>; 3],
}

impl Samples {
    /// Adds a figure, and says it.
    pub(super) fn note(&mut self, name: &str, unit: &'static str, column: Column, figure: f64) {
        eprintln!("{name:<24} {:<14} {figure:>10.2} {unit}", column.title());
        let place = self.rows.iter().position(|row| row.name == name);
        let place = place.unwrap_or_else(|| {
            self.rows.push(Row {
                name: name.to_owned(),
                unit,
                figures: Default::default(),
            });
            self.rows.len() - 1
        });
        self.rows[place].figures[column as usize].push(figure);
    }

    /// The table for people: median and 99th percentile of each, and how many times as much QEMU's
    /// medians are.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{:<24} {:>4}", "p50 / p99", "n");
        for column in Column::ALL {
            text += &format!(" {:>24}", column.title());
        }
        text += "   ahead of either\n";
        for row in &self.rows {
            text += &row.text();
        }
        text
    }
}

impl Row {
    fn text(&self) -> String {
        let mut text = format!("{:<24} {:>4}", self.name, self.figures[0].len());
        for figures in &self.figures {
            let cell = match (percentile(figures, 50), percentile(figures, 99)) {
                (Some(usual), Some(rare)) => format!("{usual:.1} / {rare:.1} {}", self.unit),
                _ => "-".to_owned(),
            };
            text += &format!(" {cell:>24}");
        }
        let medians = self.figures.each_ref().map(|all| percentile(all, 50));
        for other in &medians[1..] {
            let ahead = match (medians[0], other) {
                (Some(own), Some(other)) if own > 0.0 => format!("{:.1} x", other / own),
                _ => "-".to_owned(),
            };
            text += &format!(" {ahead:>8}");
        }
        text.trim_end().to_owned() + "\n"
    }
}

/// The smallest figure that so many percent do not exceed; of few figures, the largest.
fn percentile(figures: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_figures_that_were_measured() {
        let figures: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&figures, 50), Some(100.0));
        assert_eq!(percentile(&figures, 99), Some(198.0));
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 50), Some(2.0));
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 99), Some(3.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_row_says_how_far_ahead_its_first_is() {
        let mut samples = Samples::default();
        samples.note("clone", "ms", Column::Clade, 10.0);
        samples.note("clone", "ms", Column::Migration, 250.0);
        let text = samples.text();
        let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        let expected = [
            "clone", "1", "10.0", "/", "10.0", "ms", "-", "250.0", "/", "250.0", "ms", "-", "25.0",
            "x",
        ];
        assert_eq!(last, expected);
    }
}
