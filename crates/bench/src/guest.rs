//! A guest that is driven through its console, whatever runs it.

use std::time::{Duration, Instant};

use crate::terminal::Transcript;

/// What waits for a guest that does not answer, at the longest.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running guest of one of the peers.
pub(crate) trait Guest {
    /// Types at its console.
    fn type_text(&mut self, text: &str) -> Result<(), String>;

    /// Everything that it printed so far.
    fn transcript(&self) -> &Transcript;

    /// Ends it.
    fn stop(self: Box<Self>);
}

/// Waits until the guest has printed `text` after position `from`; returns the position behind it.
pub(crate) fn expect(guest: &dyn Guest, from: usize, text: &str) -> Result<usize, String> {
    guest
        .transcript()
        .wait_for(from, text, PATIENCE)
        .ok_or_else(|| {
            let tail = guest.transcript().tail(2000);
            format!("the guest did not print {text:?} within {PATIENCE:?}; its last words:\n{tail}")
        })
}

/// Runs a shell command in the guest and returns how long it took, from its start to the end of
/// what it printed, as the host sees it.
pub(crate) fn time_command(guest: &mut dyn Guest, command: &str) -> Result<Duration, String> {
    let from = guest.transcript().len();
    // The marks are split so that the echo of the command line is not taken for its output.
    guest.type_text(&format!("echo be''gin; {command}; echo en''d\n"))?;
    let from = expect(guest, from, "begin\r\n")?;
    let started = Instant::now();
    expect(guest, from, "end\r\n")?;
    Ok(started.elapsed())
}
