//! How a machine's life ended, and what is said of it.

use serde::{Deserialize, Serialize};

/// Exit status when Clade itself failed, as container tools have it.
pub const CLADE_FAILED: u8 = 125;

/// How a machine's life ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The guest switched itself off.
    PowerOff,
    /// The guest switched itself off and reported failure with this code.
    Failed(u32),
    /// Somebody stopped it from outside.
    Stopped,
    /// The guest's kernel panicked; this is the line that it printed.
    Panicked(String),
    /// The guest reset this many times in a row, each soon after it started.
    ResetLoop(u32),
    /// Clade could not go on; the text is for people.
    Error(String),
}

impl Outcome {
    /// The exit status of a command that ran the machine: the guest's own failure code (at most
    /// 255), 1 for a panic or a reset loop, 143 (as after SIGTERM) for a machine that was stopped,
    /// and [`CLADE_FAILED`].
    pub fn exit_status(&self) -> u8 {
        match self {
            Outcome::PowerOff => 0,
            Outcome::Failed(code) => u8::try_from((*code).max(1)).unwrap_or(u8::MAX),
            Outcome::Stopped => 128 + 15,
            Outcome::Panicked(_) | Outcome::ResetLoop(_) => 1,
            Outcome::Error(_) => CLADE_FAILED,
        }
    }

    /// What to tell a person; `None` for the ordinary end.
    pub fn message(&self) -> Option<String> {
        match self {
            Outcome::PowerOff => None,
            Outcome::Failed(code) => Some(format!(
                "the guest switched off and reported failure code {code}"
            )),
            Outcome::Stopped => Some("the machine was stopped".to_owned()),
            Outcome::Panicked(line) => Some(format!(
                "the guest's kernel panicked: {line}\n\
                 The console output above says what led to it; `--cmdline` and `--initrd` decide \
                 what the kernel starts."
            )),
            Outcome::ResetLoop(count) => Some(format!(
                "the guest is in a reset loop: it reset {count} times in a row, each soon after \
                 its start.\nThe console output above may say why; add `earlycon=sbi` to \
                 `--cmdline` to see a Linux kernel's first messages."
            )),
            Outcome::Error(text) => Some(text.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_status_follows_the_guest_and_stays_in_range() {
        assert_eq!(Outcome::PowerOff.exit_status(), 0);
        for (code, status) in [
            (0, 1),
            (1, 1),
            (42, 42),
            (255, 255),
            (256, 255),
            (u32::MAX, 255),
        ] {
            assert_eq!(Outcome::Failed(code).exit_status(), status, "code {code}");
        }
        assert_eq!(Outcome::Panicked(String::new()).exit_status(), 1);
        assert_eq!(Outcome::Error(String::new()).exit_status(), 125);
    }
}
