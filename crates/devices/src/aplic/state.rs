use serde::{Deserialize, Serialize};

use super::domain::{legal_source, legal_target};
use super::{SOURCES, WORDS};
use crate::StateError;

/// Everything about an APLIC that a guest can observe. Bitmaps have bit `n % 32` of word `n / 32`
/// for source `n`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AplicState {
    /// Levels of the wires from the devices.
    pub level: [u32; WORDS],
    /// Each domain's registers, the root domain's first.
    pub domains: Vec<DomainState>,
}

/// The registers of one interrupt domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainState {
    /// `domaincfg.IE`: interrupts are forwarded.
    pub enabled: bool,
    /// `sourcecfg` by source; source 0 has 0.
    pub sources: Vec<u32>,
    /// `target` by source; source 0 has 0.
    pub targets: Vec<u32>,
    /// Interrupts that wait to be forwarded.
    pub pending: [u32; WORDS],
    /// Sources whose interrupts are forwarded.
    pub enables: [u32; WORDS],
    /// What was last written to `genmsi`.
    pub genmsi: u32,
}

impl DomainState {
    pub(super) fn reset() -> Self {
        DomainState {
            enabled: false,
            sources: vec![0; SOURCES + 1],
            targets: vec![0; SOURCES + 1],
            pending: [0; WORDS],
            enables: [0; WORDS],
            genmsi: 0,
        }
    }
}

impl AplicState {
    pub(super) fn reset(domains: usize) -> Self {
        AplicState {
            level: [0; WORDS],
            domains: vec![DomainState::reset(); domains],
        }
    }

    pub(super) fn check(&self, domains: usize) -> Result<(), StateError> {
        let refuse = |reason: String| Err(StateError::new("interrupt controller", reason));
        if self.domains.len() != domains {
            return refuse(format!(
                "it has {} domains, here are {domains}",
                self.domains.len()
            ));
        }
        if !exist(&self.level) {
            return refuse("a wire does not exist".into());
        }
        for index in 0..domains {
            self.check_domain(index)
                .or_else(|what| refuse(format!("domain {index} has an impossible {what}")))?;
        }
        Ok(())
    }

    fn check_domain(&self, index: usize) -> Result<(), &'static str> {
        let domain = &self.domains[index];
        if domain.sources.len() != SOURCES + 1 || domain.targets.len() != SOURCES + 1 {
            return Err("number of sources");
        }
        let is_leaf = index + 1 == self.domains.len();
        for (source, &config) in domain.sources.iter().enumerate() {
            let here = index == 0 || self.delegates(index - 1, source);
            let legal = if source != 0 && here {
                legal_source(config, is_leaf)
            } else {
                0
            };
            if config != legal {
                return Err("source configuration");
            }
            let target = domain.targets[source];
            let bits = self.bit(&domain.pending, source) || self.bit(&domain.enables, source);
            let active = self.is_active(index, source);
            if target != legal_target(target) || !active && (target != 0 || bits) {
                return Err("state of a source");
            }
        }
        if !exist(&domain.pending) || !exist(&domain.enables) {
            return Err("interrupt");
        }
        if domain.genmsi != legal_target(domain.genmsi) {
            return Err("message");
        }
        Ok(())
    }

    fn bit(&self, bitmap: &[u32; WORDS], source: usize) -> bool {
        bitmap[source / 32] >> (source % 32) & 1 != 0
    }
}

/// Whether a bitmap has only bits of sources that exist.
fn exist(bitmap: &[u32; WORDS]) -> bool {
    const LAST: u32 = 1 << (SOURCES % 32);
    bitmap[0] & 1 == 0 && bitmap[WORDS - 1] & !(LAST | (LAST - 1)) == 0
}
