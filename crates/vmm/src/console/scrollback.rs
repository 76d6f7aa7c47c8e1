//! The last bytes of output, for whoever attaches later.

use std::collections::VecDeque;

/// Keeps the last `limit` bytes of what is appended.
#[derive(Debug)]
pub(super) struct Scrollback {
    bytes: VecDeque<u8>,
    limit: usize,
    cut: bool,
}

impl Scrollback {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            limit,
            cut: false,
        }
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(self.limit)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(self.limit);
        self.cut |= excess > 0 || kept.len() < bytes.len();
        self.bytes.drain(..excess);
        self.bytes.extend(kept);
    }

    /// What is kept. Once the oldest bytes are lost it starts at the beginning of a line where
    /// there is one, so that no half escape sequence or character comes first.
    pub(super) fn contents(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.bytes.iter().copied().collect();
        if self.cut
            && let Some(newline) = bytes.iter().position(|byte| *byte == b'\n')
        {
            bytes.drain(..=newline);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn starts_at_a_line_once_cut() {
        let mut scrollback = Scrollback::new(8);
        scrollback.append(b"ab\ncd\n");
        assert_eq!(scrollback.contents(), b"ab\ncd\n");
        scrollback.append(b"efg");
        assert_eq!(scrollback.contents(), b"cd\nefg");
        scrollback.append(b"0123456789");
        assert_eq!(scrollback.contents(), b"23456789");
    }

    proptest! {
        #[test]
        fn keeps_a_suffix(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut scrollback = Scrollback::new(64);
            for chunk in &chunks {
                scrollback.append(chunk);
            }
            let whole = chunks.concat();
            let kept = scrollback.contents();
            prop_assert!(kept.len() <= 64);
            prop_assert!(whole.ends_with(&kept));
            if whole.len() <= 64 {
                prop_assert_eq!(kept, whole);
            }
        }
    }
}
