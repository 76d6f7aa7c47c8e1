//! Whether this host can go on running a vCPU that was told of other features.

use clade_engine::EngineError;

use super::build::DYNAMIC_BITS;
use super::features::{FEATURE_WORDS, name_of};
use super::leaves::{Leaves, Register, Word};

/// Refuses a vCPU that was told of what `host` does not have.
pub(crate) fn check_host_has(host: &Leaves, saved: &Leaves) -> Result<(), EngineError> {
    let (ours, its) = (vendor(host), vendor(saved));
    if ours != its {
        return Err(EngineError::State(format!(
            "it ran on a processor of {its}, and this host's is of {ours}\n\
             Restore it on a host like the one that it is from."
        )));
    }
    let missing: Vec<_> = (FEATURE_WORDS.iter())
        .flat_map(|word| missing_in(host, saved, *word))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(EngineError::State(format!(
        "its guest was told of features that this host lacks: {}\n\
         Restore it on a host that has them. Machines run on more hosts with `--cpu-model x86-64-v2` or \
         `--cpu-model x86-64-v3`.",
        missing.join(", ")
    )))
}

fn missing_in(host: &Leaves, saved: &Leaves, word: Word) -> impl Iterator<Item = String> {
    let dynamic = (DYNAMIC_BITS.iter())
        .filter(|(of, _)| *of == word)
        .fold(0, |all, (_, bits)| all | bits);
    let missing = saved.get(word) & !host.get(word) & !dynamic;
    (0..32)
        .filter(move |bit| missing & 1 << bit != 0)
        .map(move |bit| name_of(word, bit))
}

fn vendor(leaves: &Leaves) -> String {
    let words = [Register::Ebx, Register::Edx, Register::Ecx];
    let bytes: Vec<u8> = (words.iter())
        .flat_map(|register| leaves.get(Word(0, 0, *register)).to_le_bytes())
        .collect();
    // A saved state may come from anywhere, and this is for people.
    bytes.escape_ascii().to_string()
}
