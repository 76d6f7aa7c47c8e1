//! What the assembler writes, read back by a disassembler that is not ours.

use super::super::assembler::tests::{expect, memories, memory, name, operands};
use super::super::assembler::{Assembler, R8, R12, R15, RAX, RCX, RSP};
use super::*;

const FORMATS: [(Format, &str); 2] = [(Format::Single, "s"), (Format::Double, "d")];
const XMMS: [Xmm; 6] = [Xmm(0), Xmm(1), Xmm(7), Xmm(8), Xmm(9), Xmm(15)];
const INTEGERS: [Reg; 6] = [RAX, RCX, RSP, R8, R12, R15];

fn xmm(reg: Xmm) -> String {
    format!("xmm{}", reg.0)
}

/// Some registers, and memory of every shape.
fn sources(format: Format) -> Vec<(Operand, String)> {
    let registers = XMMS.map(|reg| (Operand::from(reg), xmm(reg)));
    let memories = memories().into_iter();
    let memories = memories.map(|mem| (Operand::Mem(mem), memory(mem, format.width())));
    registers.into_iter().chain(memories).collect()
}

#[test]
fn moves() {
    for (format, suffix) in FORMATS {
        for reg in XMMS {
            let text = xmm(reg);
            for mem in memories() {
                let place = memory(mem, format.width());
                let load = format!("vmovs{suffix} {text},{place}");
                expect(&load, |a| a.load_float(format, reg, mem));
                expect(&load, |a| a.move_float(format, reg, mem.into()));
                expect(&format!("vmovs{suffix} {place},{text}"), |a| {
                    a.store_float(format, mem, reg);
                });
            }
            for src in XMMS {
                expect(&format!("vmovaps {text},{}", xmm(src)), |a| {
                    a.move_float(format, reg, src.into());
                });
            }
            expect(&format!("vxorps {text},{text},{text}"), |a| {
                a.clear_float(reg);
            });
        }
    }
}

#[test]
fn arithmetic() {
    let scalar = [
        (0x51, "vsqrt"),
        (0x58, "vadd"),
        (0x59, "vmul"),
        (0x5c, "vsub"),
        (0x5d, "vmin"),
        (0x5e, "vdiv"),
        (0x5f, "vmax"),
    ];
    let fused = [
        (0xa9, "vfmadd213"),
        (0xab, "vfmsub213"),
        (0xad, "vfnmadd213"),
        (0xaf, "vfnmsub213"),
    ];
    for (format, suffix) in FORMATS {
        for (b, b_text) in sources(format) {
            for (dst, a) in XMMS.into_iter().zip(XMMS.into_iter().rev()) {
                let operands = format!("{},{},{b_text}", xmm(dst), xmm(a));
                for (opcode, mnemonic) in scalar {
                    expect(&format!("{mnemonic}s{suffix} {operands}"), |asm| {
                        asm.scalar(format, opcode, dst, a, b);
                    });
                }
                for (opcode, mnemonic) in fused {
                    expect(&format!("{mnemonic}s{suffix} {operands}"), |asm| {
                        asm.fused(format, opcode, dst, a, b);
                    });
                }
                expect(&format!("vcmps{suffix} {operands},0x1e"), |asm| {
                    asm.compare_mask(format, dst, a, b, 0x1e);
                });
            }
            for a in XMMS {
                expect(&format!("vucomis{suffix} {},{b_text}", xmm(a)), |asm| {
                    asm.compare_float(format, a, b);
                });
            }
        }
    }
}

#[test]
fn between_the_formats_and_rounding() {
    for (dst, src) in XMMS.into_iter().flat_map(|a| XMMS.map(|b| (a, b))) {
        let operands = format!("{},{src},{src}", xmm(dst), src = xmm(src));
        for (format, mnemonic) in [(Format::Single, "vcvtss2sd"), (Format::Double, "vcvtsd2ss")] {
            expect(&format!("{mnemonic} {operands}"), |a| {
                a.scalar(format, 0x5a, dst, src, src);
            });
        }
        for (format, suffix) in FORMATS {
            expect(&format!("vrounds{suffix} {operands},0xb"), |a| {
                a.round_float(format, dst, src, 0xb);
            });
        }
    }
}

#[test]
fn bitwise() {
    let ops = [
        (0x54, "vandps"),
        (0x55, "vandnps"),
        (0x56, "vorps"),
        (0x57, "vxorps"),
    ];
    for (opcode, mnemonic) in ops {
        for (dst, a) in XMMS.into_iter().flat_map(|a| XMMS.map(|b| (a, b))) {
            for b in XMMS {
                let expected = format!("{mnemonic} {},{},{}", xmm(dst), xmm(a), xmm(b));
                expect(&expected, |asm| asm.bitwise_float(opcode, dst, a, b));
            }
        }
    }
}

#[test]
fn integers() {
    for width in [Width::B32, Width::B64] {
        for (format, suffix) in FORMATS {
            for (src, text) in operands(width) {
                for reg in XMMS {
                    let expected = format!("vcvtsi2s{suffix} {reg},{reg},{text}", reg = xmm(reg));
                    expect(&expected, |a| {
                        a.scalar_integer(format, 0x2a, width, (reg.0, reg.0), src);
                    });
                }
            }
            for (opcode, mnemonic) in [(0x2c, "vcvtts"), (0x2d, "vcvts")] {
                for (dst, src) in INTEGERS.into_iter().flat_map(|a| XMMS.map(|b| (a, b))) {
                    let expected =
                        format!("{mnemonic}{suffix}2si {},{}", name(dst, width), xmm(src));
                    expect(&expected, |a: &mut Assembler| {
                        a.scalar_integer(format, opcode, width, (dst.0, 0), src);
                    });
                }
            }
        }
        let mnemonic = if width == Width::B64 {
            "vmovq"
        } else {
            "vmovd"
        };
        for (dst, src) in INTEGERS.into_iter().flat_map(|a| XMMS.map(|b| (a, b))) {
            let expected = format!("{mnemonic} {},{}", name(dst, width), xmm(src));
            expect(&expected, |a| a.float_bits(width, dst, src));
        }
    }
}

#[test]
fn the_control_register() {
    for mem in memories() {
        let text = memory(mem, Width::B32);
        expect(&format!("ldmxcsr {text}"), |a| a.load_mxcsr(mem));
        expect(&format!("stmxcsr {text}"), |a| a.store_mxcsr(mem));
    }
}
