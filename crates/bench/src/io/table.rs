//! What was measured, side by side.

use std::collections::BTreeMap;

use crate::peer::Peer;

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) name: &'static str,
    /// Whether more of it is better.
    pub(super) more: bool,
}

/// Figures of both peers, row by row, in the order in which the rows came.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<(String, Unit)>,
    /// One for each round.
    figures: BTreeMap<(String, Peer), Vec<f64>>,
}

impl Table {
    /// Adds a figure, and says it.
    pub(super) fn note(&mut self, row: &str, unit: Unit, peer: Peer, figure: f64) {
        eprintln!(
            "{row:<19} {:<6} {:>9} {}",
            peer.title(),
            number(figure),
            unit.name
        );
        if self.rows.iter().all(|(name, _)| name != row) {
            self.rows.push((row.to_owned(), unit));
        }
        self.figures
            .entry((row.to_owned(), peer))
            .or_default()
            .push(figure);
    }

    /// The table for people: the best of each peer, how many times as good the first is, and between
    /// which bounds that was in single rounds.
    pub(super) fn text(&self, [first, second]: [Peer; 2]) -> String {
        let mut text = format!(
            "{:<19} {:>14} {:>14} {:>9}   {}\n",
            "",
            first.title(),
            second.title(),
            "ahead",
            "in single rounds"
        );
        for (name, unit) in &self.rows {
            if let (Some(first), Some(second)) = (self.of(name, first), self.of(name, second)) {
                text += &line(name, *unit, first, second);
            }
        }
        text
    }

    fn of(&self, row: &str, peer: Peer) -> Option<&[f64]> {
        self.figures.get(&(row.to_owned(), peer)).map(Vec::as_slice)
    }
}

/// With a digit behind the point, small ones with more.
fn number(figure: f64) -> String {
    match figure < 1.0 {
        true => format!("{figure:.3}"),
        false => format!("{figure:.1}"),
    }
}

fn line(name: &str, unit: Unit, first: &[f64], second: &[f64]) -> String {
    let best = |figures: &[f64]| {
        let pick = if unit.more { f64::max } else { f64::min };
        figures.iter().copied().reduce(pick).unwrap_or(f64::NAN)
    };
    let ahead = |first: f64, second: f64| match unit.more {
        true => first / second,
        false => second / first,
    };
    let rounds = first
        .iter()
        .zip(second)
        .map(|(&first, &second)| ahead(first, second));
    let rounds: Vec<f64> = rounds.collect();
    let lowest = rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = rounds.iter().copied().fold(0.0, f64::max);
    let cell = |figure: f64| format!("{} {}", number(figure), unit.name);
    let (first, second) = (best(first), best(second));
    format!(
        "{name:<19} {:>14} {:>14} {:>7.2} x   {lowest:.2} to {highest:.2}\n",
        cell(first),
        cell(second),
        ahead(first, second)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_counts_and_ahead_means_better() {
        let mut table = Table::default();
        let rate = Unit {
            name: "MB/s",
            more: true,
        };
        let time = Unit {
            name: "s",
            more: false,
        };
        for (clade, qemu) in [(30.0, 10.0), (20.0, 8.0)] {
            table.note("read", rate, Peer::Clade, clade);
            table.note("read", rate, Peer::Qemu, qemu);
            table.note("start", time, Peer::Clade, clade);
            table.note("start", time, Peer::Qemu, qemu);
        }
        table.note("alone", rate, Peer::Clade, 1.0);
        let text = table.text([Peer::Clade, Peer::Qemu]);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let read = [
            "read", "30.0", "MB/s", "10.0", "MB/s", "3.00", "x", "2.50", "to", "3.00",
        ];
        let start = [
            "start", "20.0", "s", "8.0", "s", "0.40", "x", "0.33", "to", "0.40",
        ];
        assert_eq!(lines[1..], [&read[..], &start[..]]);
    }
}
