use std::sync::atomic::{AtomicU64, Ordering};

/// Told how the work goes; shown by the caller as it likes. This crate prints nothing itself.
///
/// One task runs at a time: `begin`, any number of `advance`, then `finish` (or `begin` again, when
/// a task starts over).
pub trait Progress: Sync {
    /// A task begins that will take `total` bytes.
    fn begin(&self, label: &str, total: u64);
    /// A task begins that will take `total` steps, rather than bytes.
    fn begin_steps(&self, label: &str, total: u64) {
        self.begin(label, total);
    }
    /// What the task is at.
    fn detail(&self, _text: &str) {}
    /// The task got so many bytes or steps further.
    fn advance(&self, count: u64);
    /// The task is done, or was given up.
    fn finish(&self);
    /// Something that the user should know, as one line: a wait, a retry, a damaged file.
    fn message(&self, text: &str);
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _label: &str, _total: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
    fn message(&self, _text: &str) {}
}

/// Several tasks shown as one: they neither begin nor end for the user.
pub(crate) struct Part<'a> {
    whole: &'a dyn Progress,
    /// How far the present task is.
    done: AtomicU64,
}

impl<'a> Part<'a> {
    pub(crate) fn new(whole: &'a dyn Progress) -> Self {
        Self {
            whole,
            done: AtomicU64::new(0),
        }
    }

    /// The present task is done, and was so large.
    pub(crate) fn complete(&self, size: u64) {
        let done = self.done.swap(0, Ordering::Relaxed);
        self.whole.advance(size.saturating_sub(done));
    }
}

impl Progress for Part<'_> {
    fn begin(&self, _label: &str, _total: u64) {}

    fn advance(&self, count: u64) {
        self.done.fetch_add(count, Ordering::Relaxed);
        self.whole.advance(count);
    }

    fn finish(&self) {}

    fn message(&self, text: &str) {
        self.whole.message(text);
    }
}
