//! The figures: a table for people, JSON for programs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{ALL, BOOT, Outputs, qemu_version};
use crate::Options;
use crate::peer::Peer;

/// All that was measured and all that went wrong.
pub(crate) struct Report {
    header: String,
    peers: Vec<Peer>,
    /// Seconds of every round.
    times: BTreeMap<(&'static str, Peer), Vec<f64>>,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(options: &Options, image: &clade_images::Image) -> Result<Self, String> {
        let mut header = format!(
            "Linux {} and packages of Debian {}, {} hart(s) and copies, best of {}",
            image.kernel_version,
            image.name.rsplit(':').next().unwrap_or_default(),
            options.cpus,
            options.rounds,
        );
        if let Some(version) = qemu_version(options)? {
            header.push_str(&format!("; QEMU {version}, TCG"));
        }
        Ok(Self {
            header,
            peers: options.peers.clone(),
            times: BTreeMap::new(),
            failures: Vec::new(),
        })
    }

    /// Notes a time.
    pub(crate) fn add(&mut self, name: &'static str, peer: Peer, time: Duration) {
        eprintln!(
            "{name:<14} {:<8} {:>8.2} s",
            peer.title(),
            time.as_secs_f64()
        );
        let times = self.times.entry((name, peer)).or_default();
        times.push(time.as_secs_f64());
    }

    /// Notes a failure.
    pub(crate) fn fail(&mut self, name: &str, peer: Peer, reason: &str) {
        let failure = format!("{name} under {}: {reason}", peer.title());
        eprintln!("FAILED: {failure}");
        self.failures.push(failure);
    }

    /// An error that tells all failures, if there were any.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        match self.failures.len() {
            0 => Ok(()),
            count => Err(format!("{count} failure(s):\n{}", self.failures.join("\n"))),
        }
    }

    /// The best time in seconds.
    fn best(&self, name: &'static str, peer: Peer) -> Option<f64> {
        let times = self.times.get(&(name, peer))?;
        times.iter().copied().reduce(f64::min)
    }

    fn ratio(&self, name: &'static str, (over, under): (Peer, Peer)) -> Option<f64> {
        Some(self.best(name, over)? / self.best(name, under)?)
    }

    /// The ratios that can be told: how much faster Clade is than QEMU, how much slower than native.
    fn ratios(&self) -> Vec<(Peer, Peer)> {
        [
            (Peer::Qemu, Peer::Clade),
            (Peer::Interpreter, Peer::Clade),
            (Peer::Clade, Peer::Native),
        ]
        .into_iter()
        .filter(|(over, under)| self.peers.contains(over) && self.peers.contains(under))
        .collect()
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        let ratios = self.ratios();
        println!("{}\n", self.header);
        print!("{:<14}", "workload");
        for peer in &self.peers {
            print!(" {:>11}", peer.title());
        }
        for (over, under) in &ratios {
            print!(" {:>17}", format!("{}/{}", over.title(), under.title()));
        }
        println!();
        for name in names() {
            if self
                .peers
                .iter()
                .all(|&peer| self.best(name, peer).is_none())
            {
                continue;
            }
            print!("{name:<14}");
            for &peer in &self.peers {
                print!(" {:>11}", cell(self.best(name, peer), "s"));
            }
            for &ratio in &ratios {
                print!(" {:>17}", cell(self.ratio(name, ratio), "x"));
            }
            println!();
        }
        print!("{:<14}", "geometric mean");
        print!("{}", " ".repeat(12 * self.peers.len()));
        for &ratio in &ratios {
            print!(" {:>17}", cell(self.mean(ratio), "x"));
        }
        println!();
    }

    /// The geometric mean of a ratio over all workloads that have it.
    fn mean(&self, ratio: (Peer, Peer)) -> Option<f64> {
        let ratios: Vec<f64> = names().filter_map(|name| self.ratio(name, ratio)).collect();
        let logs: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
        (!ratios.is_empty()).then(|| (logs / ratios.len() as f64).exp())
    }

    /// Writes the times of all rounds, in seconds, and what the workloads printed.
    pub(crate) fn write_json(&self, path: &Path, outputs: &Outputs) -> Result<(), String> {
        let peers = |name| -> Value {
            let times = |&peer| {
                Some((
                    Peer::title(peer).to_owned(),
                    json!(self.times.get(&(name, peer))?),
                ))
            };
            Value::Object(self.peers.iter().filter_map(times).collect())
        };
        let printed =
            |(name, (_, output)): (&&str, &(Peer, String))| ((*name).to_owned(), json!(output));
        let seconds = names().map(|name| (name.to_owned(), peers(name))).collect();
        let report = json!({
            "header": self.header,
            "seconds": Value::Object(seconds),
            "outputs": Value::Object(outputs.iter().map(printed).collect()),
            "failures": self.failures,
        });
        std::fs::write(path, format!("{report:#}\n"))
            .map_err(|error| format!("{}: {error}", path.display()))
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    [BOOT]
        .into_iter()
        .chain(ALL.iter().map(|workload| workload.name))
}

fn cell(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2} {unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(times: &[(&'static str, Peer, u64)]) -> Report {
        let mut report = Report {
            header: String::new(),
            peers: vec![Peer::Clade, Peer::Qemu],
            times: BTreeMap::new(),
            failures: Vec::new(),
        };
        for &(name, peer, seconds) in times {
            report.add(name, peer, Duration::from_secs(seconds));
        }
        report
    }

    #[test]
    fn the_mean_is_geometric_over_the_best_times_of_both() {
        let ratio = (Peer::Qemu, Peer::Clade);
        let report = report(&[
            ("gzip", Peer::Clade, 1),
            ("gzip", Peer::Qemu, 9),
            ("gzip", Peer::Qemu, 8),
            ("sort", Peer::Clade, 4),
            ("sort", Peer::Qemu, 8),
            ("zstd", Peer::Clade, 1),
        ]);
        assert!((report.mean(ratio).unwrap() - 4.0).abs() < 1e-9);
        assert_eq!(report.ratio("zstd", ratio), None);
        assert_eq!(report.ratios(), [ratio]);
    }

    #[test]
    fn a_failure_is_in_the_verdict() {
        let mut report = report(&[]);
        assert_eq!(report.verdict(), Ok(()));
        report.fail("gzip", Peer::Clade, "printed nonsense");
        let verdict = report.verdict().unwrap_err();
        assert!(verdict.contains("gzip under Clade: printed nonsense"));
    }
}
