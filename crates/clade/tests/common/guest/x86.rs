//! Programs for x86-64 that begin in 64-bit mode, after the Intel SDM, volume 2.

use super::{Assembler, Program, Step};

/// Where the PC has memory that nothing else uses, and its test finisher.
const LOAD_ADDRESS: u32 = 0x10_0000;
const FINISHER: u32 = 0xfe00_0000;

/// mov dx, imm16: the first serial port's data, which `dx` names between steps, and its line status.
const DATA: [u8; 4] = [0x66, 0xba, 0xf8, 0x03];
const LINE_STATUS: [u8; 4] = [0x66, 0xba, 0xfd, 0x03];
/// in al, dx.
const IN: u8 = 0xec;
/// out dx, al.
const OUT: u8 = 0xee;
/// jmp to itself.
const SPIN: [u8; 2] = [0xeb, 0xfe];

/// Conditional jumps with a distance of 32 bits.
const JZ: [u8; 2] = [0x0f, 0x84];
const JNZ: [u8; 2] = [0x0f, 0x85];

/// The program that does these steps.
pub(super) fn program(steps: &[Step]) -> Program {
    let mut code = Code(DATA.to_vec());
    for step in steps {
        code.step(step);
    }
    Program {
        machine: 62,
        address: LOAD_ADDRESS,
        code: code.0,
    }
}

/// A program under construction.
struct Code(Vec<u8>);

impl Assembler for Code {
    fn put(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0.extend([0xb0, byte, OUT]); // mov al, imm8
        }
    }

    fn print_often(&mut self, line: &str, thousands: u16) {
        self.with_word(0xbb, thousands.into()); // mov ebx, imm32
        let outer = self.0.len();
        self.with_word(0xb9, 1000); // mov ecx, imm32
        let inner = self.0.len();
        self.put(line);
        self.0.extend([0xff, 0xc9]); // dec ecx
        self.jump(JNZ, inner);
        self.0.extend([0xff, 0xcb]); // dec ebx
        self.jump(JNZ, outer);
    }

    fn echo(&mut self, last: u8, reset: Option<(u8, u32)>) {
        let again = self.0.len();
        self.0.extend(LINE_STATUS);
        self.0.extend([IN, 0xa8, 1]); // test al, imm8
        self.0.extend(DATA);
        self.jump(JZ, again);
        self.0.extend([IN, OUT]);
        if let Some((key, value)) = reset {
            self.compare(key);
            let from = self.0.len();
            self.jump(JNZ, from);
            self.finish(value);
            let over = (self.0.len() - from - JUMP_BYTES) as u32;
            self.0[from + 2..from + JUMP_BYTES].copy_from_slice(&over.to_le_bytes());
        }
        self.compare(last);
        self.jump(JNZ, again);
    }

    fn finish(&mut self, value: u32) {
        self.with_word(0xbf, FINISHER); // mov edi, imm32
        self.0.push(0xc7);
        self.with_word(0x07, value); // mov dword [rdi], imm32
        self.0.extend(SPIN);
    }

    fn spin(&mut self) {
        self.0.extend(SPIN);
    }
}

impl Code {
    /// cmp al, imm8.
    fn compare(&mut self, byte: u8) {
        self.0.extend([0x3c, byte]);
    }

    fn with_word(&mut self, opcode: u8, word: u32) {
        self.0.push(opcode);
        self.0.extend(word.to_le_bytes());
    }

    /// The distance counts from behind the jump.
    fn jump(&mut self, condition: [u8; 2], target: usize) {
        let distance = target as i32 - (self.0.len() + JUMP_BYTES) as i32;
        self.0.extend(condition);
        self.0.extend(distance.to_le_bytes());
    }
}

const JUMP_BYTES: usize = 6;
