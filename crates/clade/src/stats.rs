//! What a machine did, for people and programs.

use std::time::Duration;

use clade_vmm::stats::MachineStats;

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum StatsFormat {
    /// Aligned, for people.
    Table,
    /// One line of JSON.
    Json,
}

impl StatsFormat {
    /// The lines to print.
    pub(crate) fn lines(self, stats: &MachineStats) -> Vec<String> {
        match self {
            Self::Table => table(stats),
            Self::Json => serde_json::to_string(stats).into_iter().collect(),
        }
    }
}

/// One line for each figure: what, how many, and what that means.
fn table(stats: &MachineStats) -> Vec<String> {
    let counts = &stats.engine;
    let of_all = |part| percent(part, counts.instructions);
    let of_entries = |part| percent(part, counts.entries);
    let rows = [
        (
            "instructions retired",
            counts.instructions,
            speed(counts.instructions, stats.vcpu_time),
        ),
        (
            "  in translated code",
            counts.translated(),
            of_all(counts.translated()),
        ),
        (
            "  by the interpreter",
            counts.interpreted,
            of_all(counts.interpreted),
        ),
        (
            "  assisted",
            counts.assisted,
            with(
                of_all(counts.assisted),
                "TLB misses, devices, rare instructions",
            ),
        ),
        ("units translated", counts.translations, String::new()),
        (
            "  guest instructions",
            counts.translated_instructions,
            each(
                counts.translated_instructions,
                counts.translations,
                "a unit",
            ),
        ),
        (
            "  host bytes",
            counts.translated_bytes,
            each(
                counts.translated_bytes,
                counts.translated_instructions,
                "a guest instruction",
            ),
        ),
        (
            "entries of translated code",
            counts.entries,
            each(counts.translated(), counts.entries, "instructions each"),
        ),
        (
            "  left to look at the clock",
            counts.exits_budget,
            of_entries(counts.exits_budget),
        ),
        (
            "  left for an instruction",
            counts.exits_system,
            of_entries(counts.exits_system),
        ),
        (
            "  left at a missing link",
            counts.exits_unlinked,
            of_entries(counts.exits_unlinked),
        ),
        (
            "  left for another reason",
            counts.exits_other,
            with(of_entries(counts.exits_other), "traps, jumps to new code"),
        ),
        ("jump cache misses", counts.jump_misses, String::new()),
        ("code pages changed", counts.pages_changed, String::new()),
        ("code segments evicted", counts.evictions, String::new()),
    ];
    let width = rows
        .iter()
        .map(|row| grouped(row.1).len())
        .max()
        .unwrap_or(0);
    let mut lines = vec![format!(
        "vCPU threads' time          {:.3} s",
        stats.vcpu_time.as_secs_f64()
    )];
    lines.extend(rows.into_iter().map(|(what, count, meaning)| {
        format!("{what:<27} {:>width$}  {meaning}", grouped(count))
            .trim_end()
            .to_owned()
    }));
    lines
}

/// `1,234,567`
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => String::new(),
        _ => format!("{:.1} %", part as f64 * 100.0 / whole as f64),
    }
}

fn each(count: u64, of: u64, what: &str) -> String {
    match of {
        0 => String::new(),
        _ => format!("{:.1} {what}", count as f64 / of as f64),
    }
}

fn with(text: String, remark: &str) -> String {
    match text.as_str() {
        "" => text,
        _ => format!("{text}: {remark}"),
    }
}

fn speed(instructions: u64, time: Duration) -> String {
    match time.is_zero() {
        true => String::new(),
        false => format!(
            "{:.0} million/s",
            instructions as f64 / time.as_secs_f64() / 1e6
        ),
    }
}

#[cfg(test)]
mod tests {
    use clade_vmm::stats::MachineStats;

    use super::*;

    fn stats() -> MachineStats {
        let mut stats = MachineStats {
            vcpu_time: Duration::from_millis(1500),
            ..MachineStats::default()
        };
        stats.engine.instructions = 3_000_000;
        stats.engine.interpreted = 600_000;
        stats.engine.entries = 1000;
        stats.engine.translations = 10;
        stats.engine.translated_instructions = 45;
        stats
    }

    #[test]
    fn figures_are_aligned_and_shares_are_of_their_whole() {
        let lines = StatsFormat::Table.lines(&stats());
        assert_eq!(lines[0], "vCPU threads' time          1.500 s");
        assert_eq!(
            lines[1],
            "instructions retired        3,000,000  2 million/s"
        );
        assert_eq!(lines[2], "  in translated code        2,400,000  80.0 %");
        assert_eq!(lines[3], "  by the interpreter          600,000  20.0 %");
        assert_eq!(
            lines[6],
            "  guest instructions               45  4.5 a unit"
        );
        assert_eq!(
            lines[8],
            "entries of translated code      1,000  2400.0 instructions each"
        );
    }

    #[test]
    fn nothing_done_is_told_without_dividing_by_it() {
        let lines = StatsFormat::Table.lines(&MachineStats::default());
        assert!(!lines.iter().any(|line| line.contains("NaN")), "{lines:#?}");
    }

    #[test]
    fn json_comes_back() {
        let lines = StatsFormat::Json.lines(&stats());
        let back: MachineStats = serde_json::from_str(&lines[0]).expect("JSON");
        assert_eq!((lines.len(), back), (1, stats()));
    }
}
