//! Messages to harts with IMSICs, as running programs see them (Advanced Interrupt Architecture 1.0).

mod common;

use std::thread::{sleep, yield_now};
use std::time::Duration;

use clade_engine::Exit;
use clade_riscv::csr::address::{
    MIE, MIREG, MISELECT, MTOPEI, MTOPI, SCAUSE, SIE, SIREG, SISELECT, STOPEI, STOPI,
};
use clade_riscv::csr::status;
use clade_riscv::hart::Mode;
use clade_riscv::isa::Op;
use clade_riscv::trap::interrupt;
use serde_json::Value;

use common::asm::*;
use common::machine::*;

const HANDLER: u64 = RAM + 0x1000;
const PAGE: u64 = 0x1000;
const DELIVERY: u64 = 0x70;
const PENDING: u64 = 0x80;
const ENABLED: u64 = 0xc0;
const HSM: u64 = 0x48_534d;

/// Delivery on, and the interrupts of `mask` below 64 enabled, at S-mode or M-mode.
fn accept(a: &mut Asm, machine: bool, mask: u64) {
    let (select, window) = if machine {
        (MISELECT, MIREG)
    } else {
        (SISELECT, SIREG)
    };
    a.li(T0, DELIVERY).csrw(select, T0);
    a.li(T0, 1).csrw(window, T0);
    a.li(T0, ENABLED).csrw(select, T0);
    a.li(T0, mask).csrw(window, T0);
}

/// Waits until the guest has stored this often to [`LOG`].
fn wait_for_log(board: &Board, count: u64) {
    for attempt in 0..100_000 {
        if board.log.lock().unwrap().len() as u64 >= count {
            return;
        }
        if attempt < 10_000 {
            yield_now();
        } else {
            sleep(Duration::from_micros(100));
        }
    }
    panic!("a message was lost before number {count} came");
}

/// A message ends a wait, at either level, and is claimed by one instruction.
#[test]
fn a_message_wakes_and_is_claimed() {
    for machine_level in [false, true] {
        let (enables, bit, top, claim) = if machine_level {
            (MIE, interrupt::MEI, MTOPI, MTOPEI)
        } else {
            (SIE, interrupt::SEI, STOPI, STOPEI)
        };
        let mut machine = Machine::with_imsics(Start::Machine, 1, |a| {
            accept(a, machine_level, 1 << 9);
            a.li(T0, bit).csrw(enables, T0);
            a.csrr(A0, top).op(Op::Wfi).csrr(A1, top);
            a.csr(Op::Csrrw, A2, claim, ZERO);
            a.csr(Op::Csrrw, A3, claim, ZERO);
            a.csrr(A4, top).finish();
        });
        machine.set_hart(0, |hart| hart.csrs.mideleg = interrupt::SUPERVISOR);
        machine.run_with(|board| {
            sleep(Duration::from_millis(5));
            // Not enabled, no such identity, not the register, no such hart: none wakes it.
            let imsic = board.imsic(machine_level);
            for (offset, data) in [(0, 8), (0, 0), (0, 256), (4, 9), (2, 9), (PAGE, 9)] {
                imsic.signal(offset, data);
            }
            sleep(Duration::from_millis(5));
            assert!(!board.finished());
            imsic.signal(0, 9);
        });
        let major = u64::from(bit.trailing_zeros());
        let expected = [0, major << 16 | 1, 9 << 16 | 9, 0, 0];
        let results = [A0, A1, A2, A3, A4].map(|register| machine.x(register));
        assert_eq!(results, expected, "machine level: {machine_level}");
    }
}

/// A message is taken by a hart that never waits, once for each claim.
#[test]
fn messages_interrupt_a_loop() {
    const MESSAGES: u64 = 200;
    let mut machine = Machine::with_imsics(Start::Supervisor, 1, |a| {
        accept(a, false, !0);
        a.li(T0, interrupt::SEI).csrw(SIE, T0);
        a.li(S2, MESSAGES);
        a.label("loop").addi(S0, S0, 1);
        a.b(Op::Bne, S1, S2, "loop").finish();
    });
    machine.assemble(HANDLER, |a| {
        a.csrr(S3, SCAUSE);
        a.label("next").csr(Op::Csrrw, T1, STOPEI, ZERO);
        a.b(Op::Beq, T1, ZERO, "done");
        a.addi(S1, S1, 1).li(T2, LOG).s(Op::Sd, T1, T2, 0);
        a.j("next").label("done").op(Op::Sret);
    });
    machine.set_hart(0, |hart| {
        hart.csrs.stvec = HANDLER;
        hart.csrs.mstatus |= status::SIE;
    });
    let exits = machine.run_with(|board| {
        for index in 0..MESSAGES {
            let identity = 1 + index % 63;
            board.imsic(false).signal(0, identity as u32);
            wait_for_log(board, index + 1);
        }
    });
    assert_eq!(exits, [Exit::Kicked]);
    assert_eq!(machine.x(S3), 1 << 63 | 9);
    let log = machine.board.log.lock().unwrap();
    let claimed: Vec<u64> = log.iter().map(|&(_, _, value)| value).collect();
    let sent: Vec<u64> = (0..MESSAGES)
        .map(|index| (1 + index % 63) * 0x1_0001)
        .collect();
    assert_eq!(claimed, sent);
}

/// Harts interrupt each other by plain stores to each other's pages.
#[test]
fn harts_send_messages_to_each_other() {
    const ROUNDS: u64 = 500;
    let mut machine = Machine::with_imsics(Start::Supervisor, 2, |a| {
        // Both run this; `a0` is the hart's own number. The other's page goes into `s0`.
        a.r(Op::Add, S4, A0, ZERO);
        accept(a, false, 2);
        a.li(T0, interrupt::SEI).csrw(SIE, T0);
        a.addi(T0, ZERO, 1)
            .r(Op::Sub, T0, T0, S4)
            .i(Op::Slli, T0, T0, 12);
        a.li(S0, IMSIC_S).r(Op::Add, S0, S0, T0);
        a.li(S1, ROUNDS).addi(S2, ZERO, 1);
        a.b(Op::Bne, S4, ZERO, "wait");
        // Hart 0 starts the other one, and begins.
        a.li(A7, HSM).li(A6, 0).li(A0, 1).li(A1, RAM).op(Op::Ecall);
        a.label("send").s(Op::Sw, S2, S0, 0);
        a.label("wait").op(Op::Wfi);
        a.csr(Op::Csrrw, T0, STOPEI, ZERO)
            .b(Op::Beq, T0, ZERO, "wait");
        a.addi(S1, S1, -1).b(Op::Bne, S1, ZERO, "send");
        // Hart 1 is through first, and answers once more.
        a.b(Op::Beq, S4, ZERO, "end").s(Op::Sw, S2, S0, 0);
        a.label("sleep").op(Op::Wfi).j("sleep");
        a.label("end").finish();
    });
    machine.run_all();
    assert_eq!(
        [0, 1].map(|hart| machine.hart(hart).x[usize::from(S1)]),
        [0, 0]
    );
}

/// What becomes pending while software changes other bits of the same register is not lost.
#[test]
fn changes_of_pending_bits_lose_no_message() {
    const MESSAGES: u32 = 20_000;
    let mut machine = Machine::with_imsics(Start::Machine, 1, |a| {
        a.li(T0, PENDING).csrw(SISELECT, T0);
        a.li(S2, 1 << 40).li(S3, 1 << 41);
        a.label("loop");
        a.csr(Op::Csrrs, ZERO, SIREG, S2)
            .csr(Op::Csrrc, ZERO, SIREG, S2);
        a.csr(Op::Csrrs, ZERO, SIREG, S3)
            .csr(Op::Csrrc, T1, SIREG, S3);
        // Takes what is there, and counts bit 1.
        a.csr(Op::Csrrw, T1, SIREG, ZERO).i(Op::Andi, T1, T1, 2);
        a.b(Op::Beq, T1, ZERO, "loop");
        a.addi(S1, S1, 1).li(T2, LOG).s(Op::Sd, S1, T2, 0);
        a.j("loop");
    });
    machine.run_with(|board| {
        for index in 0..MESSAGES {
            board.imsic(false).signal(0, 1);
            wait_for_log(board, u64::from(index) + 1);
        }
        board.finish();
    });
    assert_eq!(machine.x(S1), u64::from(MESSAGES));
}

/// What waits in a hart's interrupt files moves with it.
#[test]
fn messages_are_saved_and_restored() {
    let program = |a: &mut Asm| {
        accept(a, false, !0);
        a.csr(Op::Csrrw, A0, STOPEI, ZERO)
            .csr(Op::Csrrw, A1, STOPEI, ZERO);
        a.finish();
    };
    let machine = Machine::with_imsics(Start::Supervisor, 1, program);
    machine.board.imsic(false).signal(0, 33);
    machine.board.imsic(false).signal(0, 5);
    let mut moved = Machine::with_imsics(Start::Supervisor, 1, program);
    moved.restore(0, &machine.state(0));
    assert_eq!(moved.state(0), machine.state(0));
    moved.run();
    assert_eq!([moved.x(A0), moved.x(A1)], [5 << 16 | 5, 33 << 16 | 33]);
}

#[test]
fn states_that_do_not_fit_are_refused() {
    let with = || Machine::with_imsics(Start::Supervisor, 1, |_| ());
    let without = || Machine::with(Start::Supervisor, |_| ());
    let error = without().vcpus[0].restore(&with().state(0)).unwrap_err();
    assert!(
        error.to_string().contains("an IMSIC, and this one has no"),
        "{error}"
    );
    let error = with().vcpus[0].restore(&without().state(0)).unwrap_err();
    assert!(
        error.to_string().contains("no IMSIC, and this one has an"),
        "{error}"
    );

    let mut machine = with();
    let before = machine.state(0);
    let mut refused = |change: &dyn Fn(&mut Value)| {
        let error = machine.change_state(0, change).unwrap_err();
        assert_eq!(machine.state(0), before);
        error.to_string()
    };
    let message = refused(&|state| state["imsic"]["supervisor"]["threshold"] = 256.into());
    assert!(message.contains("interrupt file"), "{message}");
    let message = refused(&|state| state["imsic"]["machine"]["enabled"][0] = 1.into());
    assert!(message.contains("interrupt file"), "{message}");
    let message = refused(&|state| state["hart"]["csrs"]["aia"]["siselect"] = 512.into());
    assert!(message.contains("siselect"), "{message}");
}

/// Without an IMSIC, nothing of it is there.
#[test]
fn harts_without_imsics_trap() {
    let mut machine = Machine::with(Start::Machine, |a| {
        a.csrr(A0, STOPEI).finish();
    });
    machine.assemble(HANDLER, |a| {
        a.li(A1, 1).finish();
    });
    machine.set_hart(0, |hart| hart.csrs.mtvec = HANDLER);
    machine.run();
    assert_eq!(machine.x(A1), 1);
    assert_eq!(machine.hart(0).mode, Mode::Machine);
}
