//! How fetching goes: a bar on a terminal, a line for each task elsewhere. Both on standard error.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::size;
use crate::style;

/// Longer labels would push the bar off the line.
const BAR: &str = "{msg:32!} {bar:28.cyan/dim} {binary_bytes:>10} / {binary_total_bytes:<10} {eta}";

/// How often the time of a long step is shown anew.
const TICK: Duration = Duration::from_millis(250);

/// The same for steps, of which each has a name.
const STEPS: &str = "{msg:32!} {bar:28.cyan/dim} {pos:>10} / {len:<10} {elapsed} {prefix:.dim}";

/// Shows what [`clade_images`] is doing.
#[derive(Debug)]
pub(crate) struct Shown {
    terminal: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Shown {
    pub(crate) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            bar: Mutex::new(None),
        }
    }

    fn show(&self, label: &str, total: u64, template: &str) {
        let bar = ProgressBar::new(total).with_message(label.to_owned());
        if let Ok(shape) = ProgressStyle::with_template(template) {
            bar.set_style(shape);
        }
        if let Some(last) = self.bar().replace(bar) {
            last.finish_and_clear();
        }
    }

    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl clade_images::Progress for Shown {
    fn begin(&self, label: &str, total: u64) {
        if self.terminal {
            self.show(label, total, BAR);
        } else {
            style::talk(&format!("{label} ({})", size::show(total)));
        }
    }

    fn begin_steps(&self, label: &str, total: u64) {
        if self.terminal {
            self.show(label, total, STEPS);
            if let Some(bar) = &*self.bar() {
                bar.enable_steady_tick(TICK);
            }
        } else {
            style::talk(&format!("{label} ({total} steps)"));
        }
    }

    fn detail(&self, text: &str) {
        if let Some(bar) = &*self.bar() {
            bar.set_prefix(text.to_owned());
        }
    }

    fn advance(&self, count: u64) {
        if let Some(bar) = &*self.bar() {
            bar.inc(count);
        }
    }

    fn finish(&self) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }

    fn message(&self, text: &str) {
        match &*self.bar() {
            Some(bar) => bar.suspend(|| style::talk(text)),
            None => style::talk(text),
        }
    }
}
