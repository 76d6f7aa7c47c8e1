//! The decoder never panics, and what it decodes is encoded back to the same instruction.
#![no_main]

use clade_riscv::isa::{Class, Inst, decode, disassemble, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|words: Vec<u32>| {
    for word in words {
        let text = disassemble(word, u64::from(word) << 32);
        let Some(inst) = decode(word) else {
            assert!(text.starts_with(".insn"));
            continue;
        };
        let long = encode(&inst).expect("a decoded instruction has a 32-bit form");
        let again = decode(long).expect("an encoded instruction decodes");
        // A compressed move to x0, and a fence with its ignored fields cleared, can be a hint's word.
        let hint = again.op.spec().class == Class::Hint;
        assert!(
            again == Inst { len: 4, ..inst } || hint,
            "{inst:?}, {again:?}"
        );
    }
});
