//! `clade wait`

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clade_manager::{Goal, Machines, State, Waited};
use clap::ValueEnum;

use crate::failure::Failure;
use crate::state;
use crate::style;
use crate::waiting::Waiting;

/// The exit status when time ran out, as of timeout(1).
const TIMED_OUT: u8 = 124;

/// Wait until a machine runs, is ready to be worked with, or has stopped.
///
/// The exit status is 0 when it has come to that, and 124 when time ran out.
#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    /// The machine: its name, its id, or the beginning of either.
    machine: String,
    /// What to wait for.
    #[arg(long = "for", value_name = "WHAT", value_enum, default_value_t = What::Stopped)]
    what: What,
    /// Wait for at most so many seconds.
    #[arg(long, short = 't', value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Its guest runs.
    Running,
    /// Its guest says that it is ready to be worked with.
    Ready,
    /// It does not run any more, and is not suspended.
    Stopped,
}

impl What {
    fn goal(self) -> Goal {
        match self {
            What::Running => Goal::Running,
            What::Ready => Goal::Ready,
            What::Stopped => Goal::Stopped,
        }
    }

    fn name(self) -> &'static str {
        match self {
            What::Running => "running",
            What::Ready => "ready",
            What::Stopped => "stopped",
        }
    }
}

/// Seconds with a fraction, such as `0.5`.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("'{text}' is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

impl Wait {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machine = Machines::of_user()?.find(&self.machine)?;
        let name = &machine.spec.name;
        let deadline = self
            .timeout
            .and_then(|time| Instant::now().checked_add(time));
        let waiting = Waiting::default();
        let text = format!("waiting for {name} to be {}", self.what.name());
        let shown = waiting.begin(&text, self.timeout);
        let waited = machine.wait_for(self.what.goal(), deadline);
        waiting.end(shown);
        match waited? {
            Waited::Reached(_) => Ok(ExitCode::SUCCESS),
            Waited::TimedOut => {
                style::talk(&format!("'{name}' is not {} yet", self.what.name()));
                Ok(ExitCode::from(TIMED_OUT))
            }
            Waited::Removed => Err(Failure::new(format!(
                "machine '{name}' was removed meanwhile"
            ))),
            Waited::Missed(state) => Err(missed(name, &state)),
        }
    }
}

fn missed(name: &str, state: &State) -> Failure {
    let why = state.described();
    let how = state::short(state);
    let remedy = match state {
        State::Suspended { .. } => format!("`clade resume {name}` lets it go on."),
        _ => format!(
            "`clade logs {name}` shows what its console said; `clade start {name}` starts it again."
        ),
    };
    Failure::new(format!(
        "machine '{name}' does not become ready: it {why} ({how})\n{remedy}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_fraction_but_no_sign() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("30"), Ok(Duration::from_secs(30)));
        for text in ["", "-1", "soon", "1e400", "inf", "NaN"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
