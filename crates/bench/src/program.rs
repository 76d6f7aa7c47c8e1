//! Small Linux programs for the guest, as static ELF executables.
//!
//! They are assembled here, so that the benchmark needs no cross-compiler.

use std::io;

use clade_images::cpio;
use clade_riscv::isa::{Inst, Op, encode};

use crate::assembler::{Assembler, inst};

/// Where a program is loaded.
const BASE: u64 = 0x1_0000;
/// Where its zeroed data begins, and its size in bytes.
pub(crate) const DATA: i32 = 0x2_0000;
const DATA_SIZE: u64 = 4 << 20;

pub(crate) const T0: u8 = 5;
pub(crate) const T1: u8 = 6;
pub(crate) const T2: u8 = 7;
pub(crate) const A0: u8 = 10;
pub(crate) const A7: u8 = 17;

/// A program and how many instructions it executes, where that is known.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) instructions: Option<u64>,
    code: Vec<Inst>,
}

/// `count << 12` rounds of a loop with `body` in it, then exit(0).
fn looping(name: &'static str, before: &[Inst], body: &[Inst], count: i32) -> Program {
    let mut code = Assembler::default();
    code.extend(before);
    code.push(Op::Lui, T0, 0, 0, count << 12);
    let again = code.here();
    code.extend(body);
    code.push(Op::Addi, T0, T0, 0, -1);
    code.to(Op::Bne, 0, T0, 0, again);
    let rounds = (count as u64) << 12;
    Program {
        instructions: Some(rounds * (body.len() as u64 + 2)),
        ..Program::new(name, code)
    }
}

/// Dependent and independent integer operations.
pub(crate) fn integer_body() -> Vec<Inst> {
    [
        inst(Op::Add, T1, T1, T0, 0),
        inst(Op::Xor, T2, T1, T0, 0),
        inst(Op::Slli, T2, T2, 0, 3),
        inst(Op::Sub, T1, T2, T1, 0),
        inst(Op::Andi, T2, T1, 0, 0xff),
        inst(Op::Or, T1, T1, T2, 0),
        inst(Op::Srli, T1, T1, 0, 1),
    ]
    .repeat(2)
}

/// A floating-point instruction on doubles, with the dynamic rounding mode.
fn double(op: Op, rd: u8, rs1: u8, rs2: u8, rs3: u8) -> Inst {
    const DYNAMIC: u8 = 7;
    Inst {
        rs3,
        rm: DYNAMIC,
        ..inst(op, rd, rs1, rs2, 0)
    }
}

/// Sets the registers that [`float_body`] works on.
pub(crate) fn float_before() -> Vec<Inst> {
    vec![
        inst(Op::Addi, T1, 0, 0, 1),
        inst(Op::FcvtDW, 1, T1, 0, 0),
        inst(Op::Addi, T1, 0, 0, 3),
        inst(Op::FcvtDW, 2, T1, 0, 0),
        double(Op::FdivD, 3, 1, 2, 0),
    ]
}

/// Floating-point operations on doubles near 1.
pub(crate) fn float_body() -> Vec<Inst> {
    vec![
        double(Op::FaddD, 4, 3, 1, 0),
        double(Op::FmulD, 5, 4, 3, 0),
        double(Op::FmaddD, 6, 5, 3, 1),
        double(Op::FsubD, 7, 6, 4, 0),
        double(Op::FmulD, 8, 7, 5, 0),
        double(Op::FaddD, 9, 8, 6, 0),
        double(Op::FmulD, 10, 9, 3, 0),
        double(Op::FdivD, 3, 1, 2, 0),
    ]
}

/// 16 integer instructions a round; `count << 12` rounds.
pub(crate) fn integer(count: i32) -> Program {
    looping("clade-bench-int", &[], &integer_body(), count)
}

/// Eight floating-point operations a round; `count << 12` rounds.
pub(crate) fn float(count: i32) -> Program {
    looping("clade-bench-fp", &float_before(), &float_body(), count)
}

/// Does nothing: what a fork and exec cost by themselves.
pub(crate) fn nothing() -> Program {
    Program::new("clade-bench-true", Assembler::default())
}

impl Program {
    /// A program that runs `code` and then exits with status 0.
    pub(crate) fn new(name: &'static str, mut code: Assembler) -> Self {
        const EXIT: i32 = 93;
        code.set(A0, 0);
        code.set(A7, EXIT);
        code.push(Op::Ecall, 0, 0, 0, 0);
        Self {
            name,
            instructions: None,
            code: code.finish(),
        }
    }

    /// A static ELF executable.
    fn elf(&self) -> Vec<u8> {
        const HEADERS: u64 = 64 + 56;
        let words = self
            .code
            .iter()
            .map(|inst| encode(inst).expect("operands fit their fields"));
        let code: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        let size = HEADERS + code.len() as u64;
        assert!(BASE + size <= DATA as u64, "the code ends before the data");
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for half in [2u16, 243] {
            file.extend(half.to_le_bytes());
        }
        file.extend(1u32.to_le_bytes());
        for double in [BASE + HEADERS, 64, 0] {
            file.extend(double.to_le_bytes());
        }
        // Double-float ABI.
        file.extend(4u32.to_le_bytes());
        for half in [64u16, 56, 1, 0, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        // One segment, readable, writable and executable: the whole file, and zeros behind it.
        for word in [1u32, 7] {
            file.extend(word.to_le_bytes());
        }
        let memory = DATA as u64 + DATA_SIZE - BASE;
        for double in [0, BASE, BASE, size, memory, 0x1000] {
            file.extend(double.to_le_bytes());
        }
        file.extend(code);
        file
    }
}

/// Puts `programs` in `/usr/bin`.
pub(crate) fn install<W: io::Write>(
    archive: &mut cpio::Writer<W>,
    programs: &[Program],
) -> io::Result<()> {
    for program in programs {
        archive.file(&format!("usr/bin/{}", program.name), 0o755, &program.elf())?;
    }
    Ok(())
}
