//! `clade doctor`

mod checks;
mod kvm;
mod translator;

use std::io;
use std::process::ExitCode;

use serde::Serialize;

use crate::failure::Failure;
use crate::style::{self, Shade};
use crate::table;

/// Say what this host can do, and how to fix what it cannot.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it should be.
    Good,
    /// Clade runs, but something is missing.
    Lacking,
    /// Clade cannot run.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    what: &'static str,
    verdict: Verdict,
    finding: String,
    /// The exact command or setting that makes it good.
    remedy: Option<String>,
}

impl Check {
    fn good(what: &'static str, finding: impl Into<String>) -> Self {
        Self {
            what,
            verdict: Verdict::Good,
            finding: finding.into(),
            remedy: None,
        }
    }

    fn lacking(what: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self {
            what,
            verdict: Verdict::Lacking,
            finding: finding.into(),
            remedy,
        }
    }

    fn bad(what: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Bad,
            ..Self::lacking(what, finding, remedy)
        }
    }
}

impl Doctor {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let checks = checks::all();
        if self.json {
            table::print_json(&checks)?;
        } else {
            let colour = style::wants_colour(&io::stdout());
            table::print_lines(checks.iter().flat_map(|check| lines(check, colour)))?;
        }
        if checks.iter().any(|check| check.verdict == Verdict::Bad) {
            return Err(Failure::new(
                "this host cannot run machines as it is; see the remedies marked with ✗ above",
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn lines(check: &Check, colour: bool) -> Vec<String> {
    let (mark, shade) = match check.verdict {
        Verdict::Good => ("✓", Shade::Green),
        Verdict::Lacking => ("!", Shade::Yellow),
        Verdict::Bad => ("✗", Shade::Red),
    };
    let mark = style::shaded(mark, shade, colour);
    let mut lines = vec![format!("{mark} {:<12} {}", check.what, check.finding)];
    for line in check.remedy.iter().flat_map(|remedy| remedy.lines()) {
        lines.push(format!("{:15}→ {line}", ""));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_shows_its_remedy_below() {
        let check = Check::lacking(
            "KVM",
            "no permission",
            "sudo usermod -aG kvm me\nlog in again",
        );
        assert_eq!(
            lines(&check, false),
            [
                "! KVM          no permission",
                "               → sudo usermod -aG kvm me",
                "               → log in again",
            ]
        );
        assert_eq!(
            lines(&Check::good("memory", "16 GiB"), false),
            ["✓ memory       16 GiB"]
        );
    }
}
