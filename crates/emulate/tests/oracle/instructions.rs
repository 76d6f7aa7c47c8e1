//! Programs of random unprivileged instructions, drawn from the instruction table.
//!
//! The unit is an item: one instruction, with those before it that give it sensible operands. Jumps
//! go forwards, to the beginning of an item; the whole is run several times, so that code comes
//! from the block cache and meets other values.

mod compressed;
pub(crate) mod operands;

use clade_riscv::csr::address::*;
use clade_riscv::csr::status;
use clade_riscv::isa::{Class, Extension, Format, Inst, Op, decode};

use super::assembler::{Assembler, blank, word};
use super::layout::{BASE, POOL, POOL_ENTRIES, SCRATCH, SCRATCH_SIZE, SIGNATURE, frame};
use super::machine_code;
use super::random::Random;
use compressed::Compressed;

/// Number of random instructions in a program, about.
const INSTRUCTIONS: usize = 500;
/// How often they run.
const LOOPS: u64 = 3;

/// The program that `seed` names, as the bytes from [`BASE`] on.
pub(crate) fn program(seed: u64) -> Vec<u8> {
    let mut generator = Generator::new(seed);
    machine_code::prologue(&mut generator.code);
    let begin = generator.code.here();
    let end = begin + 4 * INSTRUCTIONS as u64;
    while generator.code.here() < end {
        generator.item();
    }
    generator.resolve_rest();
    machine_code::epilogue(&mut generator.code, begin);
    generator.data();
    generator.code.bytes
}

struct Generator {
    random: Random,
    code: Assembler,
    compressed: Compressed,
    /// Jumps whose targets are not known yet, and how many items to jump over.
    jumps: Vec<(Jump, u64)>,
    /// Instructions that other instructions may overwrite.
    patchable: Vec<u64>,
}

/// A jump to be completed.
#[derive(Clone, Copy)]
enum Jump {
    /// A branch or `jal`, at its address.
    Direct(u64, Inst),
    /// A compressed one, at its address.
    Compressed(u64, u16),
    /// `addi` at the first address completes the `auipc` at the second.
    Address(u64, u64),
    /// `jalr` at the first address, whose base the `auipc` at the second put into a register.
    Indirect(u64, u64, Inst),
}

impl Generator {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            code: Assembler::new(BASE),
            compressed: Compressed::new(),
            jumps: Vec::new(),
            patchable: Vec::new(),
        }
    }

    /// Emits one item.
    fn item(&mut self) {
        self.resolve_due();
        match self.random.below(64) {
            0..16 => self.compressed_item(),
            16 => self.trap(),
            17 => self.csr(),
            18 => self.reservation(),
            19 => self.self_modification(),
            20 => self.floating_point_off(),
            21..24 => self.refresh_integer(),
            24..36 => self.any_of(|class| class == Class::Float),
            36..40 => self.any_of(|class| matches!(class, Class::Branch | Class::Jump)),
            40..46 => self.any_of(|class| matches!(class, Class::Load | Class::Store)),
            46..49 => self.any_of(|class| matches!(class, Class::Amo | Class::Cache)),
            49..52 => self.any_of(|class| class == Class::MulDiv),
            _ => self.any_of(|class| matches!(class, Class::Alu | Class::Hint | Class::Fence)),
        }
    }

    /// A random instruction of the classes that `wanted` names.
    fn any_of(&mut self, wanted: impl Fn(Class) -> bool) {
        let op = loop {
            let op = self.random.pick(Op::ALL);
            if wanted(op.spec().class) {
                break op;
            }
        };
        let spec = op.spec();
        let raw = spec.value | self.random.bits() as u32 & !spec.mask;
        let Some(inst) = decode(raw) else {
            // A reserved rounding mode, or an odd register of a pair: must trap.
            self.code.word(raw);
            return;
        };
        match inst.op.spec().class {
            Class::Branch | Class::Jump => self.jump(inst),
            Class::Load | Class::Store | Class::Amo | Class::Cache => self.memory(inst, raw),
            Class::Float => self.float(inst, raw),
            _ => self.code.word(raw),
        }
    }

    /// A branch or jump over up to eight items.
    fn jump(&mut self, inst: Inst) {
        let items = 1 + self.random.below(8);
        if inst.op == Op::Jalr {
            let base = self.random.register();
            let auipc = self.code.here();
            self.code.emit(Inst {
                rd: base,
                ..blank(Op::Auipc)
            });
            let inst = Inst { rs1: base, ..inst };
            let jump = Jump::Indirect(self.code.here(), auipc, inst);
            self.jumps.push((jump, items));
        } else {
            let jump = Jump::Direct(self.code.here(), inst);
            self.jumps.push((jump, items));
        }
        self.code.word(0);
    }

    /// Completes the jumps that lead here.
    fn resolve_due(&mut self) {
        let here = self.code.here();
        let mut jumps = std::mem::take(&mut self.jumps);
        for (_, items) in &mut jumps {
            *items -= 1;
        }
        for (jump, _) in jumps.extract_if(.., |(_, items)| *items == 0) {
            self.resolve(jump, here);
        }
        self.jumps = jumps;
    }

    fn resolve_rest(&mut self) {
        let here = self.code.here();
        for (jump, _) in std::mem::take(&mut self.jumps) {
            self.resolve(jump, here);
        }
    }

    fn resolve(&mut self, jump: Jump, target: u64) {
        let from = |address: u64| target.wrapping_sub(address) as i32;
        match jump {
            Jump::Direct(at, inst) => {
                let imm = from(at);
                self.code.patch(at, word(Inst { imm, ..inst }));
            }
            Jump::Compressed(at, half) => {
                if let Some(half) = self.compressed.with_offset(half, from(at)) {
                    self.code.patch_half(at, half);
                }
            }
            Jump::Address(at, auipc) => {
                let rd = decode(self.code.word_at(auipc)).map_or(1, |inst| inst.rd);
                let imm = from(auipc);
                let addi = Inst {
                    rd,
                    rs1: rd,
                    imm,
                    ..blank(Op::Addi)
                };
                self.code.patch(at, word(addi));
            }
            Jump::Indirect(at, auipc, inst) => {
                // The lowest bit of the sum is ignored: set it half the time.
                let imm = from(auipc) | self.random.below(2) as i32;
                self.code.patch(at, word(Inst { imm, ..inst }));
            }
        }
    }

    /// An instruction that must trap.
    fn trap(&mut self) {
        match self.random.below(4) {
            0 => self.code.plain(Op::Ecall),
            1 => self.code.plain(Op::Ebreak),
            2 => {
                let raw = loop {
                    let raw = self.random.bits() as u32 | 3;
                    if decode(raw).is_none() {
                        break raw;
                    }
                };
                self.code.word(raw);
            }
            _ => {
                let half = loop {
                    let half = self.random.bits() as u16;
                    if half & 3 != 3 && decode(u32::from(half)).is_none() {
                        break half;
                    }
                };
                self.code.half(half);
            }
        }
    }

    /// An access to a CSR that is there for programs, or does nothing by itself.
    fn csr(&mut self) {
        const NUMBERS: [u16; 18] = [
            FFLAGS,
            FFLAGS,
            FRM,
            FRM,
            FRM,
            FCSR,
            FCSR,
            FCSR,
            SSCRATCH,
            STVAL,
            SEPC,
            MTVAL,
            CYCLE,
            INSTRET,
            MCYCLE,
            MINSTRET,
            MHARTID,
            HPMCOUNTER3,
        ];
        let op = self.random.pick(&[
            Op::Csrrw,
            Op::Csrrs,
            Op::Csrrc,
            Op::Csrrwi,
            Op::Csrrsi,
            Op::Csrrci,
        ]);
        let inst = Inst {
            rd: self.random.below(32) as u8,
            rs1: self.random.below(32) as u8,
            imm: i32::from(self.random.pick(&NUMBERS)),
            ..blank(op)
        };
        self.code.emit(inst);
    }

    /// LR and SC, sometimes to another address, and sometimes SC alone.
    fn reservation(&mut self) {
        let double = self.random.chance(1, 2);
        let (load, store) = if double {
            (Op::LrD, Op::ScD)
        } else {
            (Op::LrW, Op::ScW)
        };
        let base = self.random.register();
        let value = self.random.below(32) as u8;
        let result = self.random.below(32) as u8;
        let loaded = loop {
            let register = self.random.below(32) as u8;
            if register != base {
                break register;
            }
        };
        let target = self.target(8, true);
        self.code.address(base, target);
        if self.random.chance(7, 8) {
            self.code.emit(Inst {
                rd: loaded,
                rs1: base,
                rm: self.random.below(4) as u8,
                ..blank(load)
            });
            if self.random.chance(1, 8) {
                self.code.immediate(Op::Addi, base, base, 8);
            }
        }
        self.code.emit(Inst {
            rd: result,
            rs1: base,
            rs2: value,
            rm: self.random.below(4) as u8,
            ..blank(store)
        });
    }

    /// Overwrites an instruction, before or after this one, or makes one that can be overwritten.
    fn self_modification(&mut self) {
        let alu = |random: &mut Random| loop {
            let spec = random.pick(Op::ALL).spec();
            let raw = spec.value | random.bits() as u32 & !spec.mask;
            let simple = spec.class == Class::Alu && spec.format == Format::I;
            if simple && spec.extension == Extension::I && decode(raw).is_some() {
                break raw;
            }
        };
        let new = alu(&mut self.random);
        if self.patchable.is_empty() || self.random.chance(1, 3) {
            self.patchable.push(self.code.here());
            self.code.word(new);
            return;
        }
        let at = self.random.pick(&self.patchable);
        let base = self.random.register();
        let value = 1 + base % 31;
        self.code.address(base, at);
        self.code.constant(value, new as i32 as u64);
        self.code.store(Op::Sw, value, base, 0);
        self.code.plain(Op::FenceI);
    }

    /// A floating-point instruction while `mstatus.FS` is off.
    fn floating_point_off(&mut self) {
        let register = self.random.register();
        self.code.constant(register, status::FS);
        self.code
            .immediate(Op::Csrrc, 0, register, i32::from(MSTATUS));
        self.any_of(|class| class == Class::Float);
        self.code.constant(register, status::FS);
        self.code
            .immediate(Op::Csrrs, 0, register, i32::from(MSTATUS));
    }

    /// Everything that is not code.
    fn data(&mut self) {
        assert!(self.code.here() <= POOL, "the program is too long");
        self.code.skip_to(POOL);
        for _ in 0..POOL_ENTRIES {
            let value = operands::special(&mut self.random);
            self.code.double(value);
        }
        self.code.skip_to(SIGNATURE);
        for _ in 0..64 {
            let value = operands::special(&mut self.random);
            self.code.double(value);
        }
        self.code.double(self.random.below(256));
        self.code.skip_to(SIGNATURE + frame::LOOPS as u64);
        self.code.double(LOOPS);
        self.code.skip_to(SCRATCH);
        for _ in 0..SCRATCH_SIZE / 8 {
            let value = operands::special(&mut self.random);
            self.code.double(value);
        }
    }
}
