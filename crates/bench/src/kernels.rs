//! Programs that do one thing many times: calls, indirect jumps, loads that wait for each other,
//! system calls, switches between processes.

use clade_riscv::isa::Op;

use crate::assembler::{Assembler, inst};
use crate::program::{self, A0, A7, DATA, Program, T0, T1, T2};

const RA: u8 = 1;
const SP: u8 = 2;
const S0: u8 = 8;
const S1: u8 = 9;
const A1: u8 = 11;
const A2: u8 = 12;
const A3: u8 = 13;
const A4: u8 = 14;

/// All of them, with the two loops.
pub(crate) fn all() -> Vec<Program> {
    vec![
        program::integer(120_000),
        program::float(12_000),
        program::nothing(),
        calls(38),
        dispatch(30_000),
        chase(200),
        system_calls(1_500_000),
        ping_pong(10_000),
    ]
}

/// Fibonacci numbers by recursion, the textbook's two calls deep.
fn calls(n: i32) -> Program {
    let mut code = Assembler::default();
    let (fib, small, end) = (code.label(), code.label(), code.label());
    code.set(A0, n);
    code.to(Op::Jal, RA, 0, 0, fib);
    code.to(Op::Jal, 0, 0, 0, end);

    code.place(fib);
    code.set(T0, 2);
    code.to(Op::Blt, 0, A0, T0, small);
    code.push(Op::Addi, SP, SP, 0, -32);
    code.push(Op::Sd, 0, SP, RA, 24);
    code.push(Op::Sd, 0, SP, A0, 16);
    code.push(Op::Addi, A0, A0, 0, -1);
    code.to(Op::Jal, RA, 0, 0, fib);
    code.push(Op::Ld, T1, SP, 0, 16);
    code.push(Op::Sd, 0, SP, A0, 8);
    code.push(Op::Addi, A0, T1, 0, -2);
    code.to(Op::Jal, RA, 0, 0, fib);
    code.push(Op::Ld, T1, SP, 0, 8);
    code.push(Op::Add, A0, A0, T1, 0);
    code.push(Op::Ld, RA, SP, 0, 24);
    code.push(Op::Addi, SP, SP, 0, 32);
    code.place(small);
    code.push(Op::Jalr, 0, RA, 0, 0);

    code.place(end);
    Program::new("clade-bench-calls", code)
}

/// A bytecode interpreter with an indirect jump at the end of each handler; 4096 bytecodes a pass.
fn dispatch(passes: i32) -> Program {
    const LENGTH: i32 = 4096;
    const FINISH: i32 = 8;
    let mut code = Assembler::default();
    // The bytecode, by a linear congruential generator.
    code.set(S1, DATA);
    code.set(A4, 1_103_515_245);
    code.set(T2, LENGTH);
    let fill = code.here();
    code.push(Op::Mul, T0, T0, A4, 0);
    code.push(Op::Addiw, T0, T0, 0, 1013);
    code.push(Op::Srliw, T1, T0, 0, 29);
    code.push(Op::Sb, 0, S1, T1, 0);
    code.push(Op::Addi, S1, S1, 0, 1);
    code.push(Op::Addi, T2, T2, 0, -1);
    code.to(Op::Bne, 0, T2, 0, fill);
    code.set(T1, FINISH);
    code.push(Op::Sb, 0, S1, T1, 0);
    code.set(S0, passes);
    let (again, end) = (code.label(), code.label());
    // The link is the address of what follows: the handlers.
    code.to(Op::Jal, A1, 0, 0, again);
    handlers(&mut code);
    code.push(Op::Addi, S0, S0, 0, -1);
    code.to(Op::Beq, 0, S0, 0, end);
    code.place(again);
    code.set(A2, DATA);
    next(&mut code);
    code.place(end);
    Program::new("clade-bench-dispatch", code)
}

/// Handlers of eight instructions each, for bytecodes 0 to 7.
fn handlers(code: &mut Assembler) {
    const SLOT: usize = 8;
    let bodies = [
        [inst(Op::Addi, A0, A0, 0, 1), inst(Op::Xor, A3, A3, A0, 0)],
        [inst(Op::Sub, A3, A0, A3, 0), inst(Op::Slli, A0, A0, 0, 1)],
        [inst(Op::Xor, A0, A0, A3, 0), inst(Op::Srli, A3, A3, 0, 3)],
        [inst(Op::Add, A0, A0, A3, 0), inst(Op::Addi, A3, A3, 0, 5)],
        [inst(Op::Or, A3, A3, A0, 0), inst(Op::Addi, A0, A0, 0, -7)],
        [inst(Op::And, A0, A0, A3, 0), inst(Op::Addi, A3, A3, 0, 9)],
        [inst(Op::Mul, A0, A0, A3, 0), inst(Op::Addi, A3, A3, 0, 11)],
        [inst(Op::Sltu, T1, A0, A3, 0), inst(Op::Add, A0, A0, T1, 0)],
    ];
    let start = code.len();
    for (slot, body) in bodies.iter().enumerate() {
        code.extend(body);
        next(code);
        while code.len() < start + (slot + 1) * SLOT {
            code.push(Op::Addi, 0, 0, 0, 0);
        }
    }
}

/// Jumps to the handler (32 bytes each, from a1 on) of the bytecode at a2.
fn next(code: &mut Assembler) {
    code.push(Op::Lbu, T0, A2, 0, 0);
    code.push(Op::Addi, A2, A2, 0, 1);
    code.push(Op::Slli, T0, T0, 0, 5);
    code.push(Op::Add, T0, T0, A1, 0);
    code.push(Op::Jalr, 0, T0, 0, 0);
}

/// Loads through a chain that visits 2 MiB, a cache line at a time, in a scattered order.
fn chase(passes: i32) -> Program {
    const LINES: i32 = 1 << 15;
    const UNROLLED: i32 = 8;
    let mut code = Assembler::default();
    code.set(S1, DATA);
    code.set(A2, LINES - 1);
    // Line i leads to line 5i + 12345: one cycle through all (the Hull-Dobell theorem).
    code.set(A3, 12345);
    code.set(A4, 5);
    code.set(T0, 0);
    let fill = code.here();
    code.push(Op::Slli, T1, T0, 0, 6);
    code.push(Op::Add, T1, T1, S1, 0);
    code.push(Op::Mul, T2, T0, A4, 0);
    code.push(Op::Add, T2, T2, A3, 0);
    code.push(Op::And, T2, T2, A2, 0);
    code.push(Op::Slli, T2, T2, 0, 6);
    code.push(Op::Add, T2, T2, S1, 0);
    code.push(Op::Sd, 0, T1, T2, 0);
    code.push(Op::Addi, T0, T0, 0, 1);
    code.to(Op::Bgeu, 0, A2, T0, fill);
    code.set(T0, passes);
    code.push(Op::Addi, T1, S1, 0, 0);
    let pass = code.here();
    code.set(T2, LINES / UNROLLED);
    let again = code.here();
    for _ in 0..UNROLLED {
        code.push(Op::Ld, T1, T1, 0, 0);
    }
    code.push(Op::Addi, T2, T2, 0, -1);
    code.to(Op::Bne, 0, T2, 0, again);
    code.push(Op::Addi, T0, T0, 0, -1);
    code.to(Op::Bne, 0, T0, 0, pass);
    Program::new("clade-bench-chase", code)
}

/// The cheapest system call there is.
fn system_calls(count: i32) -> Program {
    const GETPPID: i32 = 173;
    let mut code = Assembler::default();
    code.set(S0, count);
    code.set(A7, GETPPID);
    let again = code.here();
    code.push(Op::Ecall, 0, 0, 0, 0);
    code.push(Op::Addi, S0, S0, 0, -1);
    code.to(Op::Bne, 0, S0, 0, again);
    Program::new("clade-bench-getppid", code)
}

/// Two processes pass a byte to and fro through two pipes.
fn ping_pong(count: i32) -> Program {
    const SIGCHLD: i32 = 17;
    /// Where the pipes are: two descriptors each, the one to read from first; then the byte.
    const THERE: i32 = 0;
    const BACK: i32 = 8;
    let mut code = Assembler::default();
    code.set(S1, DATA);
    for pipe in [THERE, BACK] {
        code.push(Op::Addi, A0, S1, 0, pipe);
        code.set(A1, 0);
        call(&mut code, PIPE2);
    }
    code.set(S0, count);
    code.set(A0, SIGCHLD);
    for argument in [A1, A2, A3, A4] {
        code.set(argument, 0);
    }
    call(&mut code, CLONE);
    let (child, end) = (code.label(), code.label());
    code.to(Op::Beq, 0, A0, 0, child);

    let parent = code.here();
    transfer(&mut code, WRITE, THERE + 4);
    transfer(&mut code, READ, BACK);
    code.push(Op::Addi, S0, S0, 0, -1);
    code.to(Op::Bne, 0, S0, 0, parent);
    code.to(Op::Jal, 0, 0, 0, end);

    code.place(child);
    transfer(&mut code, READ, THERE);
    transfer(&mut code, WRITE, BACK + 4);
    code.push(Op::Addi, S0, S0, 0, -1);
    code.to(Op::Bne, 0, S0, 0, child);
    code.place(end);
    Program::new("clade-bench-pingpong", code)
}

const PIPE2: i32 = 59;
const READ: i32 = 63;
const WRITE: i32 = 64;
const CLONE: i32 = 220;

fn call(code: &mut Assembler, number: i32) {
    code.set(A7, number);
    code.push(Op::Ecall, 0, 0, 0, 0);
}

/// Reads or writes a byte, with the descriptor that stands at `descriptor` in the data.
fn transfer(code: &mut Assembler, number: i32, descriptor: i32) {
    code.push(Op::Lw, A0, S1, 0, descriptor);
    code.push(Op::Addi, A1, S1, 0, 16);
    code.set(A2, 1);
    call(code, number);
}
