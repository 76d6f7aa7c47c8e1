//! From what a command printed to the figure.

use super::catalog::Figure;
use crate::guest::Outcome;

/// The figure of a row, in the row's unit.
pub(super) fn read(figure: Figure, outcome: &Outcome) -> Result<f64, String> {
    if !outcome.good {
        return Err(format!("it failed and printed:\n{}", outcome.output));
    }
    let odd = || format!("what it printed is not understood:\n{}", outcome.output);
    let seconds = outcome.time.as_secs_f64();
    match figure {
        Figure::Fio(field) => terse(&outcome.output, field)
            .map(|kibibytes| kibibytes * 1024.0 / 1e6)
            .ok_or_else(odd),
        Figure::Operations(field) => terse(&outcome.output, field)
            .map(|operations| operations / 1e3)
            .ok_or_else(odd),
        Figure::Iperf => iperf(&outcome.output).ok_or_else(odd),
        Figure::Files(count) => Ok(f64::from(count) / seconds),
        Figure::Megabytes(count) => Ok(f64::from(count) * 1.048_576 / seconds),
    }
}

/// A field of fio's terse output, version 3.
fn terse(output: &str, field: usize) -> Option<f64> {
    let line = output.lines().find(|line| line.starts_with("3;"))?;
    line.split(';').nth(field)?.parse().ok()
}

/// What the receiver got, in megabytes a second.
fn iperf(output: &str) -> Option<f64> {
    let json = &output[output.find('{')?..=output.rfind('}')?];
    let report: serde_json::Value = serde_json::from_str(json).ok()?;
    let bits = report["end"]["sum_received"]["bits_per_second"].as_f64()?;
    Some(bits / 8e6)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outcome(output: &str) -> Outcome {
        Outcome {
            time: Duration::from_secs(2),
            output: output.into(),
            good: true,
        }
    }

    #[test]
    fn figures_are_found_in_what_programs_print() {
        let fio = outcome("a warning\n3;fio-3.39;j;0;0;524288;100000;800;5242\n");
        assert_eq!(read(Figure::Fio(6), &fio), Ok(102.4));
        assert_eq!(read(Figure::Operations(7), &fio), Ok(0.8));
        let iperf = outcome("{\"end\": {\"sum_received\": {\"bits_per_second\": 8e8}}}\n");
        assert_eq!(read(Figure::Iperf, &iperf), Ok(100.0));
        assert_eq!(read(Figure::Files(2000), &outcome("")), Ok(1000.0));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(read(Figure::Fio(6), &outcome("fio: no such file")).is_err());
        assert!(read(Figure::Iperf, &outcome("{}")).is_err());
        let failed = Outcome {
            good: false,
            ..outcome("")
        };
        assert!(read(Figure::Files(1), &failed).is_err());
    }
}
