//! Bare-metal RISC-V programs, put together word by word after the RISC-V manual, volume I, so that
//! nothing of Clade's own decides what they are.

/// Where QEMU's `virt` board has a kernel's memory, its UART and its test finisher.
const LOAD_ADDRESS: u32 = 0x8020_0000;
const UART_PAGE: u32 = 0x10000;
const FINISHER_PAGE: u32 = 0x100;

const FINISHER_PASS: u32 = 0x5555;
const FINISHER_FAIL: u32 = 0x3333;
const FINISHER_RESET: u32 = 0x7777;

/// Registers, by number.
const ZERO: u32 = 0;
const UART: u32 = 5;
const VALUE: u32 = 6;
const BYTE: u32 = 7;
const COUNT: u32 = 28;

/// A program under construction; each step appends to it.
#[derive(Default)]
pub(crate) struct Guest {
    code: Vec<u32>,
}

impl Guest {
    pub(crate) fn new() -> Self {
        let mut guest = Self::default();
        guest.emit(lui(UART, UART_PAGE));
        guest
    }

    /// Prints on the UART.
    pub(crate) fn print(mut self, text: &str) -> Self {
        self.put(text);
        self
    }

    /// Prints a line so many times (at most 2047 × 1000 = `thousands` × 1000).
    pub(crate) fn print_often(mut self, line: &str, thousands: i32) -> Self {
        assert!(
            line.len() < 400 && thousands < 2048,
            "out of an instruction's range"
        );
        self.emit(addi(COUNT, ZERO, thousands));
        let outer = self.code.len();
        self.emit(addi(COUNT + 1, ZERO, 1000));
        let inner = self.code.len();
        self.put(line);
        self.emit(addi(COUNT + 1, COUNT + 1, -1));
        self.branch(BNE, COUNT + 1, ZERO, inner);
        self.emit(addi(COUNT, COUNT, -1));
        self.branch(BNE, COUNT, ZERO, outer);
        self
    }

    /// Prints what is typed, until `last` was.
    pub(crate) fn echo_until(mut self, last: char) -> Self {
        let again = self.code.len();
        self.emit(lbu(VALUE, UART, 5));
        self.emit(andi(VALUE, VALUE, 1));
        self.branch(BEQ, VALUE, ZERO, again);
        self.emit(lbu(BYTE, UART, 0));
        self.emit(sb(BYTE, UART));
        self.emit(addi(VALUE, ZERO, last as i32));
        self.branch(BNE, BYTE, VALUE, again);
        self
    }

    /// Prints what is typed until `last` was, or resets when `reset` is typed.
    pub(crate) fn echo_until_or_reset(mut self, last: char, reset: char) -> Self {
        let again = self.code.len();
        self.emit(lbu(VALUE, UART, 5));
        self.emit(andi(VALUE, VALUE, 1));
        self.branch(BEQ, VALUE, ZERO, again);
        self.emit(lbu(BYTE, UART, 0));
        self.emit(sb(BYTE, UART));
        self.emit(addi(VALUE, ZERO, reset as i32));
        let over = self.code.len() + 1 + FINISH_WORDS;
        self.branch(BNE, BYTE, VALUE, over);
        self = self.finish(FINISHER_RESET);
        assert_eq!(self.code.len(), over);
        self.emit(addi(VALUE, ZERO, last as i32));
        self.branch(BNE, BYTE, VALUE, again);
        self
    }

    pub(crate) fn power_off(self) -> Self {
        self.finish(FINISHER_PASS)
    }

    pub(crate) fn fail(self, code: u16) -> Self {
        self.finish(u32::from(code) << 16 | FINISHER_FAIL)
    }

    pub(crate) fn reset(self) -> Self {
        self.finish(FINISHER_RESET)
    }

    /// Runs for ever.
    pub(crate) fn spin(mut self) -> Self {
        self.emit(JUMP_TO_SELF);
        self
    }

    /// The program as an ELF file with one segment.
    pub(crate) fn elf(&self) -> Vec<u8> {
        let code: Vec<u8> = self
            .code
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        elf(243, &code)
    }

    fn finish(mut self, value: u32) -> Self {
        // The low half is sign-extended: the high half makes up for it.
        self.emit(lui(VALUE, (value.wrapping_add(0x800)) >> 12));
        self.emit(addi(VALUE, VALUE, (value as i32) << 20 >> 20));
        self.emit(lui(BYTE + 3, FINISHER_PAGE));
        self.emit(sw(VALUE, BYTE + 3));
        self.emit(JUMP_TO_SELF);
        self
    }

    fn put(&mut self, text: &str) {
        for byte in text.bytes() {
            self.emit(addi(BYTE, ZERO, i32::from(byte)));
            self.emit(sb(BYTE, UART));
        }
    }

    fn emit(&mut self, word: u32) {
        self.code.push(word);
    }

    fn branch(&mut self, function: u32, left: u32, right: u32, target: usize) {
        let distance = (target as i32 - self.code.len() as i32) * 4;
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

/// An ELF executable for a machine of this number, with `code` at the kernel's address.
pub(crate) fn elf(machine: u16, code: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend(2u16.to_le_bytes()); // an executable
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(u64::from(LOAD_ADDRESS).to_le_bytes()); // entry
    file.extend(64u64.to_le_bytes()); // program headers
    file.extend(0u64.to_le_bytes()); // section headers
    file.extend(0u32.to_le_bytes());
    for field in [64u16, 56, 1, 64, 0, 0] {
        file.extend(field.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes()); // PT_LOAD
    file.extend(7u32.to_le_bytes());
    file.extend(120u64.to_le_bytes()); // offset
    file.extend(u64::from(LOAD_ADDRESS).to_le_bytes());
    file.extend(u64::from(LOAD_ADDRESS).to_le_bytes());
    file.extend((code.len() as u64).to_le_bytes());
    file.extend((code.len() as u64).to_le_bytes());
    file.extend(4u64.to_le_bytes());
    file.extend(code);
    file
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
