//! Programs that are hard on a translator.
//!
//! A program is a set of functions of random items: arithmetic, accesses to memory, jumps of all
//! kinds, and what only privileged code may do. Which way a jump goes depends on a generator of
//! numbers in the program itself, so that it wanders until the test ends it. It runs in any mode,
//! translated or not; a handler in M-mode takes all traps, repairs what they complain about or
//! skips the instruction, and goes on.

mod access;
mod arithmetic;
mod flow;
mod handler;
mod layout;
mod privileged;
mod tables;
mod window;

use clade_riscv::hart::Mode;
use clade_riscv::isa::Op;

use super::common::asm::*;
use super::machine::BASE;
use super::oracle::random::Random;
use layout::*;

/// The state of the numbers that decide about jumps, and their multiplier.
const NUMBER: u8 = S1;
const MULTIPLIER: u8 = S2;
/// How deep the calls are.
const DEPTH: u8 = S5;
/// What is added to the address of code and data in the mode that the hart is in.
const WINDOW: u8 = S6;

/// Registers that items may put anything into.
const FREE: [u8; 26] = [
    3, 4, T0, T1, T2, S0, A0, A1, A2, A3, A4, A5, A6, A7, S3, S4, S7, 24, 25, 26, 27, T3, T4, T5,
    T6, T0,
];

const FUNCTIONS: u64 = 10;

/// What surrounds the functions of a program.
#[derive(Debug, Clone, Copy)]
struct Surroundings {
    /// The mode that the program begins in; it may change between U and S.
    mode: Mode,
    /// Addresses are translated (in M-mode: only with `MPRV`).
    translated: bool,
    /// S-mode takes its interrupts itself.
    delegates: bool,
    /// The hardware sets A and D bits.
    updates_ad: bool,
    /// Calls deeper than this return at once.
    deepest: u64,
}

/// The program that `seed` names, as the bytes from [`BASE`] on.
pub(crate) fn program(seed: u64) -> Vec<u8> {
    Generator::new(seed).program()
}

struct Generator {
    random: Random,
    asm: Asm,
    around: Surroundings,
    function: u64,
    /// Items of the function so far; each has a label.
    items: u64,
    /// Addresses of instructions that may be overwritten.
    sites: Vec<u64>,
    /// Names for labels that are not those of items.
    names: u64,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let around = Surroundings {
            mode: random.pick(&[
                Mode::Machine,
                Mode::Supervisor,
                Mode::Supervisor,
                Mode::User,
            ]),
            translated: random.chance(3, 4),
            delegates: random.chance(1, 2),
            updates_ad: random.chance(2, 3),
            deepest: random.pick(&[4, 24, 200]),
        };
        Self {
            random,
            asm: Asm::new(BASE),
            around,
            function: 0,
            items: 0,
            sites: Vec::new(),
            names: 0,
        }
    }

    fn program(mut self) -> Vec<u8> {
        self.begin();
        self.asm.pad_to(CODE);
        self.main();
        for function in 0..FUNCTIONS {
            self.function(function);
        }
        assert!(self.asm.here() <= CODE_END, "the program is too long");
        let mut image = self.asm.bytes();
        image.resize(IMAGE_SIZE, 0);
        self.data(&mut image);
        self.windows(&mut image);
        self.tables(&mut image);
        image
    }

    /// Calls the functions, for ever.
    fn main(&mut self) {
        self.asm.label("main");
        self.asm.pad_to(SUPERVISOR_HANDLER - 0x100);
        self.asm.j("calls");
        self.asm.pad_to(SUPERVISOR_HANDLER);
        self.supervisor_handler();
        self.asm.label("calls");
        for _ in 0..8 {
            let function = self.random.below(FUNCTIONS);
            self.asm.jal(RA, &format!("function {function}"));
            self.pass_time();
        }
        self.asm.j("calls");
    }

    /// One of the functions: a frame of 16 bytes, and items.
    fn function(&mut self, function: u64) {
        (self.function, self.items) = (function, 0);
        self.align_badly();
        self.asm.label(&format!("function {function}"));
        self.enter_frame();
        let items = 20 + self.random.below(60);
        for item in 0..items {
            self.asm.label(&self.item_label(item));
            self.items = item + 1;
            self.item(items);
        }
        for item in items..items + flow::FARTHEST {
            self.asm.label(&self.item_label(item));
        }
        self.asm.label(&format!("leave {function}"));
        self.leave_frame();
        self.asm.ret();
    }

    fn item_label(&self, item: u64) -> String {
        format!("item {} {item}", self.function)
    }

    /// A label of its own.
    fn name(&mut self) -> String {
        self.names += 1;
        format!("name {}", self.names)
    }

    fn free(&mut self) -> u8 {
        self.random.pick(&FREE)
    }

    fn item(&mut self, items: u64) {
        match self.random.below(64) {
            0..12 => self.integers(),
            12..17 => self.compressed(),
            17..22 => self.floats(),
            22..31 => self.access(),
            31..33 => self.atomic(),
            33..49 => self.flow(items),
            49..51 => self.counter(),
            51..53 => self.float_state(),
            53 => self.patch(),
            54..56 => self.pass_time(),
            56 => self.trap(),
            57 => self.asm.op(Op::Ecall).end(),
            58 => self.status(),
            59 => self.flip(),
            60 => self.change_space(),
            61..63 => self.enter_window(),
            _ => self.fence(),
        }
    }
}

/// Ends a chain of calls to the assembler.
trait End {
    fn end(&mut self) {}
}

impl End for Asm {}
