//! Saving and restoring vCPUs, and tracking the pages that they write.

mod common;

use std::collections::BTreeSet;
use std::thread::{sleep, yield_now};
use std::time::Duration;

use clade_engine::{Arch, DirtyPages, Engine, Exit, IoBus, PAGE_SIZE};
use clade_riscv::csr::address::{MTVEC, SIE, SIP, TIME as TIME_CSR};
use clade_riscv::csr::{envcfg, satp, status};
use clade_riscv::hart::Mode;
use clade_riscv::isa::Op;
use clade_riscv::trap::interrupt;
use serde_json::{Value, json};

use common::asm::*;
use common::machine::*;
use common::paging::*;

const HSM: u64 = 0x48_534d;
const IPI: u64 = 0x73_5049;
const DATA: u64 = RAM + 0x8000;

/// A new machine that goes on where `old` is.
fn copy(old: &Machine, start: Start) -> Machine {
    let mut new = Machine::new(start, old.vcpus.len() as u32);
    new.write(RAM, &old.read(RAM, RAM_SIZE as usize));
    new.board.clock.advance({
        use clade_engine::Clock;
        old.board.clock.monotonic_ns()
    });
    for hart in 0..old.vcpus.len() {
        new.restore(hart, &old.state(hart));
    }
    new
}

/// A program that works with all kinds of registers, and kicks itself once in a while.
fn wanderer(kicks: bool) -> Machine {
    let mut machine = Machine::with(Start::Machine, |a| {
        a.li(S0, DATA).li(S1, 2000).li(A3, 0x9e37_79b9_7f4a_7c15);
        a.li(S2, KICK).li(S3, if kicks { KICK } else { LOG });
        a.i(Op::FcvtDL, 1, ZERO, 0);
        a.label("loop");
        a.r(Op::Mul, A2, A2, A3).r(Op::Add, A2, A2, S1);
        a.r(Op::FcvtDL, 2, A2, ZERO).r(Op::FaddD, 1, 1, 2);
        a.i(Op::Andi, T0, S1, 63).b(Op::Bne, T0, ZERO, "quiet");
        a.s(Op::Sw, ZERO, S3, 0);
        a.label("quiet");
        a.i(Op::Andi, T0, A2, 0x7f8).r(Op::Add, T0, T0, S0);
        a.r(Op::AmoaddD, A4, T0, A2).r(Op::Xor, A5, A5, A4);
        a.addi(S1, S1, -1).b(Op::Bne, S1, ZERO, "loop");
        a.csrr(S4, clade_riscv::csr::address::MINSTRET);
        a.finish();
    });
    machine.set_hart(0, |hart| hart.csrs.mstatus |= status::FS);
    machine
}

/// Moved to a new machine at every kick, a program ends as it does undisturbed: registers, flags,
/// memory, and the number of instructions.
#[test]
fn a_program_that_is_moved_ends_as_one_that_is_not() {
    let mut still = wanderer(false);
    still.run();
    let mut moving = wanderer(true);
    let mut moves = 0;
    loop {
        assert_eq!(moving.vcpus[0].run().unwrap(), Exit::Kicked);
        if moving.board.finished() {
            break;
        }
        moving = copy(&moving, Start::Machine);
        moves += 1;
    }
    assert_eq!(moves, 2000 / 64);
    let (mut still_hart, mut moved_hart) = (still.hart(0), moving.hart(0));
    // Where the device is, and how far the last loop has run before the kick.
    (still_hart.x[usize::from(S3)], moved_hart.x[usize::from(S3)]) = (0, 0);
    moved_hart.retired = still_hart.retired;
    assert_eq!(moved_hart, still_hart);
    assert_eq!(moving.read(DATA, 0x1000), still.read(DATA, 0x1000));
}

/// As above, at moments that nobody chose.
#[test]
fn a_program_can_be_moved_at_any_moment() {
    let program = |a: &mut Asm| {
        a.li(S1, 400_000).li(A3, 0x9e37_79b9_7f4a_7c15).li(S0, DATA);
        a.label("loop")
            .r(Op::Mul, A2, A2, A3)
            .r(Op::Add, A2, A2, S1);
        a.r(Op::AmoxorD, A4, S0, A2).s(Op::Sd, A2, S0, 8);
        a.addi(S1, S1, -1).b(Op::Bne, S1, ZERO, "loop").finish();
    };
    let mut still = Machine::with(Start::Supervisor, program);
    still.run();
    let mut moving = Machine::with(Start::Supervisor, program);
    while !moving.board.finished() {
        let handle = moving.vcpus[0].handle();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sleep(Duration::from_micros(700));
                handle.kick();
            });
            moving.vcpus[0].run().unwrap();
        });
        if !moving.board.finished() {
            moving = copy(&moving, Start::Supervisor);
        }
    }
    assert_eq!(moving.hart(0).x[..28], still.hart(0).x[..28]);
    assert_eq!(moving.read(DATA, 16), still.read(DATA, 16));
}

#[test]
fn a_restored_state_is_the_saved_one() {
    let mut machine = Machine::new(Start::Machine, 2);
    machine.set_hart(1, |hart| {
        for register in 1..32 {
            hart.x[register] = 0x1111 * register as u64;
            hart.f[register] = !hart.x[register];
        }
        hart.pc = RAM + 0x123_456;
        hart.mode = Mode::User;
        hart.retired = 12345;
        hart.csrs.mstatus |= status::MXR | status::SUM | status::FS;
        hart.csrs.satp = satp::SV48 << 60 | 0x80123;
        hart.csrs.stimecmp = 77;
        hart.csrs.menvcfg = envcfg::STCE | envcfg::CBIE;
        hart.csrs.pmp.open_all();
        (hart.csrs.fflags, hart.csrs.frm) = (0x1f, 7);
    });
    machine.board.set_wire(1, true, true);
    machine.board.write(CLINT + 4, &[1, 0, 0, 0]).unwrap();
    machine.board.write(CLINT + 0x4008, &[9; 8]).unwrap();
    machine.board.write(CLINT + 0xbff8, &[1; 8]).unwrap();
    let state = machine.state(1);
    let copied = copy(&machine, Start::Machine);
    assert_eq!(copied.state(1), state);
    assert_eq!(copied.hart(1), machine.hart(1));
    // The devices that the harts carry show the same.
    for (register, size) in [(4, 4), (0x4008, 8), (0xbff8, 8)] {
        let read = |machine: &Machine| {
            let mut data = vec![0; size];
            machine.board.read(CLINT + register, &mut data).unwrap();
            data
        };
        assert_eq!(
            read(&copied),
            read(&machine),
            "CLINT register {register:#x}"
        );
    }
}

/// What a guest has set `mtime` to goes with it, while the clock goes on.
#[test]
fn written_time_survives() {
    let mut machine = Machine::with(Start::Machine, |a| {
        a.li(S0, CLINT + 0xbff8)
            .li(T0, 1 << 40)
            .s(Op::Sd, T0, S0, 0);
        a.poke(KICK, 0).poke(TIME, 700).csrr(A0, TIME_CSR).finish();
    });
    assert_eq!(machine.vcpus[0].run().unwrap(), Exit::Kicked);
    let mut moved = copy(&machine, Start::Machine);
    moved.run();
    assert_eq!(moved.x(A0), (1 << 40) + 7);
}

/// An interrupt that another hart has sent to one that does not run at the moment is part of the
/// latter's state, and not of what it becomes when another state is restored into it.
#[test]
fn an_interrupt_on_its_way_is_saved() {
    let mut machine = Machine::with_harts(Start::Supervisor, 2, |a| {
        a.li(A0, 2).li(A1, 0).sbi(IPI, 0).mv(S0, A0).finish();
    });
    machine.assemble(RAM + 0x1000, |a| {
        a.csrr(A5, SIP).label("idle").poke(KICK, 0).j("idle");
    });
    machine
        .change_state(1, |state| state["hsm"] = json!("Started"))
        .unwrap();
    machine.set_hart(1, |hart| hart.pc = RAM + 0x1000);
    let before = machine.state(1);
    while !machine.board.finished() {
        machine.vcpus[0].run().unwrap();
    }
    assert_eq!(machine.x(S0), 0, "the call succeeds");
    assert_eq!(machine.hart(1).csrs.mip, interrupt::SSI);

    // Both the hart itself and its copy see it.
    for own in [true, false] {
        let mut target = copy(&machine, Start::Supervisor);
        if own {
            std::mem::swap(&mut target, &mut machine);
        }
        // The first run may end by a kick that is due already.
        for _ in 0..2 {
            assert_eq!(target.vcpus[1].run().unwrap(), Exit::Kicked);
        }
        assert_eq!(target.hart(1).x[usize::from(A5)], interrupt::SSI);
        if own {
            std::mem::swap(&mut target, &mut machine);
        }
    }

    let mut receiver = Machine::with_harts(Start::Supervisor, 2, |a| {
        a.li(A0, 2).li(A1, 0).sbi(IPI, 0).finish();
    });
    while !receiver.board.finished() {
        receiver.vcpus[0].run().unwrap();
    }
    receiver.restore(1, &before);
    assert_eq!(receiver.state(1), before);
}

/// Stopped, suspended and waiting harts are restored as such.
#[test]
fn sleeping_harts_are_restored_asleep() {
    // Hart 1 begins at `RAM + 0x1000` as `program` says; then hart 0 moves both, wakes it by an
    // interrupt and waits for its mark.
    type Program = fn(&mut Asm);
    let suspended: Program = |a| {
        a.li(A0, 0x8000_0000)
            .li(A1, RAM + 0x2000)
            .li(A2, 5)
            .sbi(HSM, 3);
    };
    let retained: Program = |a| {
        a.li(S5, 6).li(A0, 0).sbi(HSM, 3).poke(DATA, 6).op(Op::Wfi);
    };
    let waiting: Program = |a| {
        a.op(Op::Wfi).poke(DATA, 7).op(Op::Wfi);
    };
    for (program, mark, status) in [(suspended, 5, 4), (retained, 6, 4), (waiting, 7, 0)] {
        let mut machine = Machine::with_harts(Start::Supervisor, 2, |a| {
            a.li(A0, 1).li(A1, RAM + 0x1000).sbi(HSM, 0);
            // Once hart 1 has left its mark it is on its way to sleep.
            a.li(S0, DATA + 8).label("begun").i(Op::Ld, T0, S0, 0);
            a.b(Op::Beq, T0, ZERO, "begun");
            a.poke(KICK, 0).nop().j("moved").label("moved");
            a.li(A0, 1).sbi(HSM, 2).mv(S4, A1);
            a.li(A0, 2).li(A1, 0).sbi(IPI, 0);
            a.li(S0, DATA).label("wait").i(Op::Ld, T0, S0, 0);
            a.b(Op::Beq, T0, ZERO, "wait").finish();
        });
        machine.assemble(RAM + 0x1000, |a| {
            a.li(T0, interrupt::SSI).csrw(SIE, T0).poke(DATA + 8, 1);
            program(a);
        });
        machine.assemble(RAM + 0x2000, |a| {
            a.li(S0, DATA).s(Op::Sd, A1, S0, 0).label("end").j("end");
        });
        std::thread::scope(|scope| {
            let (first, second) = machine.vcpus.split_at_mut(1);
            let sleeper = scope.spawn(|| {
                // Ends with hart 0's kick, asleep or a little before.
                assert_eq!(second[0].run().unwrap(), Exit::Kicked);
            });
            assert_eq!(first[0].run().unwrap(), Exit::Kicked);
            sleeper.join().unwrap();
        });
        // Let hart 1 fall asleep now if it had not.
        let handle = machine.vcpus[1].handle();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sleep(Duration::from_millis(5));
                handle.kick();
            });
            machine.vcpus[1].run().unwrap();
        });
        // A wait that a kick has ended is over: begin it again, as a guest's loop would.
        if mark == 7 {
            machine.set_hart(1, |hart| hart.pc -= 4);
        }
        let mut moved = copy(&machine, Start::Supervisor);
        moved.run_all();
        assert_eq!(moved.read_u64(DATA), mark);
        assert_eq!(moved.x(S4), status);
    }
}

/// Every way in which a state can be wrong is refused, with words that say what, and leaves the vCPU
/// as it was.
#[test]
fn bad_states_are_refused() {
    let mut machine = Machine::new(Start::Machine, 2);
    machine.set_hart(0, |hart| hart.x[5] = 55);
    let good = machine.state(0);
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 24] = [
        ("x0", |s| s["hart"]["x"][0] = json!(1)),
        ("pc", |s| s["hart"]["pc"] = json!(RAM + 1)),
        ("retired", |s| s["hart"]["retired"] = json!(u64::MAX)),
        ("mstatus", |s| s["hart"]["csrs"]["mstatus"] = json!(0)),
        ("mstatus", |s| {
            s["hart"]["csrs"]["mstatus"] = json!(status::XLEN_64 | 2 << 11);
        }),
        ("medeleg", |s| s["hart"]["csrs"]["medeleg"] = json!(1 << 11)),
        ("mideleg", |s| s["hart"]["csrs"]["mideleg"] = json!(1 << 7)),
        ("mie", |s| s["hart"]["csrs"]["mie"] = json!(1)),
        ("mip", |s| s["hart"]["csrs"]["mip"] = json!(1 << 7)),
        ("mtvec", |s| s["hart"]["csrs"]["mtvec"] = json!(2)),
        ("stvec", |s| s["hart"]["csrs"]["stvec"] = json!(3)),
        ("mepc", |s| s["hart"]["csrs"]["mepc"] = json!(1)),
        ("sepc", |s| s["hart"]["csrs"]["sepc"] = json!(1)),
        ("satp", |s| s["hart"]["csrs"]["satp"] = json!(1u64 << 60)),
        ("menvcfg", |s| s["hart"]["csrs"]["menvcfg"] = json!(2 << 4)),
        ("senvcfg", |s| {
            s["hart"]["csrs"]["senvcfg"] = json!(1u64 << 63)
        }),
        ("frm", |s| s["hart"]["csrs"]["frm"] = json!(8)),
        ("fflags", |s| s["hart"]["csrs"]["fflags"] = json!(32)),
        ("PMP", |s| s["hart"]["csrs"]["pmp"]["config"][3] = json!(2)),
        ("PMP", |s| {
            s["hart"]["csrs"]["pmp"]["address"][3] = json!(1u64 << 54)
        }),
        ("hart 1", |s| s["hart"]["csrs"]["mhartid"] = json!(1)),
        ("wires", |s| s["lines"] = json!(1)),
        ("entry", |s| {
            s["hsm"] = json!({ "StartPending": { "address": RAM + 1, "opaque": 0 } });
        }),
        ("missing field", |s| *s = json!({})),
    ];
    for (words, change) in changes {
        let error = machine.change_state(0, change).expect_err(words);
        assert!(
            error.to_string().contains(words),
            "{error} is not about {words}"
        );
        assert_eq!(machine.state(0), good, "unchanged after {words}");
    }
    let mut restore = |change: &dyn Fn(&mut clade_engine::VcpuState)| {
        let mut state = good.clone();
        change(&mut state);
        let error = machine.vcpus[0].restore(&state).expect_err("refused");
        assert_eq!(machine.state(0), good);
        error.to_string()
    };
    assert!(restore(&|state| state.arch = Arch::X86_64).contains("X86_64"));
    assert!(restore(&|state| state.version += 1).contains("version"));
    restore(&|state| state.registers.truncate(100));
    restore(&|state| state.registers.clear());
    restore(&|state| state.registers[0] = b'[');
    assert_eq!(machine.x(5), 55);
}

/// Whatever bytes a state is changed to, restoring it either fails or gives a vCPU that runs.
#[test]
fn damaged_states_never_panic() {
    let mut random = 0x1234_5678_9abc_def1u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut machine = Machine::with(Start::Machine, |a| {
        a.label("loop").j("loop");
    });
    machine.set_hart(0, |hart| hart.csrs.mtvec = RAM);
    let good = machine.state(0);
    let mut accepted = 0;
    for _ in 0..1000 {
        let mut state = good.clone();
        let at = next() as usize % state.registers.len();
        // A digit for a digit keeps it well-formed most of the time.
        state.registers[at] = match state.registers[at] {
            b'0'..=b'9' => b'0' + (next() % 10) as u8,
            _ => next() as u8,
        };
        if machine.vcpus[0].restore(&state).is_err() {
            continue;
        }
        accepted += 1;
        let handle = machine.vcpus[0].handle();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                yield_now();
                handle.kick();
            });
            machine.vcpus[0].run().unwrap();
        });
        assert!(machine.hart(0).check().is_ok());
    }
    assert!(
        accepted > 50,
        "only {accepted} of the states were well-formed"
    );
}

fn pages(dirty: &DirtyPages) -> BTreeSet<u64> {
    dirty
        .iter()
        .flat_map(|run| (0..run.pages).map(|page| run.start + page * PAGE_SIZE))
        .collect()
}

fn take_pages(machine: &Machine) -> BTreeSet<u64> {
    pages(&machine.emulator.take_dirty_pages().unwrap())
}

/// Exactly the pages that are written are reported, in each interval anew.
#[test]
fn dirty_pages_are_those_written() {
    let page = |index: u64| RAM + 0x10_0000 + index * PAGE_SIZE;
    let mut machine = Machine::with(Start::Machine, |a| {
        a.li(T2, 2).label("again");
        a.li(S0, page(1)).s(Op::Sb, ZERO, S0, 100);
        a.li(S0, page(4) - 3).s(Op::Sd, ZERO, S0, 0);
        a.li(S0, page(6)).r(Op::AmoorW, ZERO, S0, ZERO);
        a.li(S0, page(8)).i(Op::CboZero, 0, S0, 0);
        a.li(S0, page(10))
            .r(Op::LrD, ZERO, S0, ZERO)
            .r(Op::ScD, A0, S0, T2);
        a.li(S0, page(12)).r(Op::AmocasQ, ZERO, S0, ZERO);
        a.li(S0, page(14)).s(Op::Fsd, 0, S0, 0);
        // Read only.
        a.li(S0, page(16))
            .i(Op::Ld, ZERO, S0, 0)
            .i(Op::CboFlush, 0, S0, 0);
        a.i(Op::PrefetchW, 0, S0, 0);
        a.poke(KICK, 0)
            .addi(T2, T2, -1)
            .b(Op::Bne, T2, ZERO, "again");
        a.label("idle").poke(KICK, 0).j("idle");
    });
    machine.set_hart(0, |hart| hart.csrs.mstatus |= status::FS);
    take_pages(&machine);
    assert_eq!(take_pages(&machine), BTreeSet::new());
    let expected = BTreeSet::from([1, 3, 4, 6, 8, 10, 12, 14].map(page));
    for _ in 0..2 {
        assert_eq!(machine.vcpus[0].run().unwrap(), Exit::Kicked);
        assert_eq!(take_pages(&machine), expected);
    }
    machine.vcpus[0].run().unwrap();
    assert_eq!(take_pages(&machine), BTreeSet::new());
}

/// Page tables that the hardware writes are dirty, too; pages that are only read are not.
#[test]
fn accessed_bits_dirty_the_tables() {
    let (mut machine, mut tables) = translated(|a| {
        a.li(S0, 0x4000_0000).i(Op::Ld, ZERO, S0, 0).finish();
    });
    let slot = tables.map(&machine, 0x4000_0000, DATA, 0, V | R);
    take_pages(&machine);
    assert_eq!(trap_of(&mut machine), None);
    assert_eq!(take_pages(&machine), BTreeSet::from([slot & !0xfff]));
}

/// As live migration does it: pages are copied while the harts go on writing; once they have
/// stopped and the last ones are copied, the copy equals memory.
#[test]
fn copying_dirty_pages_of_running_harts_misses_nothing() {
    const HARTS: u64 = 3;
    const PAGES: u64 = 40;
    let area = RAM + 0x20_0000;
    let mut machine = Machine::with_harts(Start::Machine, HARTS as u32, |a| {
        a.csrr(T0, clade_riscv::csr::address::MHARTID);
        a.i(Op::Slli, T0, T0, 4).li(S0, area).r(Op::Add, S0, S0, T0);
        a.label("again")
            .addi(A0, A0, 1)
            .mv(T1, S0)
            .li(T2, PAGES)
            .li(T3, PAGE_SIZE);
        // Counts in every page; each hart has its own words.
        a.label("page")
            .s(Op::Sd, A0, T1, 0)
            .r(Op::AmoaddD, ZERO, T1, A0);
        a.s(Op::Sw, A0, T1, 9).r(Op::Add, T1, T1, T3);
        a.addi(T2, T2, -1).b(Op::Bne, T2, ZERO, "page").j("again");
    });
    let written = BTreeSet::from_iter((0..PAGES).map(|page| area + page * PAGE_SIZE));
    let length = (PAGES * PAGE_SIZE) as usize;
    let (emulator, ram) = (machine.emulator.clone(), machine.ram.clone());
    let mut shadow = machine.read(area, length);
    take_pages(&machine);
    let copy_dirty = |shadow: &mut Vec<u8>| {
        use vm_memory::{Bytes, GuestAddress};
        let dirty = pages(&emulator.take_dirty_pages().unwrap());
        assert!(dirty.is_subset(&written));
        for page in &dirty {
            let at = (page - area) as usize;
            let target = &mut shadow[at..at + PAGE_SIZE as usize];
            ram.read_slice(target, GuestAddress(*page)).unwrap();
        }
        dirty.len()
    };
    for _ in 0..4 {
        let mut total = 0;
        machine.run_with(|board| {
            // Bounded, should nothing ever be written.
            for _ in 0..2000 {
                total += copy_dirty(&mut shadow);
                if total > 300 {
                    break;
                }
                sleep(Duration::from_micros(200));
            }
            board.finish();
        });
        copy_dirty(&mut shadow);
        assert!(shadow == machine.read(area, length), "after {total} pages");
        assert!(total > 0);
    }
}

/// A saved state has no host addresses or other secrets in it: it is the same from run to run.
#[test]
fn states_are_reproducible() {
    let state = || {
        let mut machine = Machine::with(Start::Machine, |a| {
            a.la(T0, "end").csrw(MTVEC, T0).li(S0, DATA);
            a.r(Op::LrD, A0, S0, ZERO).s(Op::Sd, A0, S0, 8);
            a.label("end").poke(KICK, 0).label("idle").j("idle");
        });
        machine.vcpus[0].run().unwrap();
        machine.state(0)
    };
    assert_eq!(state(), state());
}
