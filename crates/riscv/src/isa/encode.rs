//! From an [`Inst`] to its 32-bit word.

use super::Inst;
use super::decode::operands;
use super::spec::Format;

/// Encodes `inst` in the 32-bit form of its operation, whatever its `len`.
///
/// `None` when an operand does not fit: a register above 31, an immediate out of range or misaligned, a
/// reserved rounding mode, or an operand that the operation does not have and that is not 0.
pub fn encode(inst: &Inst) -> Option<u32> {
    let spec = inst.op.spec();
    let imm = inst.imm as u32;
    let (rd, rs1, rs2) = (
        u32::from(inst.rd) << 7,
        u32::from(inst.rs1) << 15,
        u32::from(inst.rs2) << 20,
    );
    let rm = u32::from(inst.rm);
    let fields = match spec.format {
        Format::None => 0,
        Format::R1 => rd | rs1,
        Format::R1Rm => rd | rs1 | rm << 12,
        Format::R => rd | rs1 | rs2,
        Format::RRm => rd | rs1 | rs2 | rm << 12,
        Format::R4 => rd | rs1 | rs2 | rm << 12 | u32::from(inst.rs3) << 27,
        Format::Amo | Format::AmoPair => rd | rs1 | rs2 | rm << 25,
        Format::I | Format::Shift | Format::Csr => rd | rs1 | imm << 20,
        Format::Fence => imm << 20,
        Format::S => rs1 | rs2 | (imm >> 5) << 25 | (imm & 31) << 7,
        Format::Prefetch => rs1 | (imm >> 5) << 25,
        Format::B => {
            let high = (imm >> 12 & 1) << 31 | (imm >> 5 & 0x3f) << 25;
            rs1 | rs2 | high | (imm >> 1 & 0xf) << 8 | (imm >> 11 & 1) << 7
        }
        Format::U => rd | imm,
        Format::J => {
            let high = (imm >> 20 & 1) << 31 | (imm >> 1 & 0x3ff) << 21;
            rd | high | (imm >> 11 & 1) << 20 | imm & 0xf_f000
        }
        Format::Mop => rd | rs1 | (imm >> 4 & 1) << 30 | (imm >> 2 & 3) << 26 | (imm & 3) << 20,
        Format::MopRr => rd | rs1 | rs2 | (imm >> 2 & 1) << 30 | (imm & 3) << 26,
    };
    // An operand that does not fit has spoilt a fixed bit or another operand, or reads back otherwise.
    let word = spec.value | fields;
    let fits = word & spec.mask == spec.value
        && operands(spec, word).is_some_and(|read| read == Inst { len: 4, ..*inst });
    fits.then_some(word)
}
