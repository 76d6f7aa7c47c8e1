//! The host's random bytes as a machine's.

use clade_engine::Entropy;

/// Random bytes from the host's kernel.
pub(super) struct HostEntropy;

impl Entropy for HostEntropy {
    /// # Panics
    /// When the host gives no random bytes, which a running kernel does not refuse. Rather no
    /// machine than one whose keys can be guessed.
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the host has random bytes");
    }
}
