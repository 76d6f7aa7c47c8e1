//! From an instruction word to an [`Inst`].

use super::Inst;
use super::compressed;
use super::layout::Layout;
use super::spec::{Format, Spec};
use super::table::SPECS;

/// Decodes the instruction in `raw`; only its low 16 bits count when bits 1:0 are not `11`.
///
/// `None` for everything that is not in the table: illegal and reserved encodings, the static rounding
/// modes 5 and 6 among them.
#[inline]
pub fn decode(raw: u32) -> Option<Inst> {
    if raw & 0b11 == 0b11 {
        operands(find(raw)?, raw)
    } else {
        compressed::decode(raw as u16)
    }
}

/// The most specific row that matches `raw`, whose bits 1:0 are set.
#[inline]
fn find(raw: u32) -> Option<&'static Spec> {
    let mut row = CHAINS.first[key(raw)];
    loop {
        let spec = SPECS.get(usize::from(row))?;
        if raw & spec.mask == spec.value {
            return Some(spec);
        }
        row = CHAINS.next[usize::from(row)];
    }
}

/// Reads the operands of `spec` out of `raw`; `None` when their values are reserved.
///
/// Masks rather than a branch per format: which format comes next cannot be predicted.
#[inline]
pub(super) fn operands(spec: &Spec, raw: u32) -> Option<Inst> {
    let layout = Layout::of(spec.format);
    let mut inst = Inst {
        op: spec.op,
        rd: (raw >> 7) as u8 & layout.rd,
        rs1: (raw >> 15) as u8 & layout.rs1,
        rs2: (raw >> 20) as u8 & layout.rs2,
        rs3: (raw >> 27) as u8 & layout.rs3,
        rm: (raw >> 12) as u8 & layout.rounding | (raw >> 25) as u8 & layout.ordering,
        len: 4,
        imm: layout.immediate(raw),
    };
    match spec.format {
        // The two reserved rounding modes, of which no atomic's ordering has the number.
        _ if matches!(inst.rm, 5 | 6) => return None,
        Format::AmoPair if (inst.rd | inst.rs2) & 1 != 0 => return None,
        Format::Mop => inst.imm = mop_number(raw),
        Format::MopRr => inst.imm = mop_rr_number(raw),
        _ => {}
    }
    Some(inst)
}

/// n[4] in bit 30, n[3:2] in bits 27:26, n[1:0] in bits 21:20.
fn mop_number(raw: u32) -> i32 {
    ((raw >> 30 & 1) << 4 | (raw >> 26 & 3) << 2 | raw >> 20 & 3) as i32
}

/// n[2] in bit 30, n[1:0] in bits 27:26.
fn mop_rr_number(raw: u32) -> i32 {
    ((raw >> 30 & 1) << 2 | raw >> 26 & 3) as i32
}

/// The bits that select the chain of rows in which a word is looked for: opcode, funct3 and funct7.
const KEY_MASK: u32 = 0x7c | 7 << 12 | 127 << 25;

/// The bits of [`KEY_MASK`], side by side.
#[inline]
const fn key(raw: u32) -> usize {
    ((raw >> 2 & 31) << 10 | (raw >> 12 & 7) << 7 | raw >> 25) as usize
}

/// The rows that may match a word, by its key: chained, the most specific one first.
struct Chains {
    first: [u16; 1 << 15],
    next: [u16; SPECS.len()],
}

/// The end of a chain.
const END: u16 = u16::MAX;

static CHAINS: Chains = build_chains();

const fn build_chains() -> Chains {
    let mut chains = Chains {
        first: [END; 1 << 15],
        next: [END; SPECS.len()],
    };
    let mut fixed_bits = 0;
    while fixed_bits <= 32 {
        let mut row = 0;
        while row < SPECS.len() {
            if SPECS[row].mask.count_ones() == fixed_bits {
                prepend(&mut chains, row);
            }
            row += 1;
        }
        fixed_bits += 1;
    }
    chains
}

/// Puts `row` before all chains whose key it matches.
const fn prepend(chains: &mut Chains, row: usize) {
    let spec = &SPECS[row];
    chains.next[row] = chains.first[key(spec.value)];
    let free = KEY_MASK & !spec.mask;
    let mut operand = 0;
    loop {
        let first = &mut chains.first[key(spec.value | operand)];
        assert!(
            *first == chains.next[row],
            "a row is followed by the same one in all its chains"
        );
        *first = row as u16;
        // The next number whose bits lie in `free`.
        operand = operand.wrapping_sub(free) & free;
        if operand == 0 {
            break;
        }
    }
}
