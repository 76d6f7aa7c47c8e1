//! Instructions with labels: programs without counting offsets.

use clade_riscv::isa::{Inst, Op};

/// An instruction of four bytes; unused operands are zero.
pub(crate) fn inst(op: Op, rd: u8, rs1: u8, rs2: u8, imm: i32) -> Inst {
    Inst {
        op,
        rd,
        rs1,
        rs2,
        rs3: 0,
        rm: 0,
        len: 4,
        imm,
    }
}

/// A place in the code, which may be named before it is reached.
#[derive(Clone, Copy)]
pub(crate) struct Label(usize);

/// Code that grows at its end.
#[derive(Default)]
pub(crate) struct Assembler {
    code: Vec<Inst>,
    /// Where each label is, once it is known.
    labels: Vec<Option<usize>>,
    /// Instructions whose immediate is the distance to a label.
    references: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label for a place that comes later.
    pub(crate) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Puts a label here.
    pub(crate) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.code.len());
    }

    /// A label for this place.
    pub(crate) fn here(&mut self) -> Label {
        let label = self.label();
        self.place(label);
        label
    }

    /// Number of instructions so far.
    pub(crate) fn len(&self) -> usize {
        self.code.len()
    }

    pub(crate) fn push(&mut self, op: Op, rd: u8, rs1: u8, rs2: u8, imm: i32) {
        self.code.push(inst(op, rd, rs1, rs2, imm));
    }

    pub(crate) fn extend(&mut self, code: &[Inst]) {
        self.code.extend_from_slice(code);
    }

    /// A branch, jump or `auipc` with the distance to `label`.
    pub(crate) fn to(&mut self, op: Op, rd: u8, rs1: u8, rs2: u8, label: Label) {
        self.references.push((self.code.len(), label));
        self.push(op, rd, rs1, rs2, 0);
    }

    /// `rd = value`.
    pub(crate) fn set(&mut self, rd: u8, value: i32) {
        let low = value << 20 >> 20;
        let high = value.wrapping_sub(low);
        if high == 0 {
            self.push(Op::Addi, rd, 0, 0, low);
        } else {
            self.push(Op::Lui, rd, 0, 0, high);
            self.push(Op::Addiw, rd, rd, 0, low);
        }
    }

    /// The finished code.
    ///
    /// # Panics
    /// A label was used and never placed.
    pub(crate) fn finish(mut self) -> Vec<Inst> {
        for (at, label) in self.references {
            let target = self.labels[label.0].expect("the label is placed");
            self.code[at].imm = 4 * (target as i32 - at as i32);
        }
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distances_in_both_directions() {
        let mut code = Assembler::default();
        let end = code.label();
        let start = code.here();
        code.to(Op::Beq, 0, 1, 2, end);
        code.to(Op::Jal, 0, 0, 0, start);
        code.place(end);
        let distances: Vec<i32> = code.finish().iter().map(|inst| inst.imm).collect();
        assert_eq!(distances, [8, -4]);
    }

    #[test]
    fn any_value_is_the_sum_of_its_parts() {
        for value in [
            0,
            1,
            -1,
            2047,
            2048,
            -2048,
            -2049,
            0x1234_5fff,
            i32::MAX,
            i32::MIN,
        ] {
            let mut code = Assembler::default();
            code.set(5, value);
            let parts = code.finish();
            let sum = parts
                .iter()
                .fold(0i32, |sum, inst| sum.wrapping_add(inst.imm));
            assert_eq!(sum, value);
            assert!(
                parts
                    .iter()
                    .all(|inst| clade_riscv::isa::encode(inst).is_some())
            );
        }
    }
}
