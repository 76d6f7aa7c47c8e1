//! Notices that the guest's kernel panicked, from what it prints.

use std::time::{Duration, Instant};

/// What Linux prints first when it gives up (kernel/panic.c).
const MARKER: &[u8] = b"Kernel panic - not syncing:";

/// A panicking kernel with `panic=-1` resets at once. A reset later than this after the line has
/// another cause: the line was shown by a program, out of an old log for example.
const RESET_FOLLOWS_WITHIN: Duration = Duration::from_secs(10);

/// Longer lines are no panic messages; their rest is not looked at.
const LONGEST_LINE: usize = 512;

/// Watches the console's lines for a kernel panic.
#[derive(Debug, Default)]
pub(super) struct PanicWatch {
    line: Vec<u8>,
    seen: Option<(String, Instant)>,
}

impl PanicWatch {
    pub(super) fn observe(&mut self, bytes: &[u8], now: Instant) {
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(now),
                b'\r' => {}
                _ if self.line.len() < LONGEST_LINE => self.line.push(byte),
                _ => {}
            }
        }
    }

    /// The panic's line, if the guest panicked just now. Forgets it.
    pub(super) fn take(&mut self, now: Instant) -> Option<String> {
        // The kernel may reset before it has ended the line.
        self.end_line(now);
        let (line, at) = self.seen.take()?;
        is_recent(at, now).then_some(line)
    }

    fn end_line(&mut self, now: Instant) {
        let line = std::mem::take(&mut self.line);
        let text = without_timestamp(&line);
        // The first panic of a series is the cause; others follow from it.
        let fresh = self
            .seen
            .as_ref()
            .is_some_and(|(_, at)| is_recent(*at, now));
        if text.starts_with(MARKER) && !fresh {
            self.seen = Some((String::from_utf8_lossy(text).trim_end().to_owned(), now));
        }
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) <= RESET_FOLLOWS_WITHIN
}

/// Strips `<0>` and `[    1.234567] ` as printk puts before a message.
fn without_timestamp(line: &[u8]) -> &[u8] {
    let line = line.strip_prefix(b"<0>").unwrap_or(line);
    match line.strip_prefix(b"[") {
        Some(rest) => match rest.iter().position(|byte| *byte == b']') {
            Some(end)
                if rest[..end]
                    .iter()
                    .all(|byte| b" .0123456789".contains(byte)) =>
            {
                rest[end + 1..].trim_ascii_start()
            }
            _ => line,
        },
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANIC: &[u8] = b"[    2.5] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n";

    #[test]
    fn sees_a_panic_in_any_pieces() {
        let now = Instant::now();
        for size in 1..PANIC.len() {
            let mut watch = PanicWatch::default();
            watch.observe(b"hello\r\n", now);
            for piece in PANIC.chunks(size) {
                watch.observe(piece, now);
            }
            watch.observe(
                b"[    2.6] ---[ end Kernel panic - not syncing: VFS ]---\r\n",
                now,
            );
            assert_eq!(
                watch.take(now).as_deref(),
                Some("Kernel panic - not syncing: VFS: Unable to mount root fs"),
                "in pieces of {size}"
            );
            assert_eq!(watch.take(now), None);
        }
    }

    #[test]
    fn a_mention_or_an_old_panic_is_none() {
        let now = Instant::now();
        let mut watch = PanicWatch::default();
        watch.observe(
            b"the log has: Kernel panic - not syncing: x\n[a] Kernel panic",
            now,
        );
        assert_eq!(watch.take(now), None);
        watch.observe(PANIC, now);
        assert_eq!(watch.take(now + Duration::from_secs(11)), None);
    }

    #[test]
    fn a_flood_without_newline_takes_no_memory() {
        let mut watch = PanicWatch::default();
        watch.observe(&vec![b'x'; 1 << 20], Instant::now());
        assert!(watch.line.len() <= LONGEST_LINE);
    }
}
