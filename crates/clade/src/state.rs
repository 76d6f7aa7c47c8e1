//! How a machine is, in words for people.

use clade_manager::State;
use clade_vmm::control::Status;
use clade_vmm::outcome::Outcome;

/// In a word or two: `running`, `failed (3)`.
pub(crate) fn short(state: &State) -> String {
    match state {
        State::Created => "created".to_owned(),
        State::Starting => "starting".to_owned(),
        State::Running { .. } => "running".to_owned(),
        State::Suspended { .. } => "suspended".to_owned(),
        State::Stopped { outcome, .. } => match outcome {
            Outcome::PowerOff => "powered off".to_owned(),
            Outcome::Failed(code) => format!("failed ({code})"),
            Outcome::Stopped => "stopped".to_owned(),
            Outcome::Panicked(_) => "panicked".to_owned(),
            Outcome::ResetLoop(_) => "reset loop".to_owned(),
            Outcome::Error(_) => "error".to_owned(),
        },
        State::Lost {
            host_restarted: true,
            ..
        } => "lost (host restarted)".to_owned(),
        State::Lost { .. } => "lost (killed)".to_owned(),
    }
}

/// [`short`], and how long ago it came to that: `powered off 3m ago`; `now` in seconds since
/// 1970-01-01 UTC.
pub(crate) fn with_age(state: &State, now: u64) -> String {
    match state {
        State::Stopped { ended: since, .. } | State::Suspended { since } => {
            let age = duration(now.saturating_sub(*since));
            format!("{} {age} ago", short(state))
        }
        _ => short(state),
    }
}

/// [`with_age`], with what a running machine says of itself; `None` if it does not answer.
pub(crate) fn observed(state: &State, status: Option<&Status>, now: u64) -> String {
    match (state, status) {
        (State::Running { .. }, None) => "no answer".to_owned(),
        (_, Some(status)) if status.paused => "paused".to_owned(),
        (_, Some(status)) if status.foreground => "running, attached".to_owned(),
        _ => with_age(state, now),
    }
}

/// What to do about a machine that was lost.
pub(crate) fn remedy(name: &str, state: &State) -> Option<String> {
    let State::Lost { host_restarted, .. } = state else {
        return None;
    };
    let why = if *host_restarted {
        "the host went down while it ran"
    } else {
        "its process was killed (out of memory?)"
    };
    Some(format!(
        "'{name}' was lost: {why}\n\
         clade start {name}   starts it again, with all that its guest had flushed\n\
         clade logs {name}    shows what its console said last"
    ))
}

/// `45s`, `12m 3s`, `5h 2m`, `3d 4h`.
pub(crate) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3599, "59m 59s"),
            (3600, "1h 0m"),
            (90061, "1d 1h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn a_state_says_how_and_since_when() {
        let stopped = State::Stopped {
            ended: 100,
            outcome: Outcome::Failed(3),
        };
        assert_eq!(with_age(&stopped, 175), "failed (3) 1m 15s ago");
        // A clock that was set back.
        assert_eq!(with_age(&stopped, 50), "failed (3) 0s ago");
        assert_eq!(remedy("one", &stopped), None);
        let suspended = State::Suspended { since: 100 };
        assert_eq!(with_age(&suspended, 400), "suspended 5m 0s ago");
        let lost = State::Lost {
            started: 1,
            host_restarted: false,
        };
        assert_eq!(with_age(&lost, 5), "lost (killed)");
        assert!(remedy("one", &lost).is_some_and(|text| text.contains("clade start one")));
    }
}
