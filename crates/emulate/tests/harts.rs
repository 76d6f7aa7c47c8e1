//! Several harts on real threads: memory order, atomics, and what harts ask of each other.

mod common;

use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use clade_engine::Engine;
use clade_riscv::csr::address::{MHARTID, SATP, SIE, SIP};
use clade_riscv::isa::Op;
use clade_riscv::trap::interrupt;

use common::asm::*;
use common::machine::*;
use common::paging::*;

const HSM: u64 = 0x48_534d;
const IPI: u64 = 0x73_5049;
const RFENCE: u64 = 0x5246_4e43;

/// Shared words, each in a block of its own.
const X: u64 = RAM + 0x8000;
const Y: u64 = RAM + 0x8040;
const DONE: u64 = RAM + 0x8080;
const FAILED: u64 = RAM + 0x80c0;
const BEGUN: u64 = RAM + 0x8100;
/// Logs of what each hart saw.
const LOGS: u64 = RAM + 0x10_0000;
const LOG_SIZE: u64 = 0x10_0000;
/// Memory that no cache holds.
const COLD: u64 = RAM + 0x30_0000;
const COLD_SIZE: u64 = 0x8_0000;

const READS: i32 = 0b0010;
const WRITES: i32 = 0b0001;
const ALL: i32 = 0b0011;

/// Tests take turns: harts that compete with other tests' hardly ever run at the same time.
static TURN: Mutex<()> = Mutex::new(());

fn run_alone(machine: &mut Machine) {
    run_disturbed(machine, Disturbance::None);
}

/// Waits until all of `harts` harts are here, so that they run at the same time.
fn meet(a: &mut Asm, harts: u64) {
    let label = format!("meet {:#x}", a.here());
    a.li(T5, BEGUN)
        .li(T6, 1)
        .r(Op::AmoaddW, ZERO, T5, T6)
        .li(T6, harts);
    a.label(&label).op(Op::Pause).i(Op::Lw, T4, T5, 0);
    a.b(Op::Blt, T4, T6, &label);
}

/// Ends the run once all of `harts` harts are here.
fn finish_together(a: &mut Asm, harts: u64) {
    let (last, idle) = (
        format!("last {:#x}", a.here()),
        format!("idle {:#x}", a.here()),
    );
    a.fence(ALL, ALL)
        .li(T5, DONE)
        .li(T6, 1)
        .r(Op::AmoaddD, T4, T5, T6);
    a.li(T6, harts - 1).b(Op::Beq, T4, T6, &last);
    a.label(&idle).op(Op::Pause).j(&idle);
    a.label(&last).finish();
}

/// Remembers A0 and A1 as evidence when they are not in order.
fn require_at_least(a: &mut Asm, actual: u8, wanted: u8) {
    let fine = format!("fine {:#x}", a.here());
    a.b(Op::Bgeu, actual, wanted, &fine)
        .li(T5, FAILED)
        .s(Op::Sd, wanted, T5, 0);
    a.label(&fine);
}

/// A program in M-mode with one part for each hart.
fn parts(harts: u32, part: impl Fn(&mut Asm, u64)) -> Machine {
    Machine::with_harts(Start::Machine, harts, |a| {
        a.csrr(T0, MHARTID);
        for hart in 0..u64::from(harts) {
            let other = format!("not {hart}");
            a.li(T1, hart).b(Op::Bne, T0, T1, &other);
            // Branches reach 4 KiB only.
            let (begin, next) = (format!("begin {hart}"), format!("next {hart}"));
            a.j(&begin).label(&other).j(&next).label(&begin);
            meet(a, u64::from(harts));
            part(a, hart);
            finish_together(a, u64::from(harts));
            a.label(&next);
        }
    })
}

/// Data before flag, with fences and with release and acquire (RVWMO, message passing).
#[test]
fn message_passing() {
    const COUNT: u64 = 200_000;
    for atomics in [false, true] {
        let mut machine = parts(2, |a, hart| {
            a.li(S0, X).li(S1, Y).li(S2, COUNT);
            if hart == 0 {
                a.label("write").addi(A0, A0, 1).s(Op::Sd, A0, S0, 0);
                if atomics {
                    a.r(Op::AmoswapD, ZERO, S1, A0);
                } else {
                    a.fence(WRITES, WRITES).s(Op::Sd, A0, S1, 0);
                }
                a.b(Op::Bne, A0, S2, "write");
            } else {
                a.label("read");
                if atomics {
                    a.r(Op::LrD, A1, S1, ZERO);
                } else {
                    a.i(Op::Ld, A1, S1, 0).fence(READS, READS);
                }
                a.i(Op::Ld, A0, S0, 0);
                require_at_least(a, A0, A1);
                // Nor does the flag ever go back (coherence).
                require_at_least(a, A1, A2);
                a.mv(A2, A1).b(Op::Bne, A1, S2, "read");
            }
        });
        run_alone(&mut machine);
        assert_eq!(machine.read_u64(FAILED), 0, "atomics: {atomics}");
    }
}

/// Each hart stores its counter, fences, and loads the other's. When hart 0 has stored `i` and then
/// seen less than `j`, hart 1, having stored `j`, must see at least `i` (store buffering).
#[test]
fn store_buffering() {
    const COUNT: u64 = LOG_SIZE / 8 - 1;
    let mut machine = parts(2, |a, hart| {
        let (mine, theirs) = if hart == 0 { (X, Y) } else { (Y, X) };
        a.li(S0, mine)
            .li(S1, theirs)
            .li(S2, COUNT)
            .li(S3, LOGS + hart * LOG_SIZE);
        // Stores to cold memory come first: they keep the next one waiting on its way.
        a.li(S4, COLD + hart * COLD_SIZE)
            .li(S5, 0x3_ffc0)
            .li(S6, 0x1040);
        let label = format!("loop {hart}");
        a.li(A0, 0).label(&label).addi(A0, A0, 1);
        a.r(Op::Add, T0, T0, S6)
            .r(Op::And, T1, T0, S5)
            .r(Op::Add, T1, T1, S4);
        (0..4).for_each(|line| {
            a.s(Op::Sd, A0, T1, 64 * line);
        });
        a.s(Op::Sd, A0, S0, 0).fence(ALL, ALL);
        a.i(Op::Ld, A1, S1, 0).addi(S3, S3, 8).s(Op::Sd, A1, S3, 0);
        a.b(Op::Bne, A0, S2, &label);
    });
    run_alone(&mut machine);
    let log = |hart: u64| -> Vec<u64> {
        let bytes = machine.read(LOGS + hart * LOG_SIZE, LOG_SIZE as usize);
        bytes
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
            .collect()
    };
    let (first, second) = (log(0), log(1));
    assert!(first.is_sorted() && second.is_sorted());
    for i in 1..=COUNT {
        // The smallest counter of hart 1 that hart 0 had not seen.
        let j = first[i as usize] + 1;
        if j <= COUNT {
            let seen = second[j as usize];
            assert!(
                seen >= i,
                "hart 0 saw {} at {i}, hart 1 saw {seen} at {j}",
                j - 1
            );
        }
    }
}

/// Counters that four harts raise with each kind of read-modify-write.
#[test]
fn atomic_counters() {
    const HARTS: u64 = 4;
    const COUNT: u64 = 20_000;
    let mut machine = parts(HARTS as u32, |a, hart| {
        let name = |part: &str| format!("{part} {hart}");
        a.li(S0, X).li(S1, COUNT).li(S2, 1).li(S3, 1 << 32);
        a.label(&name("loop"));
        a.r(Op::AmoaddD, ZERO, S0, S2)
            .addi(T0, S0, 8)
            .r(Op::AmoaddW, ZERO, T0, S2);
        // Two words of one doubleword, one raised through the whole.
        a.addi(T0, S0, 16)
            .r(Op::AmoaddD, ZERO, T0, S3)
            .r(Op::AmoaddW, ZERO, T0, S2);
        for (offset, load, store) in [(24, Op::LrD, Op::ScD), (32, Op::LrW, Op::ScW)] {
            let retry = name(&format!("retry {offset}"));
            a.addi(T0, S0, offset).label(&retry).r(load, T1, T0, ZERO);
            a.addi(T1, T1, 1)
                .r(store, T2, T0, T1)
                .b(Op::Bne, T2, ZERO, &retry);
        }
        for (offset, cas, load) in [(40, Op::AmocasD, Op::Ld), (48, Op::AmocasW, Op::Lw)] {
            let retry = name(&format!("retry {offset}"));
            a.addi(T0, S0, offset).i(load, T1, T0, 0);
            a.label(&retry)
                .mv(T2, T1)
                .addi(T3, T1, 1)
                .r(cas, T1, T0, T3);
            a.b(Op::Bne, T1, T2, &retry);
        }
        a.addi(S1, S1, -1).b(Op::Bne, S1, ZERO, &name("loop"));
    });
    // X, Y and the words up to 56 bytes further belong to this test.
    run_alone(&mut machine);
    let total = HARTS * COUNT;
    for offset in [0, 8, 24, 32, 40, 48] {
        assert_eq!(machine.read_u64(X + offset), total, "offset {offset}");
    }
    // The low word's carries never reach the high one.
    assert_eq!(machine.read_u64(X + 16), total << 32 | total);
}

/// Maxima and minima of what four harts offer.
#[test]
fn atomic_extremes() {
    const COUNT: u64 = 20_000;
    let mut machine = parts(4, |a, hart| {
        let label = format!("loop {hart}");
        a.li(S0, X)
            .li(S1, COUNT)
            .li(A0, hart + 1)
            .li(A1, 0x9e37_79b9_7f4a_7c15);
        a.label(&label).r(Op::Mul, A0, A0, A1).addi(A0, A0, 7);
        let ops = [
            Op::AmomaxD,
            Op::AmominD,
            Op::AmomaxuD,
            Op::AmominuD,
            Op::AmoxorD,
        ];
        for (index, op) in ops.into_iter().enumerate() {
            a.addi(T0, S0, 8 * index as i32).r(op, ZERO, T0, A0);
        }
        a.addi(S1, S1, -1).b(Op::Bne, S1, ZERO, &label);
    });
    run_alone(&mut machine);
    let mut offered = Vec::new();
    for hart in 1..=4u64 {
        let mut value = hart;
        for _ in 0..COUNT {
            value = value.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(7);
            offered.push(value);
        }
    }
    let signed = || offered.iter().map(|&value| value as i64).chain([0]);
    let expected = [
        signed().max().unwrap() as u64,
        signed().min().unwrap() as u64,
        *offered.iter().max().unwrap(),
        0,
        offered.iter().fold(0, |sum, value| sum ^ value),
    ];
    for (index, expected) in expected.into_iter().enumerate() {
        assert_eq!(
            machine.read_u64(X + 8 * index as u64),
            expected,
            "word {index}"
        );
    }
}

/// Spin locks of each width around a counter that is not atomic (Zacas).
#[test]
fn compare_and_swap_locks() {
    const COUNT: u64 = 500;
    for cas in [Op::AmocasW, Op::AmocasD, Op::AmocasQ] {
        let mut machine = parts(4, |a, hart| {
            let name = |part: &str| format!("{part} {hart}");
            a.li(S0, X).li(S1, COUNT).li(S2, Y);
            a.label(&name("loop"));
            // Expected 0 in the pair A0, A1; the owner's number in the pair A2, A3.
            a.li(A2, hart + 1).li(A3, !hart).j(&name("try"));
            a.label(&name("spin")).op(Op::Pause).label(&name("try"));
            a.li(A0, 0).li(A1, 0).r(cas, A0, S0, A2);
            a.b(Op::Bne, A0, ZERO, &name("spin"));
            a.i(Op::Ld, T0, S2, 0).addi(T0, T0, 1).s(Op::Sd, T0, S2, 0);
            // Released as a compare and swap, too: nobody else can have changed the lock.
            a.mv(A0, A2)
                .mv(A1, A3)
                .li(A4, 0)
                .li(A5, 0)
                .r(cas, A0, S0, A4);
            require_at_least(a, A0, A2);
            require_at_least(a, A2, A0);
            a.addi(S1, S1, -1).b(Op::Bne, S1, ZERO, &name("loop"));
        });
        run_alone(&mut machine);
        assert_eq!(machine.read_u64(FAILED), 0);
        assert_eq!(machine.read_u64(Y), 4 * COUNT, "{cas:?}");
        assert_eq!(machine.read_u64(X), 0);
    }
}

/// Both halves of a quadword change together: one is always the complement of the other.
#[test]
fn quadwords_are_not_torn() {
    const COUNT: u64 = 5000;
    let mut machine = parts(3, |a, hart| {
        let name = |part: &str| format!("{part} {hart}");
        a.li(S0, X).li(S1, COUNT).li(A0, 0).li(A1, 0);
        a.label(&name("loop"));
        a.label(&name("retry")).mv(T0, A0).mv(T1, A1);
        a.addi(A2, A0, 1)
            .i(Op::Xori, A3, A2, -1)
            .r(Op::AmocasQ, A0, S0, A2);
        // What was found is consistent, whether or not it was expected.
        a.i(Op::Xori, T2, A1, -1);
        let initial = name("initial");
        a.r(Op::Or, T3, A0, A1).b(Op::Beq, T3, ZERO, &initial);
        require_at_least(a, A0, T2);
        require_at_least(a, T2, A0);
        a.label(&initial)
            .b(Op::Bne, A0, T0, &name("retry"))
            .b(Op::Bne, A1, T1, &name("retry"));
        a.mv(A0, A2).mv(A1, A3);
        a.addi(S1, S1, -1).b(Op::Bne, S1, ZERO, &name("loop"));
    });
    run_alone(&mut machine);
    assert_eq!(machine.read_u64(FAILED), 0);
    assert_eq!(machine.read_u64(X), 3 * COUNT);
    assert_eq!(machine.read_u64(X + 8), !(3 * COUNT));
}

/// One writer, three readers that retry when they met it.
#[test]
fn sequence_lock() {
    const COUNT: u64 = 20_000;
    let mut machine = parts(4, |a, hart| {
        let name = |part: &str| format!("{part} {hart}");
        a.li(S0, X).li(S1, Y).li(S2, 2 * COUNT);
        if hart == 0 {
            a.label("write")
                .addi(A0, A0, 1)
                .s(Op::Sd, A0, S0, 0)
                .fence(WRITES, WRITES);
            (0..4).for_each(|word| {
                a.s(Op::Sd, A0, S1, 8 * word);
            });
            a.fence(WRITES, WRITES).addi(A0, A0, 1).s(Op::Sd, A0, S0, 0);
            a.b(Op::Bne, A0, S2, "write");
        } else {
            a.label(&name("read"))
                .i(Op::Ld, A0, S0, 0)
                .fence(READS, READS);
            a.i(Op::Andi, T0, A0, 1).b(Op::Bne, T0, ZERO, &name("read"));
            for (word, register) in [A1, A2, A3, A4].into_iter().enumerate() {
                a.i(Op::Ld, register, S1, 8 * word as i32);
            }
            a.fence(READS, READS).i(Op::Ld, A5, S0, 0);
            a.b(Op::Bne, A5, A0, &name("read"));
            for register in [A2, A3, A4] {
                require_at_least(a, A1, register);
                require_at_least(a, register, A1);
            }
            a.b(Op::Bne, A0, S2, &name("read"));
        }
    });
    run_alone(&mut machine);
    assert_eq!(machine.read_u64(FAILED), 0);
}

/// Where a hart says which of another's announcements it has seen, from the announcement on.
const ACKNOWLEDGED: i32 = 64;

/// Stores `turn` at `at` and waits until it was acknowledged.
fn announce(a: &mut Asm, turn: u8, at: u8) {
    let wait = format!("announced {:#x}", a.here());
    a.s(Op::Sd, turn, at, 0).label(&wait).op(Op::Pause);
    a.i(Op::Ld, T0, at, ACKNOWLEDGED)
        .b(Op::Bne, T0, turn, &wait);
}

/// A kernel in S-mode: hart 0 starts the others, which all begin at `RAM + 0x1000`.
fn kernel(harts: u32, first: impl FnOnce(&mut Asm), others: impl FnOnce(&mut Asm)) -> Machine {
    let machine = Machine::with_harts(Start::Supervisor, harts, |a| {
        for hart in 1..u64::from(harts) {
            a.li(A0, hart).li(A1, RAM + 0x1000).sbi(HSM, 0);
        }
        meet(a, u64::from(harts));
        first(a);
        assert!(a.here() < RAM + 0x1000);
    });
    machine.assemble(RAM + 0x1000, |a| {
        meet(a, u64::from(harts));
        others(a);
    });
    machine
}

/// Code that one hart changes and another runs: after the remote `fence.i` the new code runs (SBI spec,
/// chapter 8).
#[test]
fn code_for_another_hart() {
    const COUNT: u64 = 40;
    const CODE: u64 = RAM + 0x4000;
    let mut machine = kernel(
        2,
        |a| {
            a.li(S0, CODE).li(S1, X).li(S2, COUNT);
            a.li(S3, u64::from(immediate(Op::Addi, A0, ZERO, 0)));
            a.label("patch")
                .addi(S4, S4, 1)
                .i(Op::Slli, T0, S4, 20)
                .r(Op::Add, T0, T0, S3);
            a.s(Op::Sw, T0, S0, 0).fence(ALL, ALL);
            a.li(A0, 2).li(A1, 0).sbi(RFENCE, 0);
            announce(a, S4, S1);
            a.b(Op::Bne, S4, S2, "patch");
            finish_together(a, 2);
        },
        |a| {
            a.li(S0, CODE).li(S1, X).li(S2, COUNT);
            a.label("call").i(Op::Ld, A1, S1, 0).fence(READS, READS);
            a.i(Op::Jalr, RA, S0, 0);
            require_at_least(a, A0, A1);
            a.s(Op::Sd, A1, S1, ACKNOWLEDGED);
            a.b(Op::Bne, A1, S2, "call");
            finish_together(a, 2);
        },
    );
    machine.assemble(CODE, |a| {
        a.word(immediate(Op::Addi, A0, ZERO, 0)).ret();
    });
    run_alone(&mut machine);
    assert_eq!(machine.read_u64(FAILED), 0);
}

/// A page that one hart moves and another reads: after the remote fence the new place is read, by
/// range, by address space and by all.
#[test]
fn translations_of_another_hart() {
    const COUNT: u64 = 40;
    const PAGE: u64 = 0x4000_0000;
    // Sixteen of them take turns, so that one which is out of date stays so for a while.
    const FRAMES: u64 = RAM + 0x2_0000;
    for function in [1, 2] {
        let mut machine = kernel(
            2,
            |a| {
                a.li(S1, FRAMES).li(S2, COUNT).li(S6, X);
                a.label("move").addi(S4, S4, 1);
                a.i(Op::Andi, S0, S4, 15).i(Op::Slli, S0, S0, 12);
                a.r(Op::Add, S0, S0, S1).s(Op::Sd, S4, S0, 0);
                a.i(Op::Srli, T0, S0, 2)
                    .i(Op::Ori, T0, T0, (RWX & 0xff) as i32);
                a.s(Op::Sd, T0, S7, 0).fence(ALL, ALL);
                a.li(A0, 2).li(A1, 0).li(A2, PAGE).li(A3, 4096).li(A4, 3);
                a.sbi(RFENCE, function);
                announce(a, S4, S6);
                a.b(Op::Bne, S4, S2, "move");
                finish_together(a, 2);
            },
            |a| {
                a.csrw(SATP, A1).li(S0, PAGE).li(S1, X).li(S2, COUNT);
                a.label("read");
                // A slow block: a fence that nobody waits for would come too late for its end.
                (0..50).for_each(|_| {
                    a.r(Op::Divu, T0, A1, S2);
                });
                a.i(Op::Ld, A1, S1, 0).fence(READS, READS);
                a.i(Op::Ld, A0, S0, 0);
                require_at_least(a, A0, A1);
                a.s(Op::Sd, A1, S1, ACKNOWLEDGED);
                a.b(Op::Bne, A1, S2, "read");
                finish_together(a, 2);
            },
        );
        let mut tables = Tables::new(ROOT);
        for page in [RAM, RAM + 0x1000, RAM + 0x8000, FINISHER] {
            tables.map(&machine, page, page, 0, RWX);
        }
        let slot = tables.map(&machine, PAGE, FRAMES, 0, RWX);
        let satp = tables.satp(3);
        // `kernel` passes what is in A2 on: the opaque value.
        machine.set_hart(0, |hart| {
            hart.x[usize::from(A2)] = satp;
            hart.x[usize::from(S7)] = slot;
        });
        run_alone(&mut machine);
        assert_eq!(machine.read_u64(FAILED), 0, "function {function}");
    }
}

/// The hardware's updates of A and D never undo what software does to the entry at the same time.
#[test]
fn accessed_and_dirty_updates_are_atomic() {
    const COUNT: u64 = 20_001;
    const PAGE: u64 = 0x4000_0000;
    const SOFTWARE: u64 = 1 << 8;
    let mut machine = kernel(
        3,
        |a| {
            // Clears A and D and flips a bit that is software's own, which nobody else touches.
            a.li(S0, COUNT).li(S1, !(A | D)).li(S2, SOFTWARE);
            a.label("clear")
                .r(Op::AmoandD, T0, S7, S1)
                .r(Op::And, T0, T0, S2);
            require_at_least(a, T0, S3);
            require_at_least(a, S3, T0);
            a.r(Op::Xor, S3, S3, S2).r(Op::AmoxorD, ZERO, S7, S2);
            a.addi(S0, S0, -1).b(Op::Bne, S0, ZERO, "clear");
            a.li(T0, 1).li(S1, X).s(Op::Sd, T0, S1, 0);
            finish_together(a, 3);
        },
        |a| {
            a.csrw(SATP, A1).li(S0, PAGE).li(S1, X);
            a.label("touch")
                .s(Op::Sd, S0, S0, 0)
                .r(Op::SfenceVma, ZERO, S0, ZERO);
            a.i(Op::Ld, T0, S1, 0).b(Op::Beq, T0, ZERO, "touch");
            // Once more now that nobody clears it.
            a.s(Op::Sd, S0, S0, 0);
            finish_together(a, 3);
        },
    );
    let mut tables = Tables::new(ROOT);
    for page in [RAM, RAM + 0x1000, RAM + 0x8000, FINISHER] {
        tables.map(&machine, page, page, 0, RWX);
    }
    let slot = tables.map(&machine, PAGE, RAM + 0x9000, 0, V | R | W);
    let satp = tables.satp(0);
    machine.set_hart(0, |hart| {
        hart.x[usize::from(A2)] = satp;
        hart.x[usize::from(S7)] = slot;
    });
    run_alone(&mut machine);
    assert_eq!(machine.read_u64(FAILED), 0);
    let expected = entry(RAM + 0x9000, V | R | W | A | D | SOFTWARE);
    assert_eq!(machine.read_u64(slot), expected);
}

/// What else goes on while a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturbance {
    None,
    /// Another thread kicks all vCPUs, stops and resumes them.
    Kicks,
    /// Another thread takes dirty pages.
    DirtyPages,
}

const DISTURBANCES: [Disturbance; 3] = [
    Disturbance::None,
    Disturbance::Kicks,
    Disturbance::DirtyPages,
];

fn run_disturbed(machine: &mut Machine, disturbance: Disturbance) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let emulator = machine.emulator.clone();
    machine.run_with(|board| {
        while !board.finished() {
            match disturbance {
                Disturbance::None => return,
                Disturbance::Kicks => {
                    board.kick();
                    sleep(Duration::from_micros(100));
                    board.hold(true);
                    sleep(Duration::from_micros(100));
                    board.hold(false);
                }
                Disturbance::DirtyPages => {
                    emulator.take_dirty_pages().unwrap();
                }
            }
            sleep(Duration::from_micros(300));
        }
    });
}

/// All harts fence all harts at once, in every way: no deadlock.
#[test]
fn storms_of_remote_fences() {
    const HARTS: u64 = 4;
    const COUNT: u64 = 15;
    for disturbance in DISTURBANCES {
        let storm = |a: &mut Asm| {
            a.li(S0, COUNT).label("storm");
            for (extension, function) in [(RFENCE, 0), (RFENCE, 1), (IPI, 0), (RFENCE, 2)] {
                a.li(A0, 0)
                    .li(A1, !0)
                    .li(A2, 0)
                    .li(A3, !0)
                    .sbi(extension, function);
                a.r(Op::Or, S1, S1, A0);
            }
            // All but one, by mask.
            a.li(A0, 0b1101)
                .li(A1, 0)
                .sbi(RFENCE, 1)
                .r(Op::Or, S1, S1, A0);
            a.addi(S0, S0, -1).b(Op::Bne, S0, ZERO, "storm");
            finish_together(a, HARTS);
        };
        let mut machine = kernel(HARTS as u32, storm, storm);
        run_disturbed(&mut machine, disturbance);
        for hart in 0..HARTS as usize {
            let registers = machine.hart(hart).x;
            assert_eq!(registers[usize::from(S0)], 0, "{disturbance:?}");
            assert_eq!(registers[usize::from(S1)], 0, "every call succeeds");
        }
    }
}

/// Two harts wake each other in turn: a wake-up that is lost would hang them.
#[test]
fn harts_wake_each_other() {
    const COUNT: u64 = 80;
    for disturbance in DISTURBANCES {
        let turn = |me: u64, a: &mut Asm| {
            a.li(T0, interrupt::SSI).csrw(SIE, T0).li(S0, COUNT);
            a.label("turn");
            if me == 0 {
                a.li(A0, 2).li(A1, 0).sbi(IPI, 0);
            }
            a.label("sleep")
                .op(Op::Wfi)
                .csrr(T0, SIP)
                .i(Op::Andi, T0, T0, 2);
            a.b(Op::Beq, T0, ZERO, "sleep")
                .csr(Op::Csrrc, ZERO, SIP, T0);
            if me == 1 {
                a.li(A0, 1).li(A1, 0).sbi(IPI, 0);
            }
            a.addi(S0, S0, -1).b(Op::Bne, S0, ZERO, "turn");
            finish_together(a, 2);
        };
        let mut machine = kernel(2, |a| turn(0, a), |a| turn(1, a));
        run_disturbed(&mut machine, disturbance);
        for hart in 0..2 {
            assert_eq!(machine.hart(hart).x[usize::from(S0)], 0, "{disturbance:?}");
        }
    }
}

/// Harts that stop and are started again, over and over, never miss a start.
#[test]
fn harts_start_and_stop_many_times() {
    const COUNT: u64 = 30;
    for disturbance in DISTURBANCES {
        let mut machine = Machine::with_harts(Start::Supervisor, 4, |a| {
            a.li(S0, COUNT).label("round");
            for hart in 1..4u64 {
                // Until the hart has stopped from the round before.
                let again = format!("again {hart}");
                a.label(&again).op(Op::Pause);
                a.li(A0, hart).li(A1, RAM + 0x1000).li(A2, hart).sbi(HSM, 0);
                a.b(Op::Bne, A0, ZERO, &again);
            }
            a.addi(S0, S0, -1).b(Op::Bne, S0, ZERO, "round");
            a.li(S0, X).li(T0, 3 * COUNT).label("wait").op(Op::Pause);
            a.i(Op::Ld, T1, S0, 0).b(Op::Bne, T1, T0, "wait").finish();
        });
        machine.assemble(RAM + 0x1000, |a| {
            a.li(S0, X).li(T0, 1).r(Op::AmoaddD, ZERO, S0, T0);
            // And a sum that shows that each had its own opaque value.
            a.addi(S0, S0, 8).r(Op::AmoaddD, ZERO, S0, A1).sbi(HSM, 1);
        });
        run_disturbed(&mut machine, disturbance);
        assert_eq!(machine.read_u64(X), 3 * COUNT, "{disturbance:?}");
        assert_eq!(machine.read_u64(X + 8), 6 * COUNT);
    }
}
