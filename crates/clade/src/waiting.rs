//! What is being waited for, with the time that it has taken: on a terminal, on standard error.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often what is shown changes.
const TICK: Duration = Duration::from_millis(100);

/// What is being waited for at the same time, a line for each.
pub(crate) struct Waiting(MultiProgress);

impl Default for Waiting {
    /// Shows nothing where standard error is no terminal.
    fn default() -> Self {
        Self(MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
    }
}

impl Waiting {
    /// Shows that something is waited for, and how long it is going to be.
    pub(crate) fn begin(&self, what: &str, limit: Option<Duration>) -> ProgressBar {
        let limit = limit.map_or_else(String::new, |limit| format!(" of {}s", limit.as_secs()));
        let line = self.0.add(ProgressBar::new_spinner());
        if let Ok(shape) = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed}{prefix}") {
            line.set_style(shape);
        }
        line.set_prefix(limit);
        line.set_message(what.to_owned());
        line.enable_steady_tick(TICK);
        line
    }

    /// Prints something beside what is shown.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    /// It has come, or not.
    pub(crate) fn end(&self, line: ProgressBar) {
        line.finish_and_clear();
        self.0.remove(&line);
    }
}
