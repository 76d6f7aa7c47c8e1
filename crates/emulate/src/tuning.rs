//! How the engine goes about its work: plain values that change speed, never what a guest sees.

/// By what means guest instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Decode and execute, one after the other.
    Interpreter,
    /// Translate what runs more than once into the host's own code; interpret the rest.
    Translator,
}

impl Tier {
    /// The fastest that this build has for its host's processor.
    pub fn best() -> Self {
        if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            Self::Translator
        } else {
            Self::Interpreter
        }
    }
}

/// Whether this host can do [`Tier::Translator`].
///
/// # Errors
/// What it lacks, by names for people.
pub fn translator_support() -> Result<(), Vec<&'static str>> {
    let lacks = crate::translator::lacks();
    if lacks.is_empty() { Ok(()) } else { Err(lacks) }
}

/// What tests and the curious may turn. The default is what fits the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// The highest tier that may be used.
    pub tier: Tier,
    /// How often a block is interpreted before it is translated; 0 translates at once.
    pub hot_after: u32,
    /// Host memory for translated code in bytes; rounded up to what the cache needs at least.
    pub code_bytes: usize,
    /// Entries of each of a hart's software TLBs, a power of two from 2 to 4096.
    pub tlb_entries: usize,
    /// Entries of each of a hart's caches of jump targets, a power of two from 2 to 4096.
    pub jump_entries: usize,
    /// Instructions between two looks at the clock, at least 1.
    pub poll_interval: u64,
    /// Look at the clock after exactly that many instructions, in the middle of a block if need
    /// be, rather than at the next good place: every tier then takes timer interrupts at the same
    /// instruction.
    pub exact_polls: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            tier: Tier::best(),
            hot_after: 2,
            code_bytes: 128 << 20,
            tlb_entries: 4096,
            jump_entries: 4096,
            // About 10 µs of guest time, well below what an operating system's timers promise.
            poll_interval: 8192,
            exact_polls: false,
        }
    }
}
