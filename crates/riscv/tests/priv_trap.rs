//! Traps and interrupts: where they go, what they save, how they return (privileged spec 3.1.6 to
//! 3.1.15, 3.3.2, 12.1).

use clade_riscv::csr::status;
use clade_riscv::hart::{Hart, Mode};
use clade_riscv::trap::{
    DELEGABLE_EXCEPTIONS, Exception, Trap, interrupt, machine_return, next_interrupt,
    supervisor_return, take_exception, take_interrupt,
};
use proptest::prelude::*;

const MODES: [Mode; 3] = [Mode::User, Mode::Supervisor, Mode::Machine];
const PC: u64 = 0x8000_1234;
const MTVEC: u64 = 0x8010_0000;
const STVEC: u64 = 0x8020_0000;
const INTERRUPT: u64 = 1 << 63;

const EXCEPTIONS: [Exception; 14] = [
    Exception::InstructionAddressMisaligned,
    Exception::InstructionAccessFault,
    Exception::IllegalInstruction,
    Exception::Breakpoint,
    Exception::LoadAddressMisaligned,
    Exception::LoadAccessFault,
    Exception::StoreAddressMisaligned,
    Exception::StoreAccessFault,
    Exception::EcallFromU,
    Exception::EcallFromS,
    Exception::EcallFromM,
    Exception::InstructionPageFault,
    Exception::LoadPageFault,
    Exception::StorePageFault,
];

fn hart(mode: Mode) -> Hart {
    let mut hart = Hart::new(0, PC);
    hart.mode = mode;
    hart.csrs.mtvec = MTVEC;
    hart.csrs.stvec = STVEC;
    hart
}

fn mpp(hart: &Hart) -> u64 {
    hart.csrs.mstatus >> status::MPP_SHIFT & 3
}

fn has(hart: &Hart, bit: u64) -> bool {
    hart.csrs.mstatus & bit != 0
}

/// Table 14's codes.
#[test]
fn exception_codes() {
    let codes = EXCEPTIONS.map(|exception| exception as u64);
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15]);
    // All can be delegated but those that no lesser mode can raise (3.1.8): a call from M-mode, and
    // a misaligned fetch where instructions may be two bytes long.
    let delegable = codes.iter().filter(|&&code| ![0, 11].contains(&code));
    assert_eq!(
        delegable.fold(0, |mask, code| mask | 1 << code),
        DELEGABLE_EXCEPTIONS
    );
}

/// Every exception, delegated or not, from every mode: traps never go to a lesser mode.
#[test]
fn exceptions_are_delegated() {
    for exception in EXCEPTIONS {
        let code = exception as u64;
        for from in MODES {
            // Its own bit only, and all bits but its own.
            for medeleg in [0, 1 << code, DELEGABLE_EXCEPTIONS & !(1 << code)] {
                let mut hart = hart(from);
                hart.csrs.medeleg = medeleg & DELEGABLE_EXCEPTIONS;
                let before = hart.clone();
                take_exception(&mut hart, Trap::new(exception, 0x1111));
                let mut expected = before.clone();
                let csrs = &mut expected.csrs;
                if from != Mode::Machine && hart.csrs.medeleg >> code & 1 != 0 {
                    (csrs.scause, csrs.sepc, csrs.stval) = (code, PC, 0x1111);
                    if from == Mode::Supervisor {
                        csrs.mstatus |= status::SPP;
                    }
                    (expected.mode, expected.pc) = (Mode::Supervisor, STVEC);
                } else {
                    (csrs.mcause, csrs.mepc, csrs.mtval) = (code, PC, 0x1111);
                    csrs.mstatus |= (from as u64) << status::MPP_SHIFT;
                    (expected.mode, expected.pc) = (Mode::Machine, MTVEC);
                }
                assert_eq!(
                    hart, expected,
                    "{exception:?} from {from:?} with {medeleg:#x}"
                );
            }
        }
    }
}

/// Vectored mode moves interrupts, not exceptions (3.1.7).
#[test]
fn vectors() {
    for bit in [interrupt::SSI, interrupt::STI, interrupt::SEI] {
        for delegated in [false, true] {
            for vectored in [0, 1] {
                let mut hart = hart(Mode::User);
                hart.csrs.mtvec |= vectored;
                hart.csrs.stvec |= vectored;
                hart.csrs.mideleg = if delegated { bit } else { 0 };
                take_interrupt(&mut hart, bit);
                let code = u64::from(bit.trailing_zeros());
                let (base, cause) = if delegated {
                    (STVEC, hart.csrs.scause)
                } else {
                    (MTVEC, hart.csrs.mcause)
                };
                assert_eq!(cause, INTERRUPT | code);
                assert_eq!(hart.pc, base + 4 * code * vectored);
            }
        }
    }
    let mut hart = hart(Mode::User);
    hart.csrs.mtvec |= 1;
    take_exception(&mut hart, Trap::new(Exception::EcallFromU, 0));
    assert_eq!(hart.pc, MTVEC);
}

/// Higher modes first, then MEI, MSI, MTI, SEI, SSI, STI (3.1.9): every combination of pending,
/// enabled, delegated and mode.
#[test]
fn interrupt_priorities() {
    const ORDER: [u64; 6] = [11, 3, 7, 9, 1, 5];
    let spread = |bits: u64| {
        ORDER
            .iter()
            .enumerate()
            .fold(0, |mask, (index, code)| mask | (bits >> index & 1) << code)
    };
    let naive = |mode: Mode, csrs: &clade_riscv::csr::Csrs, pending: u64| {
        for target in [Mode::Machine, Mode::Supervisor] {
            let enable = if target == Mode::Machine {
                status::MIE
            } else {
                status::SIE
            };
            if mode > target || mode == target && csrs.mstatus & enable == 0 {
                continue;
            }
            for bit in ORDER.map(|code| 1u64 << code) {
                let delegated = csrs.mideleg & bit != 0;
                if pending & csrs.mie & bit != 0 && delegated == (target == Mode::Supervisor) {
                    return Some(bit);
                }
            }
        }
        None
    };
    let mut hart = hart(Mode::User);
    for mode in MODES {
        for enables in [0, status::MIE, status::SIE, status::MIE | status::SIE] {
            hart.csrs.mstatus = status::XLEN_64 | enables;
            for delegated in 0..8u64 {
                hart.csrs.mideleg = spread(delegated << 3);
                for (mie, pending) in (0..64).flat_map(|mie| (0..64).map(move |mip| (mie, mip))) {
                    hart.csrs.mie = spread(mie);
                    let pending = spread(pending);
                    assert_eq!(
                        next_interrupt(mode, &hart.csrs, pending),
                        naive(mode, &hart.csrs, pending),
                        "{mode:?}, mie {mie:#x}, mip {pending:#x}, mideleg {delegated:#x}"
                    );
                }
            }
        }
    }
}

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(&MODES[..])
}

proptest! {
    /// A trap saves the enable and the mode on the stack of its target and clears the enable; its
    /// return restores them, leaves the previous enable set and the previous mode U, and clears
    /// MPRV unless it goes to M-mode (3.1.6.1, 3.1.6.3).
    #[test]
    fn a_trap_and_its_return(from in mode(), bits in any::<u64>(), delegate in any::<bool>()) {
        let writable = status::SIE | status::MIE | status::SPIE | status::MPIE | status::SPP
            | status::FS | status::SUM | status::MXR | status::MPRV | status::TVM | status::TW
            | status::TSR;
        let mut hart = hart(from);
        hart.csrs.mstatus |= bits & writable;
        hart.csrs.medeleg = if delegate { 1 << 2 } else { 0 };
        let before = hart.clone();
        take_exception(&mut hart, Trap::illegal(0));
        let supervisor = delegate && from != Mode::Machine;
        let (ie, pie) = if supervisor {
            (status::SIE, status::SPIE)
        } else {
            (status::MIE, status::MPIE)
        };
        prop_assert!(!has(&hart, ie));
        prop_assert_eq!(has(&hart, pie), has(&before, ie));
        let stack = ie | pie | if supervisor { status::SPP } else { status::MPP };
        // Nothing else of mstatus changes, MPRV included.
        prop_assert_eq!(hart.csrs.mstatus & !stack, before.csrs.mstatus & !stack);

        if supervisor {
            supervisor_return(&mut hart);
            prop_assert!(!has(&hart, status::SPP));
        } else {
            machine_return(&mut hart);
            prop_assert_eq!(mpp(&hart), 0);
        }
        prop_assert_eq!((hart.mode, hart.pc), (from, PC));
        prop_assert_eq!(has(&hart, ie), has(&before, ie));
        prop_assert!(has(&hart, pie));
        let keeps = from == Mode::Machine && has(&before, status::MPRV);
        prop_assert_eq!(has(&hart, status::MPRV), keeps);
        let rest = !(stack | status::MPRV);
        prop_assert_eq!(hart.csrs.mstatus & rest, before.csrs.mstatus & rest);
    }

    /// While MPRV is set, M-mode's data accesses are MPP's; no other mode is affected.
    #[test]
    fn data_mode(at in mode(), previous in mode(), modified in any::<bool>()) {
        let mut hart = hart(at);
        hart.csrs.mstatus |= (previous as u64) << status::MPP_SHIFT;
        hart.csrs.mstatus |= if modified { status::MPRV } else { 0 };
        let expected = if at == Mode::Machine && modified { previous } else { at };
        prop_assert_eq!(hart.data_mode(), expected);
    }
}

/// A trap into M-mode from within S-mode's handler, and back through both.
#[test]
fn nested_traps() {
    let mut hart = hart(Mode::User);
    hart.csrs.mstatus |= status::SIE | status::MIE;
    hart.csrs.medeleg = 1 << 8;
    take_exception(&mut hart, Trap::new(Exception::EcallFromU, 0));
    assert_eq!((hart.mode, hart.pc), (Mode::Supervisor, STVEC));
    hart.pc = 0x100;
    take_interrupt(&mut hart, interrupt::MTI);
    assert_eq!((hart.mode, mpp(&hart)), (Mode::Machine, 1));
    assert!(has(&hart, status::MPIE) && has(&hart, status::SPIE));
    machine_return(&mut hart);
    assert_eq!((hart.mode, hart.pc), (Mode::Supervisor, 0x100));
    assert!(has(&hart, status::MIE) && !has(&hart, status::SIE));
    supervisor_return(&mut hart);
    assert_eq!((hart.mode, hart.pc), (Mode::User, PC));
    assert!(has(&hart, status::SIE));
}
