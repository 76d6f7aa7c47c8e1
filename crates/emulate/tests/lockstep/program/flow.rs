//! Items that jump.

use clade_riscv::isa::{Inst, Op, encode};

use super::*;

/// Most items that a jump goes forwards.
pub(super) const FARTHEST: u64 = 6;

const BRANCHES: [Op; 6] = [Op::Beq, Op::Bne, Op::Blt, Op::Bge, Op::Bltu, Op::Bgeu];

impl Generator {
    pub(super) fn flow(&mut self, items: u64) {
        match self.random.below(16) {
            0..3 => self.branch_on_number(items),
            3 => self.branch_on_anything(),
            4 => self.countdown(),
            5..8 => self.call_function(),
            8 => self.tail_call(),
            9 => self.return_twice(),
            10 => self.return_into_the_middle(),
            11..13 => self.jump_by_table(),
            13 => self.overlap(),
            14 => self.straddle(),
            _ => self.call_by_register(),
        }
    }

    /// The next number; some bits of it in a register.
    fn draw(&mut self, mask: i32) -> u8 {
        let register = self.free();
        let increment = 2 * self.random.below(1000) as i32 + 1;
        let shift = 32 + self.random.below(20) as i32;
        self.asm
            .r(Op::Mul, NUMBER, NUMBER, MULTIPLIER)
            .addi(NUMBER, NUMBER, increment)
            .i(Op::Srli, register, NUMBER, shift)
            .i(Op::Andi, register, register, mask);
        register
    }

    fn forwards(&mut self) -> String {
        let item = self.items + self.random.below(FARTHEST);
        self.item_label(item)
    }

    /// There or back, by chance.
    fn branch_on_number(&mut self, items: u64) {
        let mask = self.random.pick(&[1, 3, 7]);
        let register = self.draw(mask);
        let backwards = self.random.chance(1, 3);
        let target = if backwards {
            let item = self.items - 1 - self.random.below(self.items.min(8));
            self.item_label(item.min(items - 1))
        } else {
            self.forwards()
        };
        // Loops mostly end.
        let op = if backwards || self.random.chance(1, 2) {
            Op::Beq
        } else {
            Op::Bne
        };
        self.asm.b(op, register, ZERO, &target);
    }

    fn branch_on_anything(&mut self) {
        let op = self.random.pick(&BRANCHES);
        let (left, right) = (self.random.below(32) as u8, self.random.below(32) as u8);
        let target = self.forwards();
        self.asm.b(op, left, right, &target);
    }

    /// A tight loop.
    fn countdown(&mut self) {
        let (counter, times) = (self.free(), 1 + self.random.below(20));
        let label = self.name();
        self.asm.li(counter, times).label(&label);
        let half = loop {
            let half = self.compressed_alu();
            let inst = clade_riscv::isa::decode(u32::from(half));
            if inst.is_some_and(|inst| inst.rd != counter) {
                break half;
            }
        };
        self.asm.half(half).addi(counter, counter, -1);
        self.asm.b(Op::Bne, counter, ZERO, &label);
    }

    fn any_function(&mut self) -> String {
        format!("function {}", self.random.below(FUNCTIONS))
    }

    /// Not always: the number of calls would explode.
    fn call_function(&mut self) {
        let (over, function) = (self.name(), self.any_function());
        let register = self.draw(3);
        self.asm.b(Op::Bne, register, ZERO, &over);
        self.asm.jal(RA, &function).label(&over);
    }

    /// A call by way of a register, either of those that mark calls, or both.
    fn call_by_register(&mut self) {
        let (over, back) = (self.name(), self.name());
        let register = self.draw(1);
        self.asm.b(Op::Bne, register, ZERO, &over);
        let (link, base) = self
            .random
            .pick(&[(RA, T0), (T0, RA), (T0, T0), (RA, T1), (A0, T1)]);
        // To the next instruction but one, and from there to the one that follows this.
        let there = self.name();
        self.asm.la(base, &there).i(Op::Jalr, link, base, 0);
        self.asm.j(&back);
        self.asm.label(&there).i(Op::Jalr, ZERO, link, 0);
        self.asm.label(&back).label(&over);
    }

    pub(super) fn enter_frame(&mut self) {
        let leave = format!("leave {}", self.function);
        self.asm
            .addi(SP, SP, -16)
            .s(Op::Sd, RA, SP, 8)
            .addi(DEPTH, DEPTH, 1)
            .li(T0, self.around.deepest)
            .b(Op::Bge, DEPTH, T0, &leave);
    }

    pub(super) fn leave_frame(&mut self) {
        self.asm
            .addi(DEPTH, DEPTH, -1)
            .i(Op::Ld, RA, SP, 8)
            .addi(SP, SP, 16);
    }

    fn tail_call(&mut self) {
        let (over, function) = (self.name(), self.any_function());
        let register = self.draw(7);
        self.asm.b(Op::Bne, register, ZERO, &over);
        self.leave_frame();
        self.asm.j(&function).label(&over);
    }

    /// Returns from this function and its caller at once.
    fn return_twice(&mut self) {
        let over = self.name();
        let register = self.draw(7);
        self.asm
            .b(Op::Bne, register, ZERO, &over)
            .li(T0, 2)
            .b(Op::Blt, DEPTH, T0, &over)
            .addi(DEPTH, DEPTH, -2)
            .i(Op::Ld, RA, SP, 24)
            .addi(SP, SP, 32)
            .ret()
            .label(&over);
    }

    /// A return that no call belongs to, to where no block begins.
    fn return_into_the_middle(&mut self) {
        let middle = self.name();
        self.asm.la(RA, &middle).ret();
        self.compressed();
        self.asm.label(&middle);
        self.compressed();
    }

    fn jump_by_table(&mut self) {
        let over = self.name();
        let register = self.draw(3);
        self.asm.b(Op::Bne, register, ZERO, &over);
        let index = self.draw(TARGETS as i32 - 1);
        let base = loop {
            let base = self.free();
            if base != index {
                break base;
            }
        };
        let table = JUMP_TABLES + 8 * TARGETS * self.function;
        self.asm
            .li(base, table)
            .r(Op::Add, base, base, WINDOW)
            .r(Op::Sh3add, base, index, base)
            .i(Op::Ld, base, base, 0)
            .i(Op::Jalr, ZERO, base, 0)
            .label(&over);
    }

    /// An instruction whose second half is one too: 16 bits long, or the begin of a longer one.
    fn overlap(&mut self) {
        let inner = self.name();
        let register = self.draw(1);
        self.asm.b(Op::Beq, register, ZERO, &inner);
        let short = self.compressed_alu();
        let half = if self.random.chance(1, 2) {
            short
        } else {
            // `addi`, to be completed by the two bytes that follow.
            0x13 | u16::from(self.free()) << 7
        };
        const LUI: u16 = 0x37;
        let low = LUI | u16::from(self.free()) << 7;
        self.asm.half(low).label(&inner).half(half).half(short);
    }

    /// An instruction on two pages.
    fn straddle(&mut self) {
        let last = (self.asm.here() | 0xfff) - 1;
        let over_jump = self.asm.here() + 8;
        if (over_jump..over_jump + 0x300).contains(&last) {
            let over = self.name();
            self.asm.j(&over).pad_to(last - 2).label(&over);
            let half = self.compressed_alu();
            self.asm.half(half);
        }
        self.integers();
    }

    /// Begins a function near the end of a page, or anywhere.
    pub(super) fn align_badly(&mut self) {
        let here = self.asm.here();
        let begin = (here | 0xfff) - 1 - 2 * self.random.below(8);
        if self.random.chance(1, 3) && (here..here + 0x800).contains(&begin) {
            self.asm.pad_to(begin);
        } else if self.random.chance(1, 2) {
            self.asm.half(1);
        }
    }

    /// An instruction that is overwritten with another, or the code that does so.
    pub(super) fn patch(&mut self) {
        let simple = |random: &mut Random| Inst {
            op: random.pick(&[Op::Addi, Op::Xori, Op::Andi, Op::Slti]),
            rd: random.pick(&FREE),
            rs1: random.below(32) as u8,
            rs2: 0,
            rs3: 0,
            rm: 0,
            len: 4,
            imm: random.below(2048) as i32,
        };
        let inst = simple(&mut self.random);
        let word = encode(&inst).expect("it fits");
        if self.sites.is_empty() || self.random.chance(1, 3) {
            self.sites.push(self.asm.here());
            self.asm.word(word);
            return;
        }
        let site = self.random.pick(&self.sites);
        // Where addresses are translated code is read-only, but for S-mode at the other alias.
        let alias = if self.around.translated && self.around.mode != Mode::Machine {
            LARGE_ALIAS
        } else {
            0
        };
        self.asm.li(T0, site + alias).li(T1, u64::from(word));
        self.asm.s(Op::Sw, T1, T0, 0).op(Op::FenceI);
    }
}
