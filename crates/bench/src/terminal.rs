//! What a guest printed, as it comes in.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A growing text that others wait on.
#[derive(Default)]
pub(crate) struct Transcript {
    text: Mutex<Text>,
    grown: Condvar,
}

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    /// Nothing will be added.
    ended: bool,
}

impl Transcript {
    fn lock(&self) -> MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what was printed.
    pub(crate) fn push(&self, bytes: &[u8]) {
        self.lock().bytes.extend_from_slice(bytes);
        self.grown.notify_all();
    }

    /// What comes from `output` from now on, until it ends.
    pub(crate) fn of(mut output: impl Read + Send + 'static) -> Arc<Self> {
        let transcript = Arc::new(Self::default());
        let sink = transcript.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                sink.push(&buffer[..count]);
            }
            sink.end();
        });
        transcript
    }

    /// Says that the guest is gone: nobody need wait for more.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.grown.notify_all();
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.lock().bytes.len()
    }

    /// Waits until `text` occurs at or after `from`; the position behind it, or `None` when
    /// `patience` runs out or the guest is gone.
    pub(crate) fn wait_for(&self, from: usize, text: &str, patience: Duration) -> Option<usize> {
        let deadline = Instant::now() + patience;
        let mut printed = self.lock();
        loop {
            let found = printed
                .bytes
                .get(from..)
                .and_then(|rest| rest.windows(text.len()).position(|w| w == text.as_bytes()));
            if let Some(position) = found {
                return Some(from + position + text.len());
            }
            if printed.ended {
                return None;
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            printed = self
                .grown
                .wait_timeout(printed, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// What stands between two positions, with plain line ends.
    pub(crate) fn between(&self, from: usize, to: usize) -> String {
        String::from_utf8_lossy(&self.lock().bytes[from..to]).replace("\r\n", "\n")
    }

    /// Its last `count` bytes, for error messages.
    pub(crate) fn tail(&self, count: usize) -> String {
        let bytes = &self.lock().bytes;
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(count)..]).into_owned()
    }
}
