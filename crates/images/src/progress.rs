/// Told how the work goes; shown by the caller as it likes. This crate prints nothing itself.
///
/// One task runs at a time: `begin`, any number of `advance`, then `finish` (or `begin` again, when
/// a task starts over).
pub trait Progress: Sync {
    /// A task begins that will take `total` bytes.
    fn begin(&self, label: &str, total: u64);
    /// The task got `bytes` further.
    fn advance(&self, bytes: u64);
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
