//! Small Linux programs for the guest: straight loops whose instructions are known exactly.
//!
//! They are assembled here, so that the benchmark needs no cross-compiler, and put into a cpio
//! archive behind the image's own: the kernel unpacks both.

use clade_riscv::isa::{Inst, Op, encode};

/// A program and how many instructions it executes, all but a handful in its loop.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) instructions: u64,
    code: Vec<Inst>,
}

const T0: u8 = 5;
const T1: u8 = 6;
const T2: u8 = 7;
const A0: u8 = 10;
const A7: u8 = 17;

fn inst(op: Op, rd: u8, rs1: u8, rs2: u8, imm: i32) -> Inst {
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

/// `count << 12` rounds of a loop with `body` in it, then exit(0).
fn looping(name: &'static str, before: &[Inst], body: &[Inst], count: i32) -> Program {
    const EXIT: i32 = 93;
    let mut code = before.to_vec();
    code.push(inst(Op::Lui, T0, 0, 0, count << 12));
    code.extend_from_slice(body);
    code.push(inst(Op::Addi, T0, T0, 0, -1));
    code.push(inst(Op::Bne, 0, T0, 0, -4 * (body.len() as i32 + 1)));
    code.push(inst(Op::Addi, A0, 0, 0, 0));
    code.push(inst(Op::Addi, A7, 0, 0, EXIT));
    code.push(inst(Op::Ecall, 0, 0, 0, 0));
    let instructions = (count as u64) << 12;
    Program {
        name,
        instructions: instructions * (body.len() as u64 + 2),
        code,
    }
}

/// 16 dependent and independent integer operations a round.
pub(crate) fn integer() -> Program {
    let body = [
        inst(Op::Add, T1, T1, T0, 0),
        inst(Op::Xor, T2, T1, T0, 0),
        inst(Op::Slli, T2, T2, 0, 3),
        inst(Op::Sub, T1, T2, T1, 0),
        inst(Op::Andi, T2, T1, 0, 0xff),
        inst(Op::Or, T1, T1, T2, 0),
        inst(Op::Srli, T1, T1, 0, 1),
    ];
    let body = body.repeat(2);
    looping("clade-bench-int", &[], &body, 3000)
}

/// Eight floating-point operations a round, on doubles near 1.
pub(crate) fn float() -> Program {
    const DYNAMIC: u8 = 7;
    let double = |op, rd, rs1, rs2, rs3| Inst {
        rs3,
        rm: DYNAMIC,
        ..inst(op, rd, rs1, rs2, 0)
    };
    let convert = |rd, rs1| Inst {
        rm: 0,
        ..inst(Op::FcvtDW, rd, rs1, 0, 0)
    };
    let before = [
        inst(Op::Addi, T1, 0, 0, 1),
        convert(1, T1),
        inst(Op::Addi, T1, 0, 0, 3),
        convert(2, T1),
        double(Op::FdivD, 3, 1, 2, 0),
    ];
    let body = [
        double(Op::FaddD, 4, 3, 1, 0),
        double(Op::FmulD, 5, 4, 3, 0),
        double(Op::FmaddD, 6, 5, 3, 1),
        double(Op::FsubD, 7, 6, 4, 0),
        double(Op::FmulD, 8, 7, 5, 0),
        double(Op::FaddD, 9, 8, 6, 0),
        double(Op::FmulD, 3, 9, 3, 0),
        double(Op::FdivD, 3, 1, 2, 0),
    ];
    looping("clade-bench-fp", &before, &body, 600)
}

/// Does nothing: what a fork and exec cost by themselves.
pub(crate) fn nothing() -> Program {
    looping("clade-bench-true", &[], &[], 1)
}

impl Program {
    /// A static ELF executable.
    fn elf(&self) -> Vec<u8> {
        const BASE: u64 = 0x1_0000;
        const HEADERS: u64 = 64 + 56;
        let words = self
            .code
            .iter()
            .map(|inst| encode(inst).expect("operands fit their fields"));
        let code: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        let size = HEADERS + code.len() as u64;
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
        // One readable and executable segment: the whole file.
        for word in [1u32, 5] {
            file.extend(word.to_le_bytes());
        }
        for double in [0, BASE, BASE, size, size, 0x1000] {
            file.extend(double.to_le_bytes());
        }
        file.extend(code);
        file
    }
}

/// A cpio archive (newc) with `programs` in `/bin`.
pub(crate) fn archive(programs: &[Program]) -> Vec<u8> {
    const EXECUTABLE: u32 = 0o100_755;
    let mut archive = Vec::new();
    for program in programs {
        entry(
            &mut archive,
            &format!("bin/{}", program.name),
            EXECUTABLE,
            &program.elf(),
        );
    }
    entry(&mut archive, "TRAILER!!!", 0, &[]);
    archive
}

fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, data: &[u8]) {
    let fields = [
        0,
        mode,
        0,
        0,
        1,
        0,
        data.len() as u32,
        0,
        0,
        0,
        0,
        name.len() as u32 + 1,
        0,
    ];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend(format!("{field:08x}").bytes());
    }
    archive.extend(name.bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(data);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}
