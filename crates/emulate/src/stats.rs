//! What the engine did, in numbers.

use serde::{Deserialize, Serialize};

/// Counts since a hart was created, or of all harts together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Instructions retired in all.
    pub instructions: u64,
    /// Of these, how many the interpreter executed by itself.
    pub interpreted: u64,
    /// Times that generated code was entered.
    pub entries: u64,
    /// Times that generated code was left because it was time to look at clock and requests.
    pub exits_budget: u64,
    /// Times that it was left for an instruction that only the interpreter executes.
    pub exits_system: u64,
    /// Times that it was left for code that was not translated, or not linked yet.
    pub exits_unlinked: u64,
    /// Times that it was left after a trap, or for another reason.
    pub exits_other: u64,
    /// Instructions that generated code had the interpreter execute: TLB misses, devices, rare
    /// instructions.
    pub assisted: u64,
    /// Jumps whose target was not in the hart's cache of jumps.
    pub jump_misses: u64,
    /// Units of code translated.
    pub translations: u64,
    /// Guest instructions translated.
    pub translated_instructions: u64,
    /// Host bytes that they became.
    pub translated_bytes: u64,
    /// Pages whose translations were dropped because the guest had changed the code.
    pub pages_changed: u64,
    /// Pages whose translations were taken over from another process.
    pub pages_inherited: u64,
    /// Segments of the code cache that were given up to make room.
    pub evictions: u64,
}

impl Stats {
    /// Instructions that were retired in generated code. Those that it had the interpreter execute
    /// count as `assisted`, although a few of them trapped.
    pub fn translated(&self) -> u64 {
        self.instructions
            .saturating_sub(self.interpreted)
            .saturating_sub(self.assisted)
    }
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.instructions += other.instructions;
        self.interpreted += other.interpreted;
        self.entries += other.entries;
        self.exits_budget += other.exits_budget;
        self.exits_system += other.exits_system;
        self.exits_unlinked += other.exits_unlinked;
        self.exits_other += other.exits_other;
        self.assisted += other.assisted;
        self.jump_misses += other.jump_misses;
        self.translations += other.translations;
        self.translated_instructions += other.translated_instructions;
        self.translated_bytes += other.translated_bytes;
        self.pages_changed += other.pages_changed;
        self.pages_inherited += other.pages_inherited;
        self.evictions += other.evictions;
    }
}
