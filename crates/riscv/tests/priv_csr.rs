//! Every CSR: reset value, legal values, and who may reach it (privileged spec, chapters 2, 3 and
//! 12; Sstc; Smstateen).

use clade_riscv::csr::address::*;
use clade_riscv::csr::{self, Csrs, Effect, Environment, envcfg, satp, stateen, status};
use clade_riscv::hart::{Hart, Mode};
use clade_riscv::imsic::InterruptFile;
use clade_riscv::trap::interrupt;

const MODES: [Mode; 3] = [Mode::User, Mode::Supervisor, Mode::Machine];
const HART_ID: u64 = 3;
const NOW: u64 = 0x1234_5678;

/// The outside: a time, and wires.
#[derive(Default)]
struct Outside {
    wires: u64,
}

impl Environment for Outside {
    fn interrupt_file(&self, _level: Mode) -> Option<&InterruptFile> {
        None
    }

    fn time(&mut self) -> u64 {
        NOW
    }

    fn pending(&mut self, _: &Csrs) -> u64 {
        self.wires
    }
}

fn hart(mode: Mode) -> Hart {
    let mut hart = Hart::new(HART_ID, 0);
    hart.mode = mode;
    hart
}

fn read(hart: &Hart, number: u16) -> Option<u64> {
    csr::read(hart, number, &mut Outside::default())
}

/// Writes as an instruction does that then retires.
fn write(hart: &mut Hart, number: u16, value: u64) -> Option<Effect> {
    let effect = csr::write(hart, number, value);
    hart.retired += 1;
    effect
}

/// What a CSR holds after reset, after writing all ones, and after writing zeroes then.
struct Row {
    number: u16,
    reset: u64,
    ones: u64,
    zeroes: u64,
}

fn row(number: u16, reset: u64, ones: u64, zeroes: u64) -> Row {
    Row {
        number,
        reset,
        ones,
        zeroes,
    }
}

/// A register of which the bits of `mask` can be written.
fn plain(number: u16, mask: u64) -> Row {
    row(number, 0, mask, 0)
}

/// A register that can be written to no effect.
fn fixed(number: u16, value: u64) -> Row {
    row(number, value, value, value)
}

const UXL: u64 = 2 << 32;
const SXL: u64 = 2 << 34;

/// The registers that M-mode can read, as a machine with all of them enabled has them.
fn rows() -> Vec<Row> {
    let letters = b"ABCDFIMSU";
    let misa = letters
        .iter()
        .fold(2 << 62, |misa, letter| misa | 1 << (letter - b'A'));
    let mut rows = vec![
        // SIE, SPIE, SPP, FS, SUM, MXR; SD with FS dirty. UXL is 64 bits.
        row(SSTATUS, UXL, 1 << 63 | UXL | 0xc_6122, UXL),
        // And MIE, MPIE, MPP, MPRV, TVM, TW, TSR. SXL is 64 bits.
        row(
            MSTATUS,
            UXL | SXL,
            1 << 63 | UXL | SXL | 0x7e_79aa,
            UXL | SXL,
        ),
        fixed(MISA, misa),
        fixed(MHARTID, HART_ID),
        // Not bit 10, 11, 14 and those above 15: not exceptions, or not delegable.
        plain(MEDELEG, 0xb3fe),
        plain(MIDELEG, 0x222),
        plain(MIE, 0xaaa),
        plain(MIP, 0x222),
        // Nothing is delegated, so S-mode's views are empty.
        fixed(SIE, 0),
        fixed(SIP, 0),
        plain(MSCRATCH, !0),
        plain(SSCRATCH, !0),
        plain(MEPC, !1),
        plain(SEPC, !1),
        plain(MCAUSE, !0),
        plain(SCAUSE, !0),
        plain(MTVAL, !0),
        plain(STVAL, !0),
        plain(MCOUNTEREN, 0xffff_ffff),
        plain(SCOUNTEREN, 0xffff_ffff),
        plain(MCOUNTINHIBIT, 0b101),
        row(MENVCFG, envcfg::ADUE, 0xe000_0000_0000_00f1, 0),
        plain(SENVCFG, 0xf1),
        plain(MSTATEEN0, 3 << 62),
        // Mode 15 is not supported: the write has no effect.
        plain(SATP, 0),
        row(STIMECMP, !0, !0, 0),
        row(MCYCLE, 0, !0, 0),
        row(MINSTRET, 0, !0, 0),
        plain(FFLAGS, 0x1f),
        plain(FRM, 7),
        plain(FCSR, 0xff),
    ];
    rows.extend((MSTATEEN0 + 1..=MSTATEEN3).map(|number| plain(number, 1 << 63)));
    rows.extend((SSTATEEN0..=SSTATEEN3).map(|number| fixed(number, 0)));
    rows.extend((MHPMCOUNTER3..=MHPMCOUNTER31).map(|number| fixed(number, 0)));
    rows.extend((MHPMEVENT3..=MHPMEVENT31).map(|number| fixed(number, 0)));
    for index in 0..64 {
        let mask = if index < 16 { (1 << 54) - 1 } else { 0 };
        rows.push(plain(PMPADDR0 + index, mask));
    }
    // All ones lock the entries.
    for register in (0..16).step_by(2) {
        let ones = if register < 4 {
            0x9f9f_9f9f_9f9f_9f9f
        } else {
            0
        };
        rows.push(row(PMPCFG0 + register, 0, ones, ones));
    }
    rows
}

/// The registers whose numbers say that they cannot be written (chapter 2.1).
fn read_only() -> Vec<(u16, u64)> {
    let mut rows = vec![
        (MVENDORID, 0),
        (MARCHID, 0),
        (MIMPID, 0),
        (MHARTID, HART_ID),
        (MCONFIGPTR, 0),
        (CYCLE, 0),
        (TIME, NOW),
        (INSTRET, 0),
    ];
    rows.extend((HPMCOUNTER3..=HPMCOUNTER31).map(|number| (number, 0)));
    rows
}

#[test]
fn reset_and_legal_values() {
    for Row {
        number,
        reset,
        ones,
        zeroes,
    } in rows()
    {
        if number == MHARTID {
            continue;
        }
        let mut hart = hart(Mode::Machine);
        if (FFLAGS..=FCSR).contains(&number) {
            hart.csrs.mstatus |= status::FS;
        }
        // Nothing has retired, so the counters still show their reset values.
        assert_eq!(read(&hart, number), Some(reset), "{number:#x} after reset");
        assert!(
            write(&mut hart, number, !0).is_some(),
            "{number:#x} can be written"
        );
        assert_eq!(
            read(&hart, number),
            Some(ones),
            "{number:#x} after all ones"
        );
        assert_eq!(hart.check(), Ok(()), "{number:#x} holds a legal value");
        write(&mut hart, number, 0);
        assert_eq!(
            read(&hart, number),
            Some(zeroes),
            "{number:#x} after zeroes"
        );
    }
}

#[test]
fn read_only_registers() {
    for (number, value) in read_only() {
        let mut hart = hart(Mode::Machine);
        assert_eq!(read(&hart, number), Some(value), "{number:#x}");
        assert_eq!(write(&mut hart, number, 0), None, "{number:#x}");
    }
}

/// Numbers that no register has are illegal in every mode; the others need the mode in bits 9:8.
#[test]
fn numbers_and_modes() {
    let known: Vec<u16> = rows()
        .into_iter()
        .map(|row| row.number)
        .chain([MTVEC, STVEC])
        .chain(read_only().into_iter().map(|(number, _)| number))
        .collect();
    for number in 0..1 << 12 {
        for mode in MODES {
            // Everything that can be switched on is.
            let mut hart = hart(mode);
            hart.csrs.mstatus |= status::FS;
            hart.csrs.mcounteren = !0;
            hart.csrs.scounteren = !0;
            hart.csrs.menvcfg |= envcfg::STCE;
            hart.csrs.mstateen = [stateen::SE0 | stateen::ENVCFG; 4];
            let needed = Mode::from_bits(u64::from(number) >> 8 & 3);
            let reachable = known.contains(&number) && needed.is_some_and(|needed| mode >= needed);
            assert_eq!(
                read(&hart, number).is_some(),
                reachable,
                "read {number:#x} in {mode:?}"
            );
            let writable = reachable && number >> 10 != 3;
            let written = write(&mut hart, number, 0).is_some();
            assert_eq!(written, writable, "write {number:#x} in {mode:?}");
        }
    }
}

/// Whether a mode reaches a register, by reading; where it can be written, writing must agree.
fn reaches(hart: &Hart, number: u16) -> bool {
    let reads = read(hart, number).is_some();
    if number >> 10 != 3 {
        assert_eq!(write(&mut hart.clone(), number, 0).is_some(), reads);
    }
    reads
}

/// `mcounteren` lets S-mode read a counter, and `scounteren` as well U-mode (3.1.11, 12.1.5).
#[test]
fn counter_enables() {
    for number in CYCLE..=HPMCOUNTER31 {
        let bit = 1 << (number - CYCLE);
        for (mcounteren, scounteren) in [(0, 0), (bit, 0), (0, bit), (bit, bit), (!bit, !bit)] {
            for mode in MODES {
                let mut hart = hart(mode);
                (hart.csrs.mcounteren, hart.csrs.scounteren) = (mcounteren, scounteren);
                let expected = match mode {
                    Mode::Machine => true,
                    Mode::Supervisor => mcounteren == bit,
                    Mode::User => mcounteren == bit && scounteren == bit,
                };
                assert_eq!(reaches(&hart, number), expected, "{number:#x} in {mode:?}");
            }
        }
    }
}

/// S-mode has `stimecmp` when `menvcfg.STCE` and `mcounteren.TM` are both set (Sstc, 2.1).
#[test]
fn timer_compare_enables() {
    for (stce, tm) in [(false, false), (true, false), (false, true), (true, true)] {
        for mode in MODES {
            let mut hart = hart(mode);
            hart.csrs.menvcfg = if stce { envcfg::STCE } else { 0 };
            hart.csrs.mcounteren = if tm { 2 } else { !2 & 0xffff_ffff };
            let expected = match mode {
                Mode::Machine => true,
                Mode::Supervisor => stce && tm,
                Mode::User => false,
            };
            assert_eq!(reaches(&hart, STIMECMP), expected, "{mode:?} {stce} {tm}");
        }
    }
}

/// `mstateen0` gates `senvcfg` and `sstateen0`, each `mstateenN` its `sstateenN` (Smstateen).
#[test]
fn state_enables() {
    let gates = [
        (SENVCFG, 0, stateen::ENVCFG),
        (SSTATEEN0, 0, stateen::SE0),
        (SSTATEEN0 + 1, 1, stateen::SE0),
        (SSTATEEN0 + 2, 2, stateen::SE0),
        (SSTATEEN3, 3, stateen::SE0),
    ];
    for (number, index, bit) in gates {
        for open in [false, true] {
            let mut supervisor = hart(Mode::Supervisor);
            supervisor.csrs.mstateen = [stateen::SE0 | stateen::ENVCFG; 4];
            if !open {
                supervisor.csrs.mstateen[index] &= !bit;
            }
            assert_eq!(reaches(&supervisor, number), open, "{number:#x}");
        }
        assert!(reaches(&hart(Mode::Machine), number));
    }
}

/// TVM takes `satp` from S-mode (3.1.6.6), FS off the floating-point registers from all (3.1.6.7).
#[test]
fn status_gates() {
    for mode in [Mode::Supervisor, Mode::Machine] {
        let mut hart = hart(mode);
        assert!(reaches(&hart, SATP));
        hart.csrs.mstatus |= status::TVM;
        assert_eq!(reaches(&hart, SATP), mode == Mode::Machine);
    }
    for mode in MODES {
        for number in [FFLAGS, FRM, FCSR] {
            let mut hart = hart(mode);
            assert!(!reaches(&hart, number));
            for fs in 1..=3 {
                hart.csrs.mstatus = status::XLEN_64 | fs << status::FS_SHIFT;
                assert!(reaches(&hart, number));
            }
        }
    }
}

/// The accrued flags and the mode are one register, and writing either makes FS dirty.
#[test]
fn floating_point_registers() {
    for (number, value, fcsr) in [(FFLAGS, 0x15, 0x15), (FRM, 4, 0x80), (FCSR, 0xabc, 0xbc)] {
        let mut hart = hart(Mode::User);
        hart.csrs.mstatus |= 1 << status::FS_SHIFT;
        write(&mut hart, number, value);
        assert_eq!(read(&hart, FCSR), Some(fcsr));
        hart.mode = Mode::Machine;
        assert_eq!(
            read(&hart, MSTATUS).unwrap() & (status::FS | status::SD),
            status::FS | 1 << 63
        );
    }
}

/// MPP holds U, S or M; the reserved value leaves it (3.1.6.1).
#[test]
fn previous_mode() {
    for (old, new, expected) in [
        (0, 1, 1),
        (1, 3, 3),
        (3, 0, 0),
        (1, 2, 1),
        (3, 2, 3),
        (0, 2, 0),
    ] {
        let mut hart = hart(Mode::Machine);
        write(&mut hart, MSTATUS, old << status::MPP_SHIFT);
        write(&mut hart, MSTATUS, new << status::MPP_SHIFT | status::SUM);
        assert_eq!(
            hart.csrs.mstatus & status::MPP,
            expected << status::MPP_SHIFT
        );
        assert_ne!(
            hart.csrs.mstatus & status::SUM,
            0,
            "the rest of the write counts"
        );
    }
}

/// The trap vector's mode: direct and vectored are kept, a reserved one becomes one of them; the base is
/// taken in any case (3.1.7).
#[test]
fn trap_vectors() {
    for number in [MTVEC, STVEC] {
        let mut hart = hart(Mode::Machine);
        assert_eq!(read(&hart, number), Some(0));
        for base in [0x8000_0000, !3, 0, 0x1234] {
            for mode in [0, 1, 2, 3, 0, 2] {
                write(&mut hart, number, base | mode);
                let value = read(&hart, number).unwrap();
                assert_eq!(value & !1, base, "mode {mode}");
                if mode < 2 {
                    assert_eq!(value & 1, mode);
                }
                assert_eq!(hart.check(), Ok(()));
            }
        }
    }
}

/// Modes that do not exist leave `satp` as it is, the others are taken whole (12.1.11).
#[test]
fn address_translation_modes() {
    let rest = 0xabcd << satp::ASID_SHIFT | 0xfff_1234_5678;
    for mode in 0..16 {
        let mut hart = hart(Mode::Supervisor);
        let old = satp::SV39 << 60 | 7;
        assert_eq!(write(&mut hart, SATP, old), Some(Effect::AddressSpace));
        let effect = write(&mut hart, SATP, mode << 60 | rest).unwrap();
        if [0, 8, 9, 10].contains(&mode) {
            assert_eq!(read(&hart, SATP), Some(mode << 60 | rest));
            assert_eq!(effect, Effect::AddressSpace);
        } else {
            assert_eq!(read(&hart, SATP), Some(old), "mode {mode}");
        }
    }
}

/// CBIE's reserved value is not taken, and never allows more than was allowed (CMO spec 2.4.1).
#[test]
fn cache_block_invalidation() {
    for (number, others) in [(MENVCFG, envcfg::CBZE), (SENVCFG, envcfg::CBCFE)] {
        let mut hart = hart(Mode::Machine);
        let mut old = 0;
        for value in [1, 2, 3, 2, 0, 2] {
            write(&mut hart, number, value << 4 | others);
            let read = read(&hart, number).unwrap();
            assert_eq!(read & !envcfg::CBIE, others);
            let now = read >> 4 & 3;
            if value == 2 {
                assert!([0, old].contains(&now), "CBIE {old}, then {now}");
            } else {
                assert_eq!(now, value);
            }
            assert_eq!(hart.check(), Ok(()));
            old = now;
        }
    }
}

/// `sie` and `sip` show and change what is delegated, and of `sip` only SSIP can be written (12.1.3).
#[test]
fn views_of_interrupts() {
    for mideleg in [
        0,
        interrupt::SSI,
        interrupt::STI | interrupt::SEI,
        interrupt::SUPERVISOR,
    ] {
        let mut hart = hart(Mode::Supervisor);
        hart.csrs.mideleg = mideleg;
        hart.csrs.mie = interrupt::MTI | interrupt::SSI;
        let wires = interrupt::MEI | interrupt::SEI;
        let pending = |hart: &Hart| csr::read(hart, SIP, &mut Outside { wires });
        assert_eq!(read(&hart, SIE), Some(interrupt::SSI & mideleg));
        write(&mut hart, SIE, !0);
        assert_eq!(hart.csrs.mie, interrupt::MTI | interrupt::SSI | mideleg);
        write(&mut hart, SIE, 0);
        assert_eq!(hart.csrs.mie & (interrupt::MTI | mideleg), interrupt::MTI);

        write(&mut hart, SIP, !0);
        assert_eq!(hart.csrs.mip, interrupt::SSI & mideleg);
        assert_eq!(
            pending(&hart),
            Some((interrupt::SSI | interrupt::SEI) & mideleg)
        );
        write(&mut hart, SIP, 0);
        assert_eq!(hart.csrs.mip, 0);
    }
}

/// STIP is M-mode's to write unless Sstc drives it (Sstc 2.2), and what is set then goes when it
/// begins to.
#[test]
fn timer_interrupt_pending() {
    let mut hart = hart(Mode::Machine);
    write(&mut hart, MIP, interrupt::STI);
    assert_eq!(read(&hart, MIP), Some(interrupt::STI));
    assert_eq!(
        write(&mut hart, MENVCFG, envcfg::STCE | envcfg::ADUE),
        Some(Effect::Environment)
    );
    assert_eq!(read(&hart, MIP), Some(0));
    write(&mut hart, MIP, interrupt::STI);
    assert_eq!(read(&hart, MIP), Some(0));
    assert_eq!(write(&mut hart, STIMECMP, 0), Some(Effect::Timer));
}

/// A read-modify-write of `mip` sees software's SEIP, not the wire's (3.1.9).
#[test]
fn modifiable_external_interrupt() {
    let mut hart = hart(Mode::Machine);
    let shown = csr::read(
        &hart,
        MIP,
        &mut Outside {
            wires: interrupt::SEI,
        },
    );
    assert_eq!(shown, Some(interrupt::SEI));
    assert_eq!(csr::modifiable(&hart.csrs, MIP, interrupt::SEI), 0);
    write(&mut hart, MIP, interrupt::SEI);
    assert_eq!(
        csr::modifiable(&hart.csrs, MIP, interrupt::SEI),
        interrupt::SEI
    );
    assert_eq!(csr::modifiable(&hart.csrs, SCAUSE, !0), !0);
}

/// Counters: what is written is what the next instruction reads; inhibited they stand still
/// (3.1.10, 3.1.12).
#[test]
fn counters_count_and_stop() {
    for (counter, shadow, bit) in [(MCYCLE, CYCLE, 1), (MINSTRET, INSTRET, 4)] {
        let mut hart = hart(Mode::Machine);
        hart.retired = 1000;
        assert_eq!(read(&hart, counter), Some(1000));
        write(&mut hart, counter, 50);
        assert_eq!(read(&hart, counter), Some(50));
        hart.retired += 7;
        assert_eq!(
            (read(&hart, counter), read(&hart, shadow)),
            (Some(57), Some(57))
        );
        write(&mut hart, MCOUNTINHIBIT, bit);
        let stopped = read(&hart, counter).unwrap();
        hart.retired += 100;
        assert_eq!(read(&hart, counter), Some(stopped));
        // The other one goes on.
        let other = if counter == MCYCLE { MINSTRET } else { MCYCLE };
        assert_eq!(read(&hart, other), Some(hart.retired));
        write(&mut hart, counter, 9);
        assert_eq!(
            read(&hart, counter),
            Some(9),
            "written while it stands still"
        );
        write(&mut hart, MCOUNTINHIBIT, 0);
        let begun = read(&hart, counter).unwrap();
        assert!((9..=10).contains(&begun));
        hart.retired += 5;
        assert_eq!(read(&hart, counter), Some(begun + 5));
        // They wrap.
        write(&mut hart, counter, !0);
        hart.retired += 1;
        assert_eq!(read(&hart, counter), Some(0));
    }
}

/// Changes that cached translations depend on say so.
#[test]
fn effects() {
    let mut hart = hart(Mode::Machine);
    assert_eq!(write(&mut hart, PMPADDR0, 1), Some(Effect::FlushTlb));
    assert_eq!(write(&mut hart, PMPCFG0, 0x1f), Some(Effect::FlushTlb));
    assert_eq!(
        write(&mut hart, MSTATUS, status::MXR),
        Some(Effect::FlushTlb)
    );
    assert_eq!(write(&mut hart, SSTATUS, 0), Some(Effect::FlushTlb));
    for change in [envcfg::PBMTE, 0] {
        let written = write(&mut hart, MENVCFG, envcfg::ADUE | change);
        assert_eq!(written, Some(Effect::Environment));
    }
    assert_eq!(write(&mut hart, MENVCFG, 0), Some(Effect::Environment));
    assert_eq!(write(&mut hart, MSCRATCH, 1), Some(Effect::None));
}
