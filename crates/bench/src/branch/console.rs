//! A guest's shell by its console: nobody logs in, and no connection is made.

use std::io::Write;
use std::process::ChildStdin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::terminal::Transcript;

/// What the shell prints when it is done; as it is typed, it does not read so.
const MARK: &str = "bench-is-done";
const PRINT_MARK: &str = "echo bench-is-\"done\"";

/// A shell that waits for a line.
pub(super) struct Console {
    pub(super) keyboard: ChildStdin,
    pub(super) screen: Arc<Transcript>,
}

impl Console {
    /// Types a command; returns how long it took until that was done.
    pub(super) fn shell(&mut self, script: &str, patience: Duration) -> Result<Duration, String> {
        let started = Instant::now();
        let from = self.screen.len();
        writeln!(self.keyboard, "{script}; {PRINT_MARK}")
            .map_err(|error| format!("the guest's console: {error}"))?;
        match self.screen.wait_for(from, MARK, patience) {
            Some(_) => Ok(started.elapsed()),
            None => Err(format!(
                "the guest's console does not answer: {}",
                self.screen.tail(400)
            )),
        }
    }
}
