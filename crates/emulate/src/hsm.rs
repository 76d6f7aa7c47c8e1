//! Whether a hart runs at all (SBI hart state management, spec chapter 9).

use serde::{Deserialize, Serialize};

/// Where a hart begins in S-mode, with its id in `a0` and `opaque` in `a1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) address: u64,
    pub(crate) opaque: u64,
}

/// A hart's state of life. With real firmware in M-mode every hart is `Started` from reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HsmState {
    Started,
    Stopped,
    StartPending(Entry),
    /// Waiting for an interrupt; `Some` when it then begins anew at an entry (non-retentive).
    Suspended(Option<Entry>),
}

impl HsmState {
    /// Whether a hart can be in this state: entries are at even addresses.
    pub(crate) fn is_legal(self) -> bool {
        match self {
            Self::StartPending(entry) | Self::Suspended(Some(entry)) => entry.address & 1 == 0,
            Self::Started | Self::Stopped | Self::Suspended(None) => true,
        }
    }

    /// The state's number in the SBI specification, table 9.
    pub(crate) fn sbi_status(self) -> u64 {
        match self {
            Self::Started => 0,
            Self::Stopped => 1,
            Self::StartPending(_) => 2,
            Self::Suspended(_) => 4,
        }
    }
}
