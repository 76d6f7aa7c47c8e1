//! Which privileged instructions may run where, and what CSR instructions and system calls do.

mod common;

use clade_riscv::csr::address::{
    CYCLE, FCSR, FFLAGS, MCAUSE, MHARTID, MSCRATCH, MSTATUS, SATP, SSCRATCH, TIME as TIME_CSR,
};
use clade_riscv::csr::{envcfg, stateen, status};
use clade_riscv::hart::{Hart, Mode};
use clade_riscv::isa::Op;
use clade_riscv::trap::Exception;

use common::asm::*;
use common::machine::*;

const HANDLER: u64 = RAM + 0x1000;
/// What `mcause` holds when nothing has trapped.
const NO_TRAP: u64 = 1 << 62;

/// Runs one instruction in a mode. `None` when it did not trap to M-mode, else cause and `mtval`.
fn run_one(
    mode: Mode,
    prepare: impl FnOnce(&mut Hart),
    instruction: impl FnOnce(&mut Asm),
) -> (Machine, Option<(u64, u64)>) {
    let mut machine = Machine::with(Start::Machine, |a| {
        instruction(a);
        a.finish();
    });
    machine.assemble(HANDLER, |a| {
        a.finish();
    });
    machine.set_hart(0, |hart| {
        hart.mode = mode;
        hart.csrs.pmp.open_all();
        hart.csrs.mtvec = HANDLER;
        hart.csrs.mcause = NO_TRAP;
        // Returns go on with the next instruction.
        (hart.csrs.mepc, hart.csrs.sepc) = (RAM + 4, RAM + 4);
        prepare(hart);
    });
    machine.run();
    let csrs = machine.hart(0).csrs;
    let trap = (csrs.mcause != NO_TRAP).then_some((csrs.mcause, csrs.mtval));
    (machine, trap)
}

/// The instruction's own bits are in `mtval`.
fn illegal(word: u32) -> Option<(u64, u64)> {
    Some((Exception::IllegalInstruction as u64, u64::from(word)))
}

/// The gates of 3.1.6.6 (TVM, TW, TSR) and 3.3.2, and Svinval's.
#[test]
fn privileged_instructions() {
    // The least mode, and the bit of `mstatus` that takes it from S-mode.
    let table = [
        (Op::Mret, Mode::Machine, 0),
        (Op::Sret, Mode::Supervisor, status::TSR),
        (Op::SfenceVma, Mode::Supervisor, status::TVM),
        (Op::SinvalVma, Mode::Supervisor, status::TVM),
        (Op::SfenceWInval, Mode::Supervisor, 0),
        (Op::SfenceInvalIr, Mode::Supervisor, 0),
        (Op::FenceI, Mode::User, 0),
        (Op::Fence, Mode::User, 0),
        (Op::Pause, Mode::User, 0),
        (Op::WrsNto, Mode::User, 0),
        (Op::WrsSto, Mode::User, 0),
    ];
    for (op, least, gate) in table {
        for mode in [Mode::User, Mode::Supervisor, Mode::Machine] {
            for bits in [0, status::TVM | status::TW | status::TSR] {
                let mut word = 0;
                let (_, trap) = run_one(
                    mode,
                    |hart| hart.csrs.mstatus |= bits,
                    |a| {
                        word = op.spec().value;
                        a.word(word);
                    },
                );
                let gated = mode == Mode::Supervisor && bits & gate != 0;
                let expected = (mode < least || gated).then(|| illegal(word)).flatten();
                assert_eq!(trap, expected, "{op:?} in {mode:?} with {bits:#x}");
            }
        }
    }
}

#[test]
fn calls_and_breakpoints() {
    for (mode, cause) in [
        (Mode::User, Exception::EcallFromU),
        (Mode::Supervisor, Exception::EcallFromS),
        (Mode::Machine, Exception::EcallFromM),
    ] {
        let (machine, trap) = run_one(
            mode,
            |_| {},
            |a| {
                a.op(Op::Ecall);
            },
        );
        assert_eq!(trap, Some((cause as u64, 0)));
        let hart = machine.hart(0);
        assert_eq!(hart.csrs.mepc, RAM);
        assert_eq!(hart.csrs.mstatus >> status::MPP_SHIFT & 3, mode as u64);
        let (_, trap) = run_one(
            mode,
            |_| {},
            |a| {
                a.op(Op::Ebreak);
            },
        );
        assert_eq!(trap, Some((Exception::Breakpoint as u64, RAM)));
        // `c.ebreak`
        let (_, trap) = run_one(
            mode,
            |_| {},
            |a| {
                a.half(0x9002);
            },
        );
        assert_eq!(trap, Some((Exception::Breakpoint as u64, RAM)));
    }
}

/// Encodings that mean nothing: the bits of a short one are reported alone.
#[test]
fn illegal_encodings() {
    for word in [0xffff_ffff, 0x0000_007f, 0x3020_0077, 0x1010_0073] {
        let (_, trap) = run_one(
            Mode::Machine,
            |_| {},
            |a| {
                a.word(word);
            },
        );
        assert_eq!(trap, illegal(word));
    }
    for half in [0x0000, 0x8002, 0x4002] {
        let (_, trap) = run_one(
            Mode::Machine,
            |_| {},
            |a| {
                a.half(half).half(0x1234);
            },
        );
        assert_eq!(trap, illegal(u32::from(half)), "{half:#x}");
    }
}

/// Reading, setting and clearing, with and without a write (unprivileged spec, Zicsr).
#[test]
fn csr_instructions() {
    let (machine, trap) = run_one(
        Mode::Machine,
        |_| {},
        |a| {
            a.li(T0, 0xf0f0).li(T1, 0x0ff0);
            a.csr(Op::Csrrw, A0, MSCRATCH, T0)
                .csr(Op::Csrrs, A1, MSCRATCH, T1);
            a.csr(Op::Csrrc, A2, MSCRATCH, T0)
                .csr(Op::Csrrwi, A3, MSCRATCH, 21);
            a.csr(Op::Csrrsi, A4, MSCRATCH, 10)
                .csr(Op::Csrrci, A5, MSCRATCH, 30);
            a.csr(Op::Csrrs, A6, MSCRATCH, ZERO);
            // Source and destination are the same register.
            a.csr(Op::Csrrw, T1, MSCRATCH, T1).csrr(A7, MSCRATCH);
        },
    );
    assert_eq!(trap, None);
    let seen = [A0, A1, A2, A3, A4, A5, A6, A7].map(|register| machine.x(register));
    assert_eq!(seen, [0, 0xf0f0, 0xfff0, 0x0f00, 21, 31, 1, 0x0ff0]);
    assert_eq!(machine.x(T1), 1);
}

/// Read-only registers can be read by instructions that do not write, and an illegal access leaves
/// the destination as it was.
#[test]
fn csr_instructions_that_write_nothing() {
    for (op, source, writes) in [
        (Op::Csrrs, ZERO, false),
        (Op::Csrrc, ZERO, false),
        (Op::Csrrsi, 0, false),
        (Op::Csrrci, 0, false),
        // A register that is zero is still a write.
        (Op::Csrrs, T3, true),
        (Op::Csrrsi, 1, true),
        (Op::Csrrw, ZERO, true),
        (Op::Csrrwi, 0, true),
    ] {
        let word = immediate(op, A0, source, i32::from(MHARTID));
        let (machine, trap) = run_one(
            Mode::Machine,
            |hart| hart.x[usize::from(A0)] = 77,
            |a| {
                a.word(word);
            },
        );
        assert_eq!(trap, writes.then(|| illegal(word)).flatten(), "{op:?}");
        assert_eq!(machine.x(A0), if writes { 77 } else { 0 });
    }
}

/// A few registers of each kind, as instructions reach them.
#[test]
fn csr_gates() {
    type Prepare = fn(&mut Hart);
    let open: Prepare = |_| {};
    let cases: [(u16, Mode, Prepare, bool); 12] = [
        (SSCRATCH, Mode::Supervisor, open, true),
        (SSCRATCH, Mode::User, open, false),
        (MSCRATCH, Mode::Supervisor, open, false),
        (CYCLE, Mode::Supervisor, open, false),
        (
            CYCLE,
            Mode::Supervisor,
            |hart| hart.csrs.mcounteren = 1,
            true,
        ),
        (TIME_CSR, Mode::User, |hart| hart.csrs.mcounteren = 2, false),
        (
            TIME_CSR,
            Mode::User,
            |hart| (hart.csrs.mcounteren, hart.csrs.scounteren) = (2, 2),
            true,
        ),
        (
            SATP,
            Mode::Supervisor,
            |hart| hart.csrs.mstatus |= status::TVM,
            false,
        ),
        (FCSR, Mode::User, open, false),
        (
            FCSR,
            Mode::User,
            |hart| hart.csrs.mstatus |= status::FS,
            true,
        ),
        (0x10a, Mode::Supervisor, open, false),
        (
            0x10a,
            Mode::Supervisor,
            |hart| hart.csrs.mstateen[0] = stateen::ENVCFG,
            true,
        ),
    ];
    for (number, mode, prepare, legal) in cases {
        let word = immediate(Op::Csrrs, A0, ZERO, i32::from(number));
        let (_, trap) = run_one(mode, prepare, |a| {
            a.word(word);
        });
        let expected = (!legal).then(|| illegal(word)).flatten();
        assert_eq!(trap, expected, "{number:#x} in {mode:?}");
    }
}

/// With FS off every floating-point instruction is illegal, loads and stores too; with it on, what
/// changes state makes it dirty, and only that (3.1.6.7).
#[test]
fn floating_point_status() {
    const CLEAN: u64 = 2 << status::FS_SHIFT;
    let r = |op, rs2| {
        let mut a = Asm::new(0);
        a.r(op, 1, 2, rs2);
        u32::from_le_bytes(a.bytes().try_into().unwrap())
    };
    let store = {
        let mut a = Asm::new(0);
        a.s(Op::Fsd, 2, S0, 0);
        u32::from_le_bytes(a.bytes().try_into().unwrap())
    };
    let cases = [
        (immediate(Op::Fld, 1, S0, 0), true),
        (immediate(Op::Flh, 1, S0, 0), true),
        (store, false),
        (r(Op::FaddD, 3), true),
        (r(Op::FmvXD, 0), false),
        (r(Op::FclassD, 0), false),
        // Sets the invalid flag, writes no `f` register: 1.0 is not a number below signalling NaN.
        (r(Op::FltD, 4), true),
        (r(Op::FeqD, 3), false),
        (immediate(Op::Csrrs, 0, ZERO, i32::from(FFLAGS)), false),
        (immediate(Op::Csrrw, 0, ZERO, i32::from(FFLAGS)), true),
    ];
    for (word, dirties) in cases {
        for fs in [0, CLEAN] {
            let (machine, trap) = run_one(
                Mode::Machine,
                |hart| {
                    hart.csrs.mstatus |= fs;
                    hart.x[usize::from(S0)] = RAM + 0x8000;
                    hart.f[2] = 1.0f64.to_bits();
                    hart.f[4] = 0x7ff0_0000_0000_0001;
                },
                |a| {
                    a.word(word);
                },
            );
            let expected = (fs == 0).then(|| illegal(word)).flatten();
            assert_eq!(trap, expected, "{word:#x}");
            let dirty = fs != 0 && dirties;
            let now = machine.hart(0).csrs.mstatus & status::FS;
            assert_eq!(now, if dirty { status::FS } else { fs }, "{word:#x}");
        }
    }
}

/// A reserved dynamic rounding mode makes what rounds illegal, and nothing else.
#[test]
fn reserved_rounding_modes() {
    for frm in 0..8u8 {
        for (op, rm, rounds) in [
            (Op::FaddS, 7, true),
            (Op::FaddS, 0, false),
            (Op::FcvtWD, 7, true),
            (Op::FminS, 0, false),
        ] {
            let inst = clade_riscv::isa::Inst {
                op,
                rd: 1,
                rs1: 2,
                rs2: if op == Op::FcvtWD { 0 } else { 3 },
                rs3: 0,
                rm,
                len: 4,
                imm: 0,
            };
            let word = word(inst);
            let (_, trap) = run_one(
                Mode::Machine,
                |hart| {
                    hart.csrs.mstatus |= status::FS;
                    hart.csrs.frm = frm;
                },
                |a| {
                    a.word(word);
                },
            );
            let expected = (rounds && frm > 4).then(|| illegal(word)).flatten();
            assert_eq!(trap, expected, "{op:?} with frm {frm}");
        }
    }
}

/// Firmware goes down to S-mode and that to U-mode, whose call comes back up by way of both.
#[test]
fn down_and_up_again() {
    let (supervisor, user, trap) = (RAM + 0x2000, RAM + 0x3000, RAM + 0x4000);
    let mut machine = Machine::with(Start::Machine, |a| {
        a.csrr(A3, MCAUSE)
            .li(T0, 1 << status::MPP_SHIFT)
            .csrw(MSTATUS, T0)
            .op(Op::Mret);
    });
    machine.assemble(supervisor, |a| {
        a.addi(A0, A0, 1).op(Op::Sret);
    });
    machine.assemble(user, |a| {
        a.addi(A0, A0, 10).op(Op::Ecall);
    });
    // S-mode's handler asks M-mode.
    machine.assemble(trap, |a| {
        a.addi(A0, A0, 100).op(Op::Ecall);
    });
    machine.assemble(HANDLER, |a| {
        a.li(T0, 1000).r(Op::Add, A0, A0, T0).finish();
    });
    machine.set_hart(0, |hart| {
        hart.x[usize::from(A0)] = 0;
        let csrs = &mut hart.csrs;
        csrs.pmp.open_all();
        (csrs.mepc, csrs.sepc) = (supervisor, user);
        (csrs.mtvec, csrs.stvec) = (HANDLER, trap);
        csrs.medeleg = 1 << 8;
        csrs.menvcfg |= envcfg::STCE;
    });
    machine.run();
    let hart = machine.hart(0);
    assert_eq!(hart.x[usize::from(A0)], 1111);
    assert_eq!((hart.csrs.scause, hart.csrs.mcause), (8, 9));
    assert_eq!((hart.csrs.sepc, hart.csrs.mepc), (user + 4, trap + 4));
}
