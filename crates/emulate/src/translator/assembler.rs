//! An assembler for the part of x86-64 that translations use (Intel SDM volume 2, chapter 2 and the
//! instructions' pages).
//!
//! Code is position-independent within the code memory: every jump is relative to it. Jumps go to
//! [`Label`]s, bound later, or to offsets of code that is there already.

/// A general-purpose register, by its number in the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reg(pub(super) u8);

pub(super) const RAX: Reg = Reg(0);
pub(super) const RCX: Reg = Reg(1);
pub(super) const RDX: Reg = Reg(2);
pub(super) const RBX: Reg = Reg(3);
pub(super) const RSP: Reg = Reg(4);
pub(super) const RBP: Reg = Reg(5);
pub(super) const RSI: Reg = Reg(6);
pub(super) const RDI: Reg = Reg(7);
pub(super) const R8: Reg = Reg(8);
pub(super) const R9: Reg = Reg(9);
pub(super) const R10: Reg = Reg(10);
pub(super) const R11: Reg = Reg(11);
pub(super) const R12: Reg = Reg(12);
pub(super) const R13: Reg = Reg(13);
pub(super) const R14: Reg = Reg(14);
pub(super) const R15: Reg = Reg(15);

/// An SSE register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Xmm(pub(super) u8);

/// `[base + index * scale + disp]`, behind the base of segment `gs` if that is said; the index is
/// never `rsp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mem {
    pub(super) base: Reg,
    pub(super) index: Option<(Reg, Scale)>,
    pub(super) disp: i32,
    pub(super) gs: bool,
}

/// What an index is multiplied by, as the logarithm that the encoding has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    One = 0,
    Two = 1,
    Four = 2,
    Eight = 3,
}

impl Mem {
    pub(super) fn at(base: Reg, disp: i32) -> Self {
        Self {
            base,
            index: None,
            disp,
            gs: false,
        }
    }

    pub(super) fn indexed(base: Reg, index: Reg, scale: Scale, disp: i32) -> Self {
        Self {
            base,
            index: Some((index, scale)),
            disp,
            gs: false,
        }
    }

    /// `gs:[base + disp]`
    pub(super) fn in_gs(base: Reg, disp: i32) -> Self {
        Self {
            gs: true,
            ..Self::at(base, disp)
        }
    }
}

/// A register or memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operand {
    Reg(Reg),
    Mem(Mem),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Self {
        Self::Reg(reg)
    }
}

impl From<Mem> for Operand {
    fn from(mem: Mem) -> Self {
        Self::Mem(mem)
    }
}

impl From<Xmm> for Operand {
    fn from(xmm: Xmm) -> Self {
        Self::Reg(Reg(xmm.0))
    }
}

/// Operand size of an integer instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    B8,
    B16,
    B32,
    B64,
}

/// The two-operand arithmetic that shares one encoding, by its number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alu {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Shifts and rotates, by their number in the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shift {
    Rol = 0,
    Ror = 1,
    Shl = 4,
    Shr = 5,
    Sar = 7,
}

/// One-operand arithmetic (opcode F7), by its number in the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unary {
    Not = 2,
    Neg = 3,
    /// `rdx:rax = rax * operand`, unsigned.
    Mul = 4,
    /// `rdx:rax = rax * operand`, signed.
    Imul = 5,
    /// `rax, rdx = rdx:rax / operand`, unsigned.
    Div = 6,
    /// `rax, rdx = rdx:rax / operand`, signed.
    Idiv = 7,
}

/// A condition, by its number in the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cond {
    Overflow = 0,
    Below = 2,
    AboveEqual = 3,
    Equal = 4,
    NotEqual = 5,
    Above = 7,
    Sign = 8,
    Parity = 10,
    NoParity = 11,
    Less = 12,
    GreaterEqual = 13,
}

impl Cond {
    /// The condition that holds when this one does not.
    pub(super) fn inverse(self) -> Self {
        match self {
            Self::Below => Self::AboveEqual,
            Self::AboveEqual => Self::Below,
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Parity => Self::NoParity,
            Self::NoParity => Self::Parity,
            Self::Less => Self::GreaterEqual,
            Self::GreaterEqual => Self::Less,
            Self::Above | Self::Sign | Self::Overflow => unreachable!("{self:?} is never inverted"),
        }
    }
}

/// The mandatory prefix of a VEX instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Simd {
    None = 0,
    P66 = 1,
    PF3 = 2,
    PF2 = 3,
}

/// The opcode map of a VEX instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Map {
    M0F = 1,
    M0F38 = 2,
    M0F3A = 3,
}

/// A place in code that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(u32);

/// Where in the code memory something is, in bytes from its beginning.
pub(super) type CodeOffset = u32;

/// Emits instructions.
pub(super) struct Assembler {
    bytes: Vec<u8>,
    /// Where the first byte will be.
    base: CodeOffset,
    /// Position of each label in `bytes`, once bound.
    labels: Vec<Option<u32>>,
    /// 32-bit displacements to fill in, by position.
    fixups: Vec<(u32, Label)>,
}

impl Assembler {
    pub(super) fn new(base: CodeOffset) -> Self {
        Self {
            bytes: Vec::with_capacity(4096),
            base,
            labels: Vec::new(),
            fixups: Vec::new(),
        }
    }

    /// Where the next instruction will be.
    pub(super) fn here(&self) -> CodeOffset {
        self.base + self.bytes.len() as u32
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() as u32 - 1)
    }

    /// The label means this place.
    pub(super) fn bind(&mut self, label: Label) {
        self.labels[label.0 as usize] = Some(self.bytes.len() as u32);
    }

    /// A label that is bound here.
    pub(super) fn bound_label(&mut self) -> Label {
        let label = self.label();
        self.bind(label);
        label
    }

    /// Where a label is, if it is bound.
    pub(super) fn position(&self, label: Label) -> Option<CodeOffset> {
        self.labels[label.0 as usize].map(|at| self.base + at)
    }

    /// Fills in all jumps to labels, and gives up the code.
    pub(super) fn finish(mut self) -> Vec<u8> {
        for (at, label) in std::mem::take(&mut self.fixups) {
            let target = self.labels[label.0 as usize].expect("every label is bound");
            let displacement = target.wrapping_sub(at + 4);
            self.bytes[at as usize..][..4].copy_from_slice(&displacement.to_le_bytes());
        }
        self.bytes
    }

    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(super) fn dword(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    // Encoding.

    /// ModRM, SIB and displacement.
    fn modrm(&mut self, reg: u8, operand: Operand) {
        let reg = (reg & 7) << 3;
        let mem = match operand {
            Operand::Reg(rm) => return self.byte(0xc0 | reg | rm.0 & 7),
            Operand::Mem(mem) => mem,
        };
        let base = mem.base.0 & 7;
        let (mode, size) = match mem.disp {
            // Base 5 without displacement means something else.
            0 if base != 5 => (0x00, 0),
            -128..=127 => (0x40, 1),
            _ => (0x80, 4),
        };
        match mem.index {
            Some((index, scale)) => {
                self.byte(mode | reg | 4);
                self.byte((scale as u8) << 6 | (index.0 & 7) << 3 | base);
            }
            // Base 4 can only be named by a SIB byte.
            None if base == 4 => {
                self.byte(mode | reg | 4);
                self.byte(4 << 3 | 4);
            }
            None => self.byte(mode | reg | base),
        }
        match size {
            0 => {}
            1 => self.byte(mem.disp as u8),
            _ => self.dword(mem.disp as u32),
        }
    }

    /// REX if it is needed. `byte_regs` are registers named as bytes, which from `spl` on need one.
    fn rex(&mut self, wide: bool, reg: u8, operand: Operand, byte_reg: bool) {
        let (index, base) = match operand {
            Operand::Reg(rm) => (0, rm.0),
            Operand::Mem(mem) => (mem.index.map_or(0, |(index, _)| index.0), mem.base.0),
        };
        let rex = u8::from(wide) << 3 | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3;
        if rex != 0 || byte_reg {
            self.byte(0x40 | rex);
        }
    }

    /// The prefix of memory behind the base of a segment.
    fn segment(&mut self, operand: Operand) {
        if matches!(operand, Operand::Mem(mem) if mem.gs) {
            self.byte(0x65);
        }
    }

    /// An instruction of one opcode byte.
    fn op1(&mut self, width: Width, opcode: u8, reg: u8, operand: Operand, byte_reg: bool) {
        self.segment(operand);
        if width == Width::B16 {
            self.byte(0x66);
        }
        self.rex(width == Width::B64, reg, operand, byte_reg);
        self.byte(opcode);
        self.modrm(reg, operand);
    }

    /// The immediate byte behind an instruction that was given without.
    pub(super) fn imm8(&mut self, imm: u8) {
        self.byte(imm);
    }

    /// An instruction behind the 0F escape.
    fn op2(&mut self, wide: bool, opcode: u8, reg: u8, operand: Operand, byte_reg: bool) {
        self.segment(operand);
        self.rex(wide, reg, operand, byte_reg);
        self.byte(0x0f);
        self.byte(opcode);
        self.modrm(reg, operand);
    }

    /// A VEX instruction with 128-bit vectors or general registers.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn vex(
        &mut self,
        prefix: Simd,
        map: Map,
        wide: bool,
        opcode: u8,
        reg: u8,
        second: u8,
        operand: impl Into<Operand>,
    ) {
        let operand = operand.into();
        let (index, base) = match operand {
            Operand::Reg(rm) => (0, rm.0),
            Operand::Mem(mem) => (mem.index.map_or(0, |(index, _)| index.0), mem.base.0),
        };
        self.segment(operand);
        let r = (!reg >> 3 & 1) << 7;
        let low = (!second & 15) << 3 | prefix as u8;
        if map == Map::M0F && !wide && index < 8 && base < 8 {
            self.byte(0xc5);
            self.byte(r | low);
        } else {
            self.byte(0xc4);
            self.byte(r | (!index >> 3 & 1) << 6 | (!base >> 3 & 1) << 5 | map as u8);
            self.byte(u8::from(wide) << 7 | low);
        }
        self.byte(opcode);
        self.modrm(reg, operand);
    }

    // Moves.

    /// `dst = src`, all 64 bits. Nothing when they are the same register.
    pub(super) fn mov(&mut self, dst: Reg, src: impl Into<Operand>) {
        let src = src.into();
        if src != Operand::Reg(dst) {
            self.op1(Width::B64, 0x8b, dst.0, src, false);
        }
    }

    /// `dst = src`, the upper half cleared.
    pub(super) fn mov32(&mut self, dst: Reg, src: impl Into<Operand>) {
        self.op1(Width::B32, 0x8b, dst.0, src.into(), false);
    }

    /// Stores the low part of a register.
    pub(super) fn store(&mut self, width: Width, dst: Mem, src: Reg) {
        let (opcode, byte_reg) = match width {
            Width::B8 => (0x88, src.0 >= 4),
            _ => (0x89, false),
        };
        self.op1(width, opcode, src.0, dst.into(), byte_reg);
    }

    /// Stores a constant, sign-extended for 64 bits.
    pub(super) fn store_imm(&mut self, width: Width, dst: Mem, imm: i32) {
        let opcode = if width == Width::B8 { 0xc6 } else { 0xc7 };
        self.op1(width, opcode, 0, dst.into(), false);
        match width {
            Width::B8 => self.byte(imm as u8),
            Width::B16 => self.bytes.extend_from_slice(&(imm as u16).to_le_bytes()),
            _ => self.dword(imm as u32),
        }
    }

    /// `dst = imm` in the shortest form. Flags may change.
    pub(super) fn mov_imm(&mut self, dst: Reg, imm: i64) {
        if imm == 0 {
            self.alu32(Alu::Xor, dst, dst);
        } else if u32::try_from(imm).is_ok() {
            self.rex(false, 0, dst.into(), false);
            self.byte(0xb8 | dst.0 & 7);
            self.dword(imm as u32);
        } else if i32::try_from(imm).is_ok() {
            self.op1(Width::B64, 0xc7, 0, dst.into(), false);
            self.dword(imm as u32);
        } else {
            self.rex(true, 0, dst.into(), false);
            self.byte(0xb8 | dst.0 & 7);
            self.bytes.extend_from_slice(&imm.to_le_bytes());
        }
    }

    /// `dst = imm`, the flags untouched.
    pub(super) fn mov32_imm(&mut self, dst: Reg, imm: u32) {
        self.rex(false, 0, dst.into(), false);
        self.byte(0xb8 | dst.0 & 7);
        self.dword(imm);
    }

    /// Zero-extends the low 8 or 16 bits of `src`; 32 and 64 bits are plain moves.
    pub(super) fn movzx(&mut self, dst: Reg, width: Width, src: impl Into<Operand>) {
        let src = src.into();
        match width {
            Width::B8 => {
                let byte_reg = matches!(src, Operand::Reg(r) if r.0 >= 4);
                self.op2(false, 0xb6, dst.0, src, byte_reg);
            }
            Width::B16 => self.op2(false, 0xb7, dst.0, src, false),
            Width::B32 => self.mov32(dst, src),
            Width::B64 => self.mov(dst, src),
        }
    }

    /// Sign-extends the low bits of `src` to 64.
    pub(super) fn movsx(&mut self, dst: Reg, width: Width, src: impl Into<Operand>) {
        let src = src.into();
        match width {
            Width::B8 => self.op2(true, 0xbe, dst.0, src, false),
            Width::B16 => self.op2(true, 0xbf, dst.0, src, false),
            Width::B32 => self.op1(Width::B64, 0x63, dst.0, src, false),
            Width::B64 => self.mov(dst, src),
        }
    }

    /// `dst = address of mem`.
    pub(super) fn lea(&mut self, dst: Reg, mem: Mem) {
        self.op1(Width::B64, 0x8d, dst.0, mem.into(), false);
    }

    /// As [`Assembler::lea`], in 32 bits.
    pub(super) fn lea32(&mut self, dst: Reg, mem: Mem) {
        self.op1(Width::B32, 0x8d, dst.0, mem.into(), false);
    }

    // Arithmetic.

    /// `dst = dst op src` on 64 bits.
    pub(super) fn alu(&mut self, op: Alu, dst: Reg, src: impl Into<Operand>) {
        self.op1(Width::B64, (op as u8) << 3 | 3, dst.0, src.into(), false);
    }

    /// `dst = dst op src` on 32 bits.
    pub(super) fn alu32(&mut self, op: Alu, dst: Reg, src: impl Into<Operand>) {
        self.op1(Width::B32, (op as u8) << 3 | 3, dst.0, src.into(), false);
    }

    /// `dst = dst op imm`.
    pub(super) fn alu_imm(&mut self, width: Width, op: Alu, dst: impl Into<Operand>, imm: i32) {
        let dst = dst.into();
        if width == Width::B8 {
            self.op1(width, 0x80, op as u8, dst, false);
            self.byte(imm as u8);
        } else if i8::try_from(imm).is_ok() {
            self.op1(width, 0x83, op as u8, dst, false);
            self.byte(imm as u8);
        } else {
            if dst == Operand::Reg(RAX) {
                self.rex(width == Width::B64, 0, dst, false);
                self.byte((op as u8) << 3 | 5);
            } else {
                self.op1(width, 0x81, op as u8, dst, false);
            }
            self.dword(imm as u32);
        }
    }

    /// Sets flags by `a & b` on 64 bits.
    pub(super) fn test(&mut self, a: Reg, b: Reg) {
        self.op1(Width::B64, 0x85, b.0, a.into(), false);
    }

    /// Sets flags by `a & b` on 32 bits.
    pub(super) fn test32(&mut self, a: Reg, b: Reg) {
        self.op1(Width::B32, 0x85, b.0, a.into(), false);
    }

    /// Sets flags by `a & imm` on 32 bits.
    pub(super) fn test_imm32(&mut self, a: impl Into<Operand>, imm: i32) {
        self.op1(Width::B32, 0xf7, 0, a.into(), false);
        self.dword(imm as u32);
    }

    pub(super) fn unary(&mut self, width: Width, op: Unary, operand: impl Into<Operand>) {
        self.op1(width, 0xf7, op as u8, operand.into(), false);
    }

    pub(super) fn imul(&mut self, width: Width, dst: Reg, src: impl Into<Operand>) {
        self.op2(width == Width::B64, 0xaf, dst.0, src.into(), false);
    }

    /// Sign-extends `rax` into `rdx:rax` (or `eax` into `edx:eax`).
    pub(super) fn sign_extend_rax(&mut self, width: Width) {
        if width == Width::B64 {
            self.byte(0x48);
        }
        self.byte(0x99);
    }

    pub(super) fn shift_imm(&mut self, width: Width, op: Shift, dst: impl Into<Operand>, by: u8) {
        self.op1(width, 0xc1, op as u8, dst.into(), false);
        self.byte(by);
    }

    /// Shifts by `cl`.
    pub(super) fn shift_cl(&mut self, width: Width, op: Shift, dst: impl Into<Operand>) {
        self.op1(width, 0xd3, op as u8, dst.into(), false);
    }

    /// `dst = src shifted by the low bits of by`, flags untouched (BMI2).
    pub(super) fn shift_reg(
        &mut self,
        width: Width,
        op: Shift,
        dst: Reg,
        src: impl Into<Operand>,
        by: Reg,
    ) {
        let prefix = match op {
            Shift::Shl => Simd::P66,
            Shift::Shr => Simd::PF2,
            Shift::Sar => Simd::PF3,
            Shift::Rol | Shift::Ror => unreachable!("rotates have no such form"),
        };
        let wide = width == Width::B64;
        self.vex(prefix, Map::M0F38, wide, 0xf7, dst.0, by.0, src);
    }

    /// `dst = !a & b` (BMI1).
    pub(super) fn andn(&mut self, dst: Reg, a: Reg, b: impl Into<Operand>) {
        self.vex(Simd::None, Map::M0F38, true, 0xf2, dst.0, a.0, b);
    }

    /// `lzcnt`, `tzcnt` or `popcnt`, by opcode.
    pub(super) fn count(&mut self, width: Width, op: Count, dst: Reg, src: impl Into<Operand>) {
        self.byte(0xf3);
        let wide = width == Width::B64;
        self.op2(wide, op as u8, dst.0, src.into(), false);
    }

    /// Reverses the bytes.
    pub(super) fn bswap(&mut self, dst: Reg) {
        self.rex(true, 0, dst.into(), false);
        self.byte(0x0f);
        self.byte(0xc8 | dst.0 & 7);
    }

    /// Sets, clears or flips bit `index` modulo 64 of a register; the carry flag is what it was.
    pub(super) fn bit_reg(&mut self, op: Bit, dst: Reg, index: Reg) {
        self.op2(true, op as u8, index.0, dst.into(), false);
    }

    /// As [`Assembler::bit_reg`], with a constant index.
    pub(super) fn bit_imm(&mut self, op: Bit, dst: Reg, index: u8) {
        let number = (op as u8 >> 3 & 3) | 4;
        self.op2(true, 0xba, number, dst.into(), false);
        self.byte(index);
    }

    pub(super) fn setcc(&mut self, cond: Cond, dst: Reg) {
        self.op2(false, 0x90 | cond as u8, 0, dst.into(), dst.0 >= 4);
    }

    pub(super) fn cmov(&mut self, cond: Cond, dst: Reg, src: impl Into<Operand>) {
        self.op2(true, 0x40 | cond as u8, dst.0, src.into(), false);
    }

    // Atomics.

    /// `[mem] = new` if it is `rax`, else `rax = [mem]`; the zero flag says which.
    pub(super) fn lock_cmpxchg(&mut self, width: Width, mem: Mem, new: Reg) {
        self.byte(0xf0);
        self.op2(width == Width::B64, 0xb1, new.0, mem.into(), false);
    }

    /// `[mem] += reg`, and `reg` is what was there.
    pub(super) fn lock_xadd(&mut self, width: Width, mem: Mem, reg: Reg) {
        self.byte(0xf0);
        self.op2(width == Width::B64, 0xc1, reg.0, mem.into(), false);
    }

    /// Exchanges memory and register, atomically.
    pub(super) fn xchg(&mut self, width: Width, mem: Mem, reg: Reg) {
        self.op1(width, 0x87, reg.0, mem.into(), false);
    }

    /// A full fence. (A locked instruction on the stack is faster than `mfence` and as strong for
    /// ordinary memory: Intel SDM volume 3, 9.2.2 and 9.2.5.)
    pub(super) fn fence(&mut self) {
        self.byte(0xf0);
        self.alu_imm(Width::B32, Alu::Or, Mem::at(RSP, 0), 0);
    }

    // Control flow.

    pub(super) fn jmp(&mut self, label: Label) {
        self.byte(0xe9);
        self.displacement(label);
    }

    pub(super) fn jcc(&mut self, cond: Cond, label: Label) {
        self.byte(0x0f);
        self.byte(0x80 | cond as u8);
        self.displacement(label);
    }

    fn displacement(&mut self, label: Label) {
        let at = self.bytes.len() as u32;
        match self.labels[label.0 as usize] {
            Some(target) => self.dword(target.wrapping_sub(at + 4)),
            None => {
                self.fixups.push((at, label));
                self.dword(0);
            }
        }
    }

    /// A short jump forward; [`Assembler::bind_short`] says to where.
    pub(super) fn jcc_short(&mut self, cond: Cond) -> ShortJump {
        self.byte(0x70 | cond as u8);
        self.byte(0);
        ShortJump(self.bytes.len())
    }

    /// As [`Assembler::jcc_short`], always taken.
    pub(super) fn jmp_short(&mut self) -> ShortJump {
        self.byte(0xeb);
        self.byte(0);
        ShortJump(self.bytes.len())
    }

    /// A short jump lands here.
    pub(super) fn bind_short(&mut self, jump: ShortJump) {
        let distance = self.bytes.len() - jump.0;
        self.bytes[jump.0 - 1] = i8::try_from(distance).expect("a short jump is short") as u8;
    }

    pub(super) fn jmp_to(&mut self, target: CodeOffset) {
        self.byte(0xe9);
        self.displacement_to(target);
    }

    pub(super) fn jcc_to(&mut self, cond: Cond, target: CodeOffset) {
        self.byte(0x0f);
        self.byte(0x80 | cond as u8);
        self.displacement_to(target);
    }

    pub(super) fn call_to(&mut self, target: CodeOffset) {
        self.byte(0xe8);
        self.displacement_to(target);
    }

    fn displacement_to(&mut self, target: CodeOffset) {
        let next = self.here() + 4;
        self.dword(target.wrapping_sub(next));
    }

    /// Jumps to the address in a register or in memory.
    pub(super) fn jmp_indirect(&mut self, target: impl Into<Operand>) {
        self.op1(Width::B32, 0xff, 4, target.into(), false);
    }

    /// Calls the address in a register.
    pub(super) fn call_indirect(&mut self, target: Reg) {
        self.op1(Width::B32, 0xff, 2, target.into(), false);
    }

    pub(super) fn push(&mut self, reg: Reg) {
        self.rex(false, 0, reg.into(), false);
        self.byte(0x50 | reg.0 & 7);
    }

    pub(super) fn pop(&mut self, reg: Reg) {
        self.rex(false, 0, reg.into(), false);
        self.byte(0x58 | reg.0 & 7);
    }

    /// Makes a register the base of segment `gs`.
    pub(super) fn write_gs_base(&mut self, base: Reg) {
        self.byte(0xf3);
        self.op2(true, 0xae, 3, base.into(), false);
    }

    pub(super) fn ret(&mut self) {
        self.byte(0xc3);
    }

    /// Fills with instructions that do nothing until the next byte but `behind` is aligned to 4.
    pub(super) fn align4(&mut self, behind: u32) {
        let count = (self.here() + behind).wrapping_neg() & 3;
        const NOPS: [&[u8]; 4] = [&[], &[0x90], &[0x66, 0x90], &[0x0f, 0x1f, 0x00]];
        self.bytes.extend_from_slice(NOPS[count as usize]);
    }

    // SSE.

    pub(super) fn load_mxcsr(&mut self, mem: Mem) {
        self.op2(false, 0xae, 2, mem.into(), false);
    }

    pub(super) fn store_mxcsr(&mut self, mem: Mem) {
        self.op2(false, 0xae, 3, mem.into(), false);
    }
}

/// A short jump that waits for its target: where its displacement ends.
pub(super) struct ShortJump(usize);

/// Bit counts, by opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Ones = 0xb8,
    TrailingZeros = 0xbc,
    LeadingZeros = 0xbd,
}

/// Single-bit operations, by opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bit {
    Set = 0xab,
    Reset = 0xb3,
    Complement = 0xbb,
}

#[cfg(test)]
pub(super) mod tests;
