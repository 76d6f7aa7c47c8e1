//! The CSRs of the Advanced Interrupt Architecture and the registers behind them. Section numbers are
//! those of its specification, version 1.0.

use clade_riscv::csr::address::*;
use clade_riscv::csr::{self, Aia, Csrs, Effect, Environment, envcfg, stateen};
use clade_riscv::hart::{Hart, Mode};
use clade_riscv::imsic::{Change, InterruptFile, InterruptFileState};
use clade_riscv::trap::interrupt;
use proptest::prelude::*;

/// The outside: wires, and interrupt files.
#[derive(Default)]
struct Outside {
    wires: u64,
    machine: InterruptFile,
    supervisor: InterruptFile,
}

impl Environment for Outside {
    fn time(&mut self) -> u64 {
        0
    }

    fn pending(&mut self, _: &Csrs) -> u64 {
        let signal = |file: &InterruptFile, bit| if file.signals() { bit } else { 0 };
        self.wires
            | signal(&self.machine, interrupt::MEI)
            | signal(&self.supervisor, interrupt::SEI)
    }

    fn interrupt_file(&self, level: Mode) -> Option<&InterruptFile> {
        Some(match level {
            Mode::Machine => &self.machine,
            _ => &self.supervisor,
        })
    }
}

struct Bench {
    hart: Hart,
    outside: Outside,
}

const CSRS: [u16; 10] = [
    MVIEN, MVIP, MISELECT, MIREG, MTOPEI, MTOPI, SISELECT, SIREG, STOPEI, STOPI,
];
const ALL_STATE: u64 = stateen::IMSIC | stateen::AIA | stateen::INDIRECT;

impl Bench {
    fn new(mode: Mode) -> Self {
        let mut hart = Hart::new(0, 0);
        hart.mode = mode;
        hart.csrs.aia = Some(Aia::default());
        hart.csrs.mstateen[0] = ALL_STATE;
        Bench {
            hart,
            outside: Outside::default(),
        }
    }

    fn read(&mut self, number: u16) -> Option<u64> {
        csr::read(&self.hart, number, &mut self.outside)
    }

    /// As the instruction `csrrw` does; returns what it reads.
    fn swap(&mut self, number: u16, value: u64) -> Option<u64> {
        let old = self.read(number)?;
        Some(match csr::write(&mut self.hart, number, value)? {
            Effect::InterruptFile { level, selected } => {
                let change = Change {
                    clear: !0,
                    set: value,
                };
                self.outside.interrupt_file(level)?.change(selected, change)
            }
            Effect::Claim(level) => {
                self.outside
                    .interrupt_file(level)?
                    .claim((old >> 16) as u32);
                old
            }
            _ => old,
        })
    }

    fn select(&mut self, register: u64) {
        self.swap(SISELECT, register).unwrap();
    }

    fn set(&mut self, register: u64, value: u64) {
        self.select(register);
        self.swap(SIREG, value).unwrap();
    }

    fn get(&mut self, register: u64) -> u64 {
        self.select(register);
        self.read(SIREG).unwrap()
    }
}

const DELIVERY: u64 = 0x70;
const THRESHOLD: u64 = 0x72;
const PENDING: u64 = 0x80;
const ENABLED: u64 = 0xc0;

/// 2.1, 2.2: they exist where there is an IMSIC, for the mode in their number.
#[test]
fn only_harts_with_an_imsic_have_them() {
    for number in CSRS {
        let mut without = Bench::new(Mode::Machine);
        without.hart.csrs.aia = None;
        assert_eq!(without.read(number), None, "{number:#x}");
        assert_eq!(
            csr::write(&mut without.hart, number, 0),
            None,
            "{number:#x}"
        );
        for mode in [Mode::User, Mode::Supervisor, Mode::Machine] {
            let mut bench = Bench::new(mode);
            bench.hart.csrs.aia = Some(Aia {
                miselect: DELIVERY as u16,
                siselect: DELIVERY as u16,
            });
            let allowed = mode as u16 >= number >> 8 & 3;
            assert_eq!(
                bench.read(number).is_some(),
                allowed,
                "{number:#x} {mode:?}"
            );
        }
    }
    // Read-only by their numbers.
    let mut bench = Bench::new(Mode::Machine);
    assert_eq!(csr::write(&mut bench.hart, MTOPI, 0), None);
    assert_eq!(csr::write(&mut bench.hart, STOPI, 0), None);
}

/// 2.5: each bit of `mstateen0` is one part of the state, and M-mode does not care.
#[test]
fn firmware_can_keep_it_from_less_privileged_modes() {
    let needs: [(u16, u16, u64); 6] = [
        (SISELECT, 0, stateen::INDIRECT),
        (SIREG, 0x70, stateen::INDIRECT | stateen::IMSIC),
        (SIREG, 0xc0, stateen::INDIRECT | stateen::IMSIC),
        (SIREG, 0x30, stateen::INDIRECT | stateen::AIA),
        (STOPEI, 0, stateen::IMSIC),
        (STOPI, 0, stateen::AIA),
    ];
    for (number, selected, needed) in needs {
        for bit in [stateen::IMSIC, stateen::AIA, stateen::INDIRECT] {
            let mut bench = Bench::new(Mode::Supervisor);
            bench.hart.csrs.aia.as_mut().unwrap().siselect = selected;
            bench.hart.csrs.mstateen[0] &= !bit;
            let allowed = needed & bit == 0;
            assert_eq!(
                bench.read(number).is_some(),
                allowed,
                "{number:#x} {bit:#x}"
            );
            if number != STOPI {
                let written = csr::write(&mut bench.hart, number, 0).is_some();
                assert_eq!(written, allowed, "{number:#x} {bit:#x}");
            }
            bench.hart.mode = Mode::Machine;
            assert!(bench.read(number).is_some());
        }
    }
    let mut bench = Bench::new(Mode::Machine);
    bench.swap(MSTATEEN0, !0);
    assert_eq!(bench.read(MSTATEEN0), Some(ALL_STATE | 3 << 62));
    bench.hart.check().unwrap();
}

/// 2.1, 2.2, 3.8, 5.2.1, 5.4.1: what can be selected, and what is then there.
#[test]
fn every_selection_is_a_register_or_illegal() {
    for selected in 0..=0x1ff {
        let mut bench = Bench::new(Mode::Machine);
        bench.swap(SISELECT, selected);
        bench.swap(MISELECT, selected);
        assert_eq!(bench.read(SISELECT), Some(selected));
        let even = selected % 2 == 0;
        // All ones written: what is then read.
        let expected = match selected {
            0x30..=0x3f if even => Some(0),
            0x70 => Some(1),
            0x72 => Some(255),
            0x71..=0x7f => Some(0),
            0x80 | 0xc0 => Some(!1),
            0x82..=0x86 | 0xc2..=0xc6 if even => Some(!0),
            0x80..=0xff if even => Some(0),
            _ => None,
        };
        for window in [SIREG, MIREG] {
            let written = bench.swap(window, !0);
            assert_eq!(written.is_some(), expected.is_some(), "{selected:#x}");
            assert_eq!(bench.read(window), expected, "{selected:#x}");
        }
    }
    let mut bench = Bench::new(Mode::Machine);
    bench.swap(SISELECT, !0);
    assert_eq!(bench.read(SISELECT), Some(0x1ff));
}

/// 3.4, 3.9, 3.10: the lowest identity that is pending and enabled and below the threshold; a write
/// claims it.
#[test]
fn interrupts_are_claimed_in_the_order_of_their_identities() {
    let mut bench = Bench::new(Mode::Supervisor);
    for identity in [0, 1, 63, 64, 200, 255, 256, u32::MAX] {
        bench.outside.supervisor.set_pending(identity);
    }
    assert_eq!(bench.get(PENDING), 1 << 63 | 1 << 1);
    assert_eq!(bench.read(STOPEI), Some(0));
    // Nothing pending: a write claims nothing.
    bench.swap(STOPEI, !0);
    for word in 0..4 {
        bench.set(ENABLED + 2 * word, !0);
    }
    bench.set(THRESHOLD, 200);
    let mut claimed: Vec<_> = (0..4).map(|_| bench.swap(STOPEI, 0).unwrap()).collect();
    assert_eq!(claimed, [1 << 16 | 1, 63 << 16 | 63, 64 << 16 | 64, 0]);
    bench.set(THRESHOLD, 0);
    claimed = (0..3).map(|_| bench.swap(STOPEI, !0).unwrap()).collect();
    assert_eq!(claimed, [200 << 16 | 200, 255 << 16 | 255, 0]);
    assert_eq!(bench.get(PENDING), 0);
}

/// 3.9.1, 3.11: delivery gates the signal and nothing else.
#[test]
fn the_signal_is_what_can_be_claimed_while_delivery_is_on() {
    let mut bench = Bench::new(Mode::Supervisor);
    bench.hart.csrs.mideleg = interrupt::SUPERVISOR;
    bench.set(ENABLED, 1 << 7);
    assert!(!bench.outside.supervisor.set_pending(7), "delivery is off");
    assert_eq!(bench.read(STOPEI), Some(7 << 16 | 7));
    assert_eq!(bench.read(SIP), Some(0));
    bench.set(DELIVERY, 1);
    assert_eq!(bench.read(SIP), Some(interrupt::SEI));
    assert!(!bench.outside.supervisor.set_pending(7), "it is pending");
    bench.set(THRESHOLD, 7);
    assert_eq!(bench.read(SIP), Some(0));
    bench.set(THRESHOLD, 8);
    assert_eq!(bench.read(SIP), Some(interrupt::SEI));
    bench.swap(STOPEI, 0);
    assert_eq!(bench.read(SIP), Some(0));
    assert!(bench.outside.supervisor.set_pending(7), "new");
    // There is no other value: no PLIC or APLIC stands behind.
    bench.set(DELIVERY, 0x4000_0000);
    assert_eq!(bench.get(DELIVERY), 0);
}

/// The levels are apart.
#[test]
fn each_level_has_its_own_file() {
    let mut bench = Bench::new(Mode::Machine);
    bench.swap(MISELECT, ENABLED);
    bench.swap(MIREG, !0);
    bench.outside.machine.set_pending(3);
    assert_eq!(bench.read(MTOPEI), Some(3 << 16 | 3));
    assert_eq!(bench.read(STOPEI), Some(0));
    assert_eq!(bench.get(ENABLED), 0);
    bench.swap(MISELECT, DELIVERY);
    bench.swap(MIREG, 1);
    assert_eq!(bench.read(MIP), Some(interrupt::MEI));
    bench.swap(MTOPEI, 0);
    assert_eq!(bench.read(MIP), Some(0));
}

/// 5.2.2, 5.4.2: the major interrupt that is taken first at a level, whatever `mstatus` says.
#[test]
fn the_top_interrupt_of_a_level() {
    let mut bench = Bench::new(Mode::Machine);
    bench.outside.wires = interrupt::ALL;
    assert_eq!(bench.read(MTOPI), Some(0), "none is enabled");
    bench.hart.csrs.mie = interrupt::ALL;
    assert_eq!(bench.read(MTOPI), Some(11 << 16 | 1));
    assert_eq!(bench.read(STOPI), Some(0), "none is delegated");
    bench.hart.csrs.mideleg = interrupt::SUPERVISOR;
    let mut order = Vec::new();
    while let Some(top @ 1..) = bench.read(STOPI) {
        assert_eq!(top & 0xffff, 1);
        order.push(top >> 16);
        bench.outside.wires &= !(1 << (top >> 16));
    }
    assert_eq!(order, [9, 1, 5]);
    order.clear();
    while let Some(top @ 1..) = bench.read(MTOPI) {
        order.push(top >> 16);
        bench.outside.wires &= !(1 << (top >> 16));
    }
    assert_eq!(order, [11, 3, 7]);
}

/// 5.3: without virtual interrupts, `mvip` is the bits of `mip` that software sets.
#[test]
fn mvip_is_the_part_of_mip_that_software_sets() {
    let mut bench = Bench::new(Mode::Machine);
    bench.swap(MVIEN, !0);
    assert_eq!(bench.read(MVIEN), Some(0));
    bench.outside.wires = interrupt::ALL;
    assert_eq!(bench.read(MVIP), Some(0));
    bench.swap(MVIP, !0);
    assert_eq!(bench.read(MVIP), Some(interrupt::SUPERVISOR));
    assert_eq!(bench.hart.csrs.mip, interrupt::SUPERVISOR);
    bench.swap(MVIP, 0);
    bench.hart.csrs.menvcfg |= envcfg::STCE;
    bench.swap(MVIP, !0);
    assert_eq!(bench.read(MVIP), Some(interrupt::SSI | interrupt::SEI));
}

#[test]
fn impossible_states_are_refused() {
    let legal = InterruptFileState::default();
    assert!(legal.is_legal());
    let mut no = legal.clone();
    no.threshold = 256;
    assert!(!no.is_legal());
    let mut no = legal.clone();
    no.pending[0] = 1;
    assert!(!no.is_legal());
    let mut bench = Bench::new(Mode::Machine);
    bench.hart.check().unwrap();
    bench.hart.csrs.aia.as_mut().unwrap().siselect = 0x200;
    assert!(bench.hart.check().is_err());
}

proptest! {
    /// Whatever software does, a file is what its saved state says.
    #[test]
    fn a_restored_file_goes_on_as_the_saved_one(
        writes in prop::collection::vec((0x70..=0xffu64, any::<u64>()), 0..40),
        messages in prop::collection::vec(0..300u32, 0..40),
    ) {
        let mut bench = Bench::new(Mode::Supervisor);
        for identity in messages {
            bench.outside.supervisor.set_pending(identity);
        }
        for (register, value) in writes {
            bench.select(register);
            let _ = bench.swap(SIREG, value);
        }
        let saved = bench.outside.supervisor.save();
        prop_assert!(saved.is_legal());
        let restored = InterruptFile::default();
        restored.restore(&saved);
        prop_assert_eq!(restored.save(), saved);
        prop_assert_eq!(restored.top(), bench.outside.supervisor.top());
        prop_assert_eq!(restored.signals(), bench.outside.supervisor.signals());
    }
}
