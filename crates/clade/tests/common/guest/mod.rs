//! Bare-metal programs for the engine of the tests, put together instruction by instruction, so that
//! nothing of Clade's own decides what they are.

mod riscv;
mod x86;

use super::engine;

/// What is written to the test finisher, which both boards have.
const FINISHER_PASS: u32 = 0x5555;
const FINISHER_FAIL: u32 = 0x3333;
const FINISHER_RESET: u32 = 0x7777;

/// A program under construction; each step appends to it.
#[derive(Default)]
pub(crate) struct Guest {
    steps: Vec<Step>,
}

enum Step {
    Print(String),
    PrintOften {
        line: String,
        thousands: u16,
    },
    /// Another key than the last may write something to the test finisher.
    Echo {
        last: u8,
        reset: Option<(u8, u32)>,
    },
    Finish(u32),
    Spin,
}

/// It is loaded to where it begins.
struct Program {
    /// ELF's number of the architecture.
    machine: u16,
    address: u32,
    code: Vec<u8>,
}

impl Guest {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Prints on the UART.
    pub(crate) fn print(self, text: &str) -> Self {
        self.then(Step::Print(text.to_owned()))
    }

    /// Prints a line so many times (at most 2047 × 1000 = `thousands` × 1000).
    pub(crate) fn print_often(self, line: &str, thousands: u16) -> Self {
        let line = line.to_owned();
        self.then(Step::PrintOften { line, thousands })
    }

    /// Prints what is typed, until `last` was.
    pub(crate) fn echo_until(self, last: char) -> Self {
        let last = key(last);
        self.then(Step::Echo { last, reset: None })
    }

    /// Prints what is typed until `last` was, or resets when `reset` is typed.
    pub(crate) fn echo_until_or_reset(self, last: char, reset: char) -> Self {
        let reset = Some((key(reset), FINISHER_RESET));
        let last = key(last);
        self.then(Step::Echo { last, reset })
    }

    pub(crate) fn power_off(self) -> Self {
        self.then(Step::Finish(FINISHER_PASS))
    }

    pub(crate) fn fail(self, code: u16) -> Self {
        self.then(Step::Finish(u32::from(code) << 16 | FINISHER_FAIL))
    }

    pub(crate) fn reset(self) -> Self {
        self.then(Step::Finish(FINISHER_RESET))
    }

    /// Runs for ever.
    pub(crate) fn spin(self) -> Self {
        self.then(Step::Spin)
    }

    /// The program as an ELF file with one segment.
    pub(crate) fn elf(&self) -> Vec<u8> {
        let Program {
            machine,
            address,
            code,
        } = match engine().as_str() {
            "kvm" => x86::program(&self.steps),
            _ => riscv::program(&self.steps),
        };
        elf(machine, address, &code)
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

fn key(letter: char) -> u8 {
    u8::try_from(letter).expect("a key of ASCII")
}

/// Makes the steps of programs for one kind of processor.
trait Assembler {
    /// Prints a text.
    fn put(&mut self, text: &str);
    /// Prints a line so many thousand times.
    fn print_often(&mut self, line: &str, thousands: u16);
    /// Prints what is typed until `last` was; at the one key of `reset`, writes its value to the finisher.
    fn echo(&mut self, last: u8, reset: Option<(u8, u32)>);
    /// Writes to the finisher.
    fn finish(&mut self, value: u32);
    /// Runs for ever.
    fn spin(&mut self);

    fn step(&mut self, step: &Step) {
        match step {
            Step::Print(text) => self.put(text),
            Step::PrintOften { line, thousands } => self.print_often(line, *thousands),
            Step::Echo { last, reset } => self.echo(*last, *reset),
            Step::Finish(value) => self.finish(*value),
            Step::Spin => self.spin(),
        }
    }
}

/// An ELF executable for a machine of this number, that is loaded to `address` and entered there.
pub(crate) fn elf(machine: u16, address: u32, code: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend(2u16.to_le_bytes()); // an executable
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(u64::from(address).to_le_bytes()); // entry
    file.extend(64u64.to_le_bytes()); // program headers
    file.extend(0u64.to_le_bytes()); // section headers
    file.extend(0u32.to_le_bytes());
    for field in [64u16, 56, 1, 64, 0, 0] {
        file.extend(field.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes()); // PT_LOAD
    file.extend(7u32.to_le_bytes());
    file.extend(120u64.to_le_bytes()); // offset
    file.extend(u64::from(address).to_le_bytes());
    file.extend(u64::from(address).to_le_bytes());
    file.extend((code.len() as u64).to_le_bytes());
    file.extend((code.len() as u64).to_le_bytes());
    file.extend(4u64.to_le_bytes());
    file.extend(code);
    file
}
