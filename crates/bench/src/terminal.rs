//! What a guest printed, as it comes in.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A growing text that others wait on.
#[derive(Default)]
pub(crate) struct Transcript {
    bytes: Mutex<Vec<u8>>,
    grown: Condvar,
}

impl Transcript {
    /// Adds what was printed.
    pub(crate) fn push(&self, bytes: &[u8]) {
        self.bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        self.grown.notify_all();
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Waits until `text` occurs at or after `from`; the position behind it, or `None` when
    /// `patience` runs out.
    pub(crate) fn wait_for(&self, from: usize, text: &str, patience: Duration) -> Option<usize> {
        let deadline = Instant::now() + patience;
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let found = bytes
                .get(from..)
                .and_then(|rest| rest.windows(text.len()).position(|w| w == text.as_bytes()));
            if let Some(position) = found {
                return Some(from + position + text.len());
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            bytes = self
                .grown
                .wait_timeout(bytes, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Its last `count` bytes, for error messages.
    pub(crate) fn tail(&self, count: usize) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(count)..]).into_owned()
    }
}
