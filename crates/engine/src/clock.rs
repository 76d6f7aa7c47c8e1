//! Time and chance: the only two doors by which the outside's unpredictability enters a machine.

/// A machine's time.
pub trait Clock: Send + Sync {
    /// Nanoseconds since the machine first started. Never goes back; stands still while the
    /// machine is frozen.
    fn monotonic_ns(&self) -> u64;

    /// Nanoseconds since 1970-01-01 UTC, leap seconds not counted.
    fn wall_ns(&self) -> u64;
}

/// A machine's source of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `buffer` with bytes that no guest can predict.
    fn fill(&self, buffer: &mut [u8]);
}
