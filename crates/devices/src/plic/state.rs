use serde::{Deserialize, Serialize};

use super::{MAX_PRIORITY, SOURCES, WORDS};
use crate::StateError;

/// Everything about a PLIC that a guest can observe. Bitmaps have bit `n % 32` of word `n / 32`
/// for source `n`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlicState {
    /// Priority of each of the [`SOURCES`] sources, 0 to [`MAX_PRIORITY`]; source 0 has 0.
    pub priority: Vec<u8>,
    /// Levels of the wires from the devices.
    pub level: [u32; WORDS],
    /// Requests that wait to be claimed.
    pub pending: [u32; WORDS],
    /// Claimed, and not yet completed: the gateway forwards nothing.
    pub in_service: [u32; WORDS],
    /// Each context's registers.
    pub contexts: Vec<ContextState>,
}

/// One context's registers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextState {
    /// Sources that may interrupt this context.
    pub enabled: [u32; WORDS],
    /// Only priorities above this one interrupt, 0 to [`MAX_PRIORITY`].
    pub threshold: u8,
}

impl PlicState {
    pub(super) fn reset(contexts: usize) -> Self {
        PlicState {
            priority: vec![0; SOURCES],
            level: [0; WORDS],
            pending: [0; WORDS],
            in_service: [0; WORDS],
            contexts: vec![ContextState::default(); contexts],
        }
    }

    pub(super) fn check(&self, contexts: usize) -> Result<(), StateError> {
        let refuse = |reason: String| Err(StateError::new("interrupt controller", reason));
        if self.contexts.len() != contexts {
            return refuse(format!(
                "it has {} contexts where this machine has {contexts}",
                self.contexts.len()
            ));
        }
        if self.priority.len() != SOURCES {
            return refuse(format!("it has {} sources", self.priority.len()));
        }
        let thresholds = self.contexts.iter().map(|context| context.threshold);
        if let Some(over) = self
            .priority
            .iter()
            .copied()
            .chain(thresholds)
            .find(|&priority| priority > MAX_PRIORITY)
        {
            return refuse(format!("priority {over} is above {MAX_PRIORITY}"));
        }
        let source_zero = self
            .contexts
            .iter()
            .map(|context| context.enabled)
            .chain([self.level, self.pending, self.in_service])
            .any(|bitmap| bitmap[0] & 1 != 0)
            || self.priority[0] != 0;
        if source_zero {
            return refuse("source 0 is in use".into());
        }
        Ok(())
    }
}
