//! What the assembler writes, read back by a disassembler that is not ours.

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter, MemorySizeOptions};

use super::*;

const BASE: u32 = 0x1000;

const REGS: [Reg; 16] = [
    RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15,
];
const CONDS: [(Cond, &str); 11] = [
    (Cond::Overflow, "o"),
    (Cond::Below, "b"),
    (Cond::AboveEqual, "ae"),
    (Cond::Equal, "e"),
    (Cond::NotEqual, "ne"),
    (Cond::Above, "a"),
    (Cond::Sign, "s"),
    (Cond::Parity, "p"),
    (Cond::NoParity, "np"),
    (Cond::Less, "l"),
    (Cond::GreaterEqual, "ge"),
];
const ALUS: [(Alu, &str); 6] = [
    (Alu::Add, "add"),
    (Alu::Or, "or"),
    (Alu::And, "and"),
    (Alu::Sub, "sub"),
    (Alu::Xor, "xor"),
    (Alu::Cmp, "cmp"),
];
const SHIFTS: [(Shift, &str); 5] = [
    (Shift::Rol, "rol"),
    (Shift::Ror, "ror"),
    (Shift::Shl, "shl"),
    (Shift::Shr, "shr"),
    (Shift::Sar, "sar"),
];
/// What every instruction is for; a few know the smaller ones, too.
const WIDE: [Width; 2] = [Width::B32, Width::B64];
const ALL_WIDTHS: [Width; 4] = [Width::B8, Width::B16, Width::B32, Width::B64];
/// At the edges of the encodings.
const IMMEDIATES: [i32; 10] = [0, 1, -1, 127, -128, 128, -129, 0x1234, i32::MIN, i32::MAX];

/// The texts of all instructions that `emit` writes at [`BASE`].
pub(in crate::translator) fn texts(emit: impl FnOnce(&mut Assembler)) -> Vec<String> {
    let mut a = Assembler::new(BASE);
    emit(&mut a);
    let code = a.finish();
    let mut decoder = Decoder::with_ip(64, &code, u64::from(BASE), DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_small_hex_numbers_in_decimal(false);
    options.set_branch_leading_zeros(false);
    options.set_use_pseudo_ops(false);
    options.set_memory_size_options(MemorySizeOptions::Always);
    let mut texts = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        assert!(!instruction.is_invalid(), "{code:02x?} after {texts:?}");
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        texts.push(text);
    }
    texts
}

/// Sees that `emit` writes one instruction, and this one.
pub(in crate::translator) fn expect(text: &str, emit: impl FnOnce(&mut Assembler)) {
    assert_eq!(texts(emit), [text]);
}

/// A register's name at a width.
pub(in crate::translator) fn name(reg: Reg, width: Width) -> String {
    const OLD: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
    let number = usize::from(reg.0);
    match (OLD.get(number), width) {
        (Some(old), Width::B64) => format!("r{old}"),
        (Some(old), Width::B32) => format!("e{old}"),
        (Some(old), Width::B16) => (*old).to_owned(),
        (Some(old), Width::B8) if number < 4 => format!("{}l", &old[..1]),
        (Some(old), Width::B8) => format!("{old}l"),
        (None, Width::B64) => format!("r{number}"),
        (None, Width::B32) => format!("r{number}d"),
        (None, Width::B16) => format!("r{number}w"),
        (None, Width::B8) => format!("r{number}b"),
    }
}

/// The text of a memory operand of a size.
pub(in crate::translator) fn memory(mem: Mem, width: Width) -> String {
    let size = match width {
        Width::B8 => "byte",
        Width::B16 => "word",
        Width::B32 => "dword",
        Width::B64 => "qword",
    };
    format!("{size} ptr {}", address(mem))
}

fn address(mem: Mem) -> String {
    let segment = if mem.gs { "gs:" } else { "" };
    let index = mem.index.map_or(String::new(), |(index, scale)| {
        let index = name(index, Width::B64);
        match scale {
            Scale::One => format!("+{index}"),
            Scale::Two => format!("+{index}*2"),
            Scale::Four => format!("+{index}*4"),
            Scale::Eight => format!("+{index}*8"),
        }
    });
    let disp = match mem.disp {
        0 => String::new(),
        1.. => format!("+{:#x}", mem.disp),
        _ => format!("-{:#x}", mem.disp.unsigned_abs()),
    };
    format!("{segment}[{}{index}{disp}]", name(mem.base, Width::B64))
}

/// Memory operands of every shape: each base, indices that are encoded differently, displacements
/// at the edges.
pub(in crate::translator) fn memories() -> Vec<Mem> {
    const SCALES: [Scale; 4] = [Scale::One, Scale::Two, Scale::Four, Scale::Eight];
    let mut memories = Vec::new();
    for base in REGS {
        for disp in [0, 1, 127, -128, 128, -129, i32::MIN, i32::MAX] {
            memories.push(Mem::at(base, disp));
            memories.push(Mem::in_gs(base, disp));
            for index in [RAX, RBP, RDI, R8, R12, R13, R15] {
                let scaled = SCALES.map(|scale| Mem::indexed(base, index, scale, disp));
                memories.extend(scaled);
            }
        }
    }
    memories
}

/// Every register and memory operand, and its text at a width.
pub(in crate::translator) fn operands(width: Width) -> Vec<(Operand, String)> {
    let registers = REGS.map(|reg| (Operand::Reg(reg), name(reg, width)));
    let memories = memories().into_iter();
    let memories = memories.map(|mem| (Operand::Mem(mem), memory(mem, width)));
    registers.into_iter().chain(memories).collect()
}

/// A constant as an instruction of this width has it.
fn hex(value: i64, width: Width) -> String {
    match width {
        Width::B8 => format!("{:#x}", value as u8),
        Width::B16 => format!("{:#x}", value as u16),
        Width::B32 => format!("{:#x}", value as u32),
        Width::B64 => format!("{value:#x}"),
    }
}

#[test]
fn moves_and_addresses() {
    for dst in REGS {
        let (wide, narrow) = (name(dst, Width::B64), name(dst, Width::B32));
        for (src, text) in operands(Width::B64) {
            if src == Operand::Reg(dst) {
                assert!(texts(|a| a.mov(dst, src)).is_empty());
            } else {
                expect(&format!("mov {wide},{text}"), |a| a.mov(dst, src));
            }
        }
        for (src, text) in operands(Width::B32) {
            expect(&format!("mov {narrow},{text}"), |a| a.mov32(dst, src));
            expect(&format!("movsxd {wide},{text}"), |a| {
                a.movsx(dst, Width::B32, src);
            });
        }
        for width in [Width::B8, Width::B16] {
            for (src, text) in operands(width) {
                expect(&format!("movzx {narrow},{text}"), |a| {
                    a.movzx(dst, width, src);
                });
                expect(&format!("movsx {wide},{text}"), |a| {
                    a.movsx(dst, width, src);
                });
            }
        }
        for mem in memories().into_iter().filter(|mem| !mem.gs) {
            let text = address(mem);
            expect(&format!("lea {wide},{text}"), |a| a.lea(dst, mem));
            expect(&format!("lea {narrow},{text}"), |a| a.lea32(dst, mem));
        }
    }
}

#[test]
fn stores() {
    for width in ALL_WIDTHS {
        for mem in memories() {
            let text = memory(mem, width);
            for src in REGS {
                let expected = format!("mov {text},{}", name(src, width));
                expect(&expected, |a| a.store(width, mem, src));
            }
            for imm in IMMEDIATES {
                let expected = format!("mov {text},{}", hex(imm.into(), width));
                expect(&expected, |a| a.store_imm(width, mem, imm));
            }
        }
    }
}

#[test]
fn constants() {
    for dst in REGS {
        let (wide, narrow) = (name(dst, Width::B64), name(dst, Width::B32));
        expect(&format!("xor {narrow},{narrow}"), |a| a.mov_imm(dst, 0));
        for imm in [1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
            expect(&format!("mov {narrow},{imm:#x}"), |a| a.mov_imm(dst, imm));
        }
        for imm in [0, 1, u32::MAX] {
            expect(&format!("mov {narrow},{imm:#x}"), |a| {
                a.mov32_imm(dst, imm);
            });
        }
        for imm in [-1, i32::MIN.into(), 0x1_0000_0000, i64::MIN, i64::MAX] {
            expect(&format!("mov {wide},{imm:#x}"), |a| a.mov_imm(dst, imm));
        }
    }
}

#[test]
fn arithmetic() {
    for (op, mnemonic) in ALUS {
        for width in WIDE {
            for (operand, text) in operands(width) {
                for reg in REGS {
                    let expected = format!("{mnemonic} {},{text}", name(reg, width));
                    expect(&expected, |a| match width {
                        Width::B64 => a.alu(op, reg, operand),
                        _ => a.alu32(op, reg, operand),
                    });
                }
                for imm in IMMEDIATES {
                    let expected = format!("{mnemonic} {text},{}", hex(imm.into(), width));
                    expect(&expected, |a| a.alu_imm(width, op, operand, imm));
                }
            }
        }
        for mem in memories() {
            let expected = format!("{mnemonic} {},0x80", memory(mem, Width::B8));
            expect(&expected, |a| a.alu_imm(Width::B8, op, mem, -128));
        }
    }
}

#[test]
fn tests_of_bits() {
    for a in REGS {
        for b in REGS {
            let texts = WIDE.map(|width| format!("test {},{}", name(a, width), name(b, width)));
            expect(&texts[0], |asm| asm.test32(a, b));
            expect(&texts[1], |asm| asm.test(a, b));
        }
    }
    for (operand, text) in operands(Width::B32) {
        expect(&format!("test {text},0x6000"), |a| {
            a.test_imm32(operand, 0x6000);
        });
    }
}

#[test]
fn multiplication_and_division() {
    let unary = [
        (Unary::Not, "not"),
        (Unary::Neg, "neg"),
        (Unary::Mul, "mul"),
        (Unary::Imul, "imul"),
        (Unary::Div, "div"),
        (Unary::Idiv, "idiv"),
    ];
    for width in WIDE {
        for (operand, text) in operands(width) {
            for (op, mnemonic) in unary {
                expect(&format!("{mnemonic} {text}"), |a| {
                    a.unary(width, op, operand);
                });
            }
            for dst in REGS {
                expect(&format!("imul {},{text}", name(dst, width)), |a| {
                    a.imul(width, dst, operand);
                });
            }
        }
    }
    expect("cdq", |a| a.sign_extend_rax(Width::B32));
    expect("cqo", |a| a.sign_extend_rax(Width::B64));
}

#[test]
fn shifts() {
    for width in WIDE {
        for (operand, text) in operands(width) {
            for (op, mnemonic) in SHIFTS {
                expect(&format!("{mnemonic} {text},0x1f"), |a| {
                    a.shift_imm(width, op, operand, 31);
                });
                expect(&format!("{mnemonic} {text},cl"), |a| {
                    a.shift_cl(width, op, operand);
                });
            }
            for (op, mnemonic) in &SHIFTS[2..] {
                for reg in REGS {
                    let dst = REGS[15 - usize::from(reg.0)];
                    let (to, by) = (name(dst, width), name(reg, width));
                    expect(&format!("{mnemonic}x {to},{text},{by}"), |a| {
                        a.shift_reg(width, *op, dst, operand, reg);
                    });
                }
            }
        }
    }
}

#[test]
fn bits() {
    let single = [
        (Bit::Set, "bts"),
        (Bit::Reset, "btr"),
        (Bit::Complement, "btc"),
    ];
    let counts = [
        (Count::Ones, "popcnt"),
        (Count::TrailingZeros, "tzcnt"),
        (Count::LeadingZeros, "lzcnt"),
    ];
    for dst in REGS {
        let text = name(dst, Width::B64);
        expect(&format!("bswap {text}"), |a| a.bswap(dst));
        for (op, mnemonic) in single {
            for index in REGS {
                let by = name(index, Width::B64);
                expect(&format!("{mnemonic} {text},{by}"), |a| {
                    a.bit_reg(op, dst, index);
                });
            }
            expect(&format!("{mnemonic} {text},0x3f"), |a| {
                a.bit_imm(op, dst, 63);
            });
        }
        for (src, src_text) in operands(Width::B64) {
            let first = REGS[15 - usize::from(dst.0)];
            let first_text = name(first, Width::B64);
            expect(&format!("andn {text},{first_text},{src_text}"), |a| {
                a.andn(dst, first, src);
            });
        }
        for width in WIDE {
            for (src, src_text) in operands(width) {
                for (op, mnemonic) in counts {
                    let expected = format!("{mnemonic} {},{src_text}", name(dst, width));
                    expect(&expected, |a| a.count(width, op, dst, src));
                }
            }
        }
    }
}

#[test]
fn conditions() {
    for (cond, suffix) in CONDS {
        for dst in REGS {
            expect(&format!("set{suffix} {}", name(dst, Width::B8)), |a| {
                a.setcc(cond, dst);
            });
            for (src, text) in operands(Width::B64) {
                let expected = format!("cmov{suffix} {},{text}", name(dst, Width::B64));
                expect(&expected, |a| a.cmov(cond, dst, src));
            }
        }
    }
}

#[test]
fn an_inverse_has_the_opposite_bit() {
    use Cond::*;
    for cond in [
        Below,
        AboveEqual,
        Equal,
        NotEqual,
        Parity,
        NoParity,
        Less,
        GreaterEqual,
    ] {
        // Intel SDM volume 1, appendix B: the lowest bit negates.
        assert_eq!(cond.inverse() as u8, cond as u8 ^ 1, "{cond:?}");
    }
}

#[test]
fn atomics() {
    for width in WIDE {
        for mem in memories() {
            let text = memory(mem, width);
            for reg in REGS {
                let operands = format!("{text},{}", name(reg, width));
                expect(&format!("lock cmpxchg {operands}"), |a| {
                    a.lock_cmpxchg(width, mem, reg);
                });
                expect(&format!("lock xadd {operands}"), |a| {
                    a.lock_xadd(width, mem, reg);
                });
                expect(&format!("xchg {operands}"), |a| a.xchg(width, mem, reg));
            }
        }
    }
    expect("lock or dword ptr [rsp],0x0", |a| a.fence());
}

#[test]
fn jumps_land_where_they_are_told_to() {
    const FAR: CodeOffset = 0x1234_5678;
    expect("jmp 0x12345678", |a| a.jmp_to(FAR));
    expect("jmp 0x0", |a| a.jmp_to(0));
    expect("call 0x12345678", |a| a.call_to(FAR));
    for (cond, suffix) in CONDS {
        expect(&format!("j{suffix} 0x12345678"), |a| a.jcc_to(cond, FAR));
        let back_and_forth = texts(|a| {
            let (back, forth) = (a.bound_label(), a.label());
            a.jcc(cond, forth);
            a.jcc(cond, back);
            a.bind(forth);
            a.ret();
            assert_eq!(a.position(forth), Some(BASE + 12));
        });
        let expected = [
            format!("j{suffix} 0x100c"),
            format!("j{suffix} 0x1000"),
            "ret".to_owned(),
        ];
        assert_eq!(back_and_forth, expected);
        let short = texts(|a| {
            let jump = a.jcc_short(cond);
            a.ret();
            a.bind_short(jump);
            a.ret();
        });
        assert_eq!(short, [&format!("j{suffix} short 0x1003"), "ret", "ret"]);
    }
    let labels = texts(|a| {
        let (back, forth) = (a.bound_label(), a.label());
        a.jmp(forth);
        a.jmp(back);
        let short = a.jmp_short();
        a.bind(forth);
        a.bind_short(short);
        a.ret();
    });
    assert_eq!(
        labels,
        ["jmp 0x100c", "jmp 0x1000", "jmp short 0x100c", "ret"]
    );
}

#[test]
fn jumps_by_register_and_memory_and_the_stack() {
    for (operand, text) in operands(Width::B64) {
        expect(&format!("jmp {text}"), |a| a.jmp_indirect(operand));
    }
    for reg in REGS {
        let text = name(reg, Width::B64);
        expect(&format!("call {text}"), |a| a.call_indirect(reg));
        expect(&format!("push {text}"), |a| a.push(reg));
        expect(&format!("pop {text}"), |a| a.pop(reg));
        expect(&format!("wrgsbase {text}"), |a| a.write_gs_base(reg));
    }
}

#[test]
fn padding_does_nothing_and_aligns() {
    for before in 0..4 {
        for behind in 1..3 {
            let mut end = 0;
            let padded = texts(|a| {
                (0..before).for_each(|_| a.ret());
                a.align4(behind);
                end = a.here();
            });
            assert_eq!((end + behind) % 4, 0);
            assert!(end - BASE - before < 4);
            for text in &padded[before as usize..] {
                // The first is what 66 90 is by its letter; it changes nothing all the same.
                let nothing = ["xchg ax,ax", "nop", "nop dword ptr [rax]"];
                assert!(nothing.contains(&text.as_str()), "{text}");
            }
        }
    }
}
