//! Programs for RISC-V, after the RISC-V manual, volume I.

use super::{Assembler, Program, Step};

/// Where QEMU's `virt` board has a kernel's memory, its UART and its test finisher.
const LOAD_ADDRESS: u32 = 0x8020_0000;
const UART_PAGE: u32 = 0x10000;
const FINISHER_PAGE: u32 = 0x100;

/// Registers, by number.
const ZERO: u32 = 0;
const UART: u32 = 5;
const VALUE: u32 = 6;
const BYTE: u32 = 7;
const COUNT: u32 = 28;

/// The program that does these steps.
pub(super) fn program(steps: &[Step]) -> Program {
    let mut code = Code::default();
    code.emit(lui(UART, UART_PAGE));
    for step in steps {
        code.step(step);
    }
    Program {
        machine: 243,
        address: LOAD_ADDRESS,
        code: code.0.iter().flat_map(|word| word.to_le_bytes()).collect(),
    }
}

/// A program under construction.
#[derive(Default)]
struct Code(Vec<u32>);

impl Assembler for Code {
    fn print_often(&mut self, line: &str, thousands: u16) {
        assert!(
            line.len() < 400 && thousands < 2048,
            "out of an instruction's range"
        );
        self.emit(addi(COUNT, ZERO, thousands.into()));
        let outer = self.0.len();
        self.emit(addi(COUNT + 1, ZERO, 1000));
        let inner = self.0.len();
        self.put(line);
        self.emit(addi(COUNT + 1, COUNT + 1, -1));
        self.branch(BNE, COUNT + 1, ZERO, inner);
        self.emit(addi(COUNT, COUNT, -1));
        self.branch(BNE, COUNT, ZERO, outer);
    }

    fn echo(&mut self, last: u8, reset: Option<(u8, u32)>) {
        let again = self.0.len();
        self.emit(lbu(VALUE, UART, 5));
        self.emit(andi(VALUE, VALUE, 1));
        self.branch(BEQ, VALUE, ZERO, again);
        self.emit(lbu(BYTE, UART, 0));
        self.emit(sb(BYTE, UART));
        if let Some((key, value)) = reset {
            self.emit(addi(VALUE, ZERO, key.into()));
            let over = self.0.len() + 1 + FINISH_WORDS;
            self.branch(BNE, BYTE, VALUE, over);
            self.finish(value);
            assert_eq!(self.0.len(), over);
        }
        self.emit(addi(VALUE, ZERO, last.into()));
        self.branch(BNE, BYTE, VALUE, again);
    }

    fn finish(&mut self, value: u32) {
        // The low half is sign-extended: the high half makes up for it.
        self.emit(lui(VALUE, (value.wrapping_add(0x800)) >> 12));
        self.emit(addi(VALUE, VALUE, (value as i32) << 20 >> 20));
        self.emit(lui(BYTE + 3, FINISHER_PAGE));
        self.emit(sw(VALUE, BYTE + 3));
        self.emit(JUMP_TO_SELF);
    }

    fn put(&mut self, text: &str) {
        for byte in text.bytes() {
            self.emit(addi(BYTE, ZERO, i32::from(byte)));
            self.emit(sb(BYTE, UART));
        }
    }

    fn spin(&mut self) {
        self.emit(JUMP_TO_SELF);
    }
}

impl Code {
    fn emit(&mut self, word: u32) {
        self.0.push(word);
    }

    fn branch(&mut self, function: u32, left: u32, right: u32, target: usize) {
        let distance = (target as i32 - self.0.len() as i32) * 4;
        assert!((-4096..4096).contains(&distance), "out of a branch's range");
        let distance = distance as u32;
        let bits = |from: u32, count: u32| distance >> from & ((1 << count) - 1);
        self.emit(
            bits(12, 1) << 31
                | bits(5, 6) << 25
                | right << 20
                | left << 15
                | function << 12
                | bits(1, 4) << 8
                | bits(11, 1) << 7
                | 0x63,
        );
    }
}

const BEQ: u32 = 0;
const BNE: u32 = 1;
const FINISH_WORDS: usize = 5;
const JUMP_TO_SELF: u32 = 0x6f;

fn lui(rd: u32, page: u32) -> u32 {
    page << 12 | rd << 7 | 0x37
}

fn i_type(opcode: u32, function: u32, rd: u32, rs1: u32, immediate: i32) -> u32 {
    (immediate as u32) << 20 | rs1 << 15 | function << 12 | rd << 7 | opcode
}

fn addi(rd: u32, rs1: u32, immediate: i32) -> u32 {
    i_type(0x13, 0, rd, rs1, immediate)
}

fn andi(rd: u32, rs1: u32, immediate: i32) -> u32 {
    i_type(0x13, 7, rd, rs1, immediate)
}

fn lbu(rd: u32, rs1: u32, immediate: i32) -> u32 {
    i_type(0x03, 4, rd, rs1, immediate)
}

/// Stores are without offset.
fn sb(rs2: u32, rs1: u32) -> u32 {
    rs2 << 20 | rs1 << 15 | 0x23
}

fn sw(rs2: u32, rs1: u32) -> u32 {
    rs2 << 20 | rs1 << 15 | 2 << 12 | 0x23
}
