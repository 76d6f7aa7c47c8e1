//! A guest that is driven through its console, whatever runs it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::board::Board;
use crate::terminal::Transcript;

/// What waits for a guest that does not answer, at the longest.
const PATIENCE: Duration = Duration::from_secs(540);

/// What a guest boots from, and what it has.
#[derive(Clone, Copy)]
pub(crate) struct Boot<'a> {
    pub(crate) board: Board,
    pub(crate) kernel: &'a Path,
    pub(crate) initrd: &'a Path,
    pub(crate) cmdline: &'a str,
    pub(crate) cpus: u32,
    /// Bytes.
    pub(crate) memory: u64,
    pub(crate) devices: Devices<'a>,
}

/// What a guest has to do input and output with, besides its console.
#[derive(Clone, Copy, Default)]
pub(crate) struct Devices<'a> {
    /// A raw disk, `/dev/vda`.
    pub(crate) disk: Option<&'a Path>,
    /// A card on the peer's user-mode network.
    pub(crate) network: bool,
    /// A folder of the host under the tag [`SHARE_TAG`].
    pub(crate) share: Option<&'a Path>,
}

/// The name by which a guest mounts its folder.
pub(crate) const SHARE_TAG: &str = "bench";

/// A running guest of one of the peers; dropped, it ends.
pub(crate) trait Guest {
    /// Types at its console.
    fn type_text(&mut self, text: &str) -> Result<(), String>;

    /// Everything that it printed so far.
    fn transcript(&self) -> &Transcript;

    /// The type, and the options, with which it mounts its folder.
    fn share_type(&self) -> &'static str {
        "virtiofs"
    }

    /// The processes that it consists of.
    fn processes(&self) -> Vec<u32>;
}

/// What became of a command.
pub(crate) struct Outcome {
    /// From its start to its end, as the host sees it.
    pub(crate) time: Duration,
    /// What it printed.
    pub(crate) output: String,
    /// Whether its exit status was 0.
    pub(crate) good: bool,
}

/// Waits until the guest has printed `text` after position `from`; returns the position behind it.
pub(crate) fn expect(guest: &dyn Guest, from: usize, text: &str) -> Result<usize, String> {
    guest
        .transcript()
        .wait_for(from, text, PATIENCE)
        .ok_or_else(|| {
            let tail = guest.transcript().tail(2000);
            format!(
                "the guest ended, or did not print {text:?} within {PATIENCE:?}; its last words:\n{tail}"
            )
        })
}

/// Runs a shell command in the guest.
pub(crate) fn run_command(guest: &mut dyn Guest, command: &str) -> Result<Outcome, String> {
    const END: &str = "end of it: ";
    let from = guest.transcript().len();
    // The marks are split so that the echo of the command line is not taken for its output.
    guest.type_text(&format!(
        "echo be''gin; {command}; echo en''d of it: $? ok\n"
    ))?;
    let begin = expect(guest, from, "begin\r\n")?;
    let started = Instant::now();
    let end = expect(guest, begin, END)?;
    let time = started.elapsed();
    let status = expect(guest, end, " ok\r\n")?;
    Ok(Outcome {
        time,
        output: guest.transcript().between(begin, end - END.len()),
        good: guest.transcript().between(end, status).starts_with("0 "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A console that echoes what is typed and answers with the status.
    struct Echo {
        transcript: Transcript,
        status: u8,
    }

    impl Guest for Echo {
        fn type_text(&mut self, text: &str) -> Result<(), String> {
            let status = self.status;
            self.transcript.push(text.replace('\n', "\r\n").as_bytes());
            self.transcript
                .push(format!("begin\r\na\r\nb\r\nend of it: {status} ok\r\n# ").as_bytes());
            self.transcript.end();
            Ok(())
        }

        fn transcript(&self) -> &Transcript {
            &self.transcript
        }

        fn processes(&self) -> Vec<u32> {
            Vec::new()
        }
    }

    #[test]
    fn a_command_is_told_by_its_output_and_status_without_the_echo() {
        for (status, good) in [(0, true), (1, false), (10, false)] {
            let mut guest = Echo {
                transcript: Transcript::default(),
                status,
            };
            let outcome = run_command(&mut guest, "begin").unwrap();
            assert_eq!((outcome.output.as_str(), outcome.good), ("a\nb\n", good));
        }
    }

    #[test]
    fn a_guest_that_ended_is_not_waited_for() {
        let guest = Echo {
            transcript: Transcript::default(),
            status: 0,
        };
        guest.transcript.push(b"panic");
        guest.transcript.end();
        let error = expect(&guest, 0, "begin").unwrap_err();
        assert!(error.ends_with("panic"), "{error}");
    }
}
