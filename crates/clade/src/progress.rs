//! How fetching goes: a bar on a terminal, a line for each task elsewhere. Both on standard error.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

use crate::size;
use crate::style;

/// Longer labels would push the bar off the line.
const BAR: &str = "{msg:32!} {bar:28.cyan/dim} {binary_bytes:>10} / {binary_total_bytes:<10} {eta}";

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

    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl clade_images::Progress for Shown {
    fn begin(&self, label: &str, total: u64) {
        if !self.terminal {
            style::talk(&format!("{label} ({})", size::show(total)));
            return;
        }
        let bar = ProgressBar::new(total).with_message(label.to_owned());
        if let Ok(shape) = ProgressStyle::with_template(BAR) {
            bar.set_style(shape);
        }
        if let Some(last) = self.bar().replace(bar) {
            last.finish_and_clear();
        }
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &*self.bar() {
            bar.inc(bytes);
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
