//! Which translator, and which interpreter to compare it with.

use clade_emulate::{Tier, Tuning};

use super::oracle::random::Random;

/// A translator with caches of some size, small ones often: what is rare with large ones is usual
/// there.
pub(crate) fn any(random: &mut Random) -> Tuning {
    Tuning {
        tier: Tier::Translator,
        hot_after: random.pick(&[0, 0, 1, 2]),
        code_bytes: random.pick(&[1 << 20, 16 << 20]),
        tlb_entries: random.pick(&[2, 16, 1024]),
        jump_entries: random.pick(&[2, 16, 4096]),
        poll_interval: random.pick(&[1, 3, 7, 50, 8192]),
        exact_polls: true,
    }
}

/// The interpreter that looks at the clock when `subject` does.
pub(crate) fn reference(subject: &Tuning) -> Tuning {
    Tuning {
        tier: Tier::Interpreter,
        poll_interval: subject.poll_interval,
        exact_polls: true,
        ..Tuning::default()
    }
}

/// An interpreter that looks at the clock often.
pub(crate) fn stepped() -> Tuning {
    Tuning {
        tier: Tier::Interpreter,
        poll_interval: 7,
        exact_polls: true,
        ..Tuning::default()
    }
}
