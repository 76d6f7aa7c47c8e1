//! Physical memory protection against a model that asks about one byte at a time (privileged spec
//! 3.7).

use clade_riscv::hart::Mode;
use clade_riscv::mmu::Access;
use clade_riscv::pmp::{ENTRIES, Pmp, Verdict};
use proptest::prelude::*;

const R: u8 = 1;
const W: u8 = 2;
const X: u8 = 4;
const TOR: u8 = 1 << 3;
const NA4: u8 = 2 << 3;
const NAPOT: u8 = 3 << 3;
const L: u8 = 1 << 7;

const MODES: [Mode; 3] = [Mode::User, Mode::Supervisor, Mode::Machine];
const ACCESSES: [(Access, u8); 3] = [(Access::Read, R), (Access::Write, W), (Access::Execute, X)];

/// The registers as the specification's text has them.
#[derive(Clone, Default)]
struct Model {
    config: [u8; ENTRIES],
    address: [u64; ENTRIES],
}

impl Model {
    fn write_config(&mut self, entry: usize, value: u8) {
        // Bits 5 and 6 are zero.
        if self.config[entry] & L == 0 {
            self.config[entry] = value & 0x9f;
        }
    }

    fn write_address(&mut self, entry: usize, value: u64) {
        let locked = |i: usize| self.config.get(i).is_some_and(|config| config & L != 0);
        let is_top = |i: usize| {
            self.config
                .get(i)
                .is_some_and(|config| config & 0x18 == TOR)
        };
        let is_bottom_of_locked = locked(entry + 1) && is_top(entry + 1);
        if !locked(entry) && !is_bottom_of_locked {
            self.address[entry] = value & ((1 << 54) - 1);
        }
    }

    fn matches(&self, entry: usize, byte: u64) -> bool {
        let address = self.address[entry];
        let word = byte >> 2;
        match self.config[entry] & 0x18 {
            TOR => {
                let bottom = if entry == 0 {
                    0
                } else {
                    self.address[entry - 1]
                };
                bottom <= word && word < address
            }
            NA4 => word == address,
            // yyy...0111 ignores the ones and the zero above them.
            NAPOT => {
                let ignored = address.trailing_ones() + 1;
                u128::from(word) >> ignored == u128::from(address) >> ignored
            }
            _ => false,
        }
    }

    fn check(&self, start: u64, size: u64, permission: u8, mode: Mode) -> Verdict {
        for entry in 0..ENTRIES {
            let config = self.config[entry];
            let count = (start..start + size)
                .filter(|&byte| self.matches(entry, byte))
                .count() as u64;
            if count == 0 {
                continue;
            }
            let unchecked = mode == Mode::Machine && config & L == 0;
            return if count == size && (unchecked || config & permission != 0) {
                Verdict::Allowed
            } else {
                Verdict::Denied
            };
        }
        if mode == Mode::Machine {
            Verdict::Allowed
        } else {
            Verdict::Denied
        }
    }
}

/// Writes to both.
#[derive(Clone, Default)]
struct Pair {
    pmp: Pmp,
    model: Model,
}

impl Pair {
    fn write_config(&mut self, entry: usize, value: u8) {
        // The other seven entries of the register are written with what they hold.
        let register = entry / 8 * 2;
        let old = self.pmp.read_config(register).unwrap();
        let shift = 8 * (entry % 8);
        let new = old & !(0xff << shift) | u64::from(value) << shift;
        self.pmp.write_config(register, new).unwrap();
        if value & (R | W) == W {
            // Reserved: any other combination may be taken instead.
            let taken = self.config(entry);
            assert_ne!(taken & (R | W), W);
            self.model.write_config(entry, taken);
        } else {
            self.model.write_config(entry, value);
        }
    }

    fn config(&self, entry: usize) -> u8 {
        (self.pmp.read_config(entry / 8 * 2).unwrap() >> (8 * (entry % 8))) as u8
    }

    fn write_address(&mut self, entry: usize, value: u64) {
        self.pmp.write_address(entry, value);
        self.model.write_address(entry, value);
    }

    fn assert_equal(&self) {
        for entry in 0..ENTRIES {
            assert_eq!(
                self.config(entry),
                self.model.config[entry],
                "pmp{entry}cfg"
            );
            let address = self.pmp.read_address(entry);
            assert_eq!(address, self.model.address[entry], "pmpaddr{entry}");
        }
    }
}

const BASE: u64 = 0x8000_0000;

/// An address register near [`BASE`], so that entries meet, or an extreme one.
fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (0u64..0x40).prop_map(|word| (BASE >> 2) + word),
        // Naturally aligned ranges of 8 bytes to 8 KiB around it.
        4 => (0u64..0x400, 0u32..11).prop_map(|(word, ones)| {
            ((BASE >> 2) + word) & !(1 << ones) | ((1 << ones) - 1)
        }),
        1 => Just(!0),
        1 => Just((1 << 53) - 1),
        1 => Just(0),
        1 => any::<u64>(),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Config(usize, u8),
    Address(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let entry = 0..ENTRIES;
    // Locks are rare, or nothing can be changed any more.
    let config = (any::<u8>(), 0..8u8)
        .prop_map(|(value, lock)| if lock == 0 { value | L } else { value & !L });
    prop_oneof![
        (entry.clone(), config).prop_map(|(entry, value)| Step::Config(entry, value)),
        (entry, address()).prop_map(|(entry, value)| Step::Address(entry, value)),
    ]
}

fn apply(steps: Vec<Step>) -> Pair {
    let mut pair = Pair::default();
    for step in steps {
        match step {
            Step::Config(entry, value) => pair.write_config(entry, value),
            Step::Address(entry, value) => pair.write_address(entry, value),
        }
        pair.assert_equal();
    }
    pair
}

proptest! {
    #[test]
    fn agrees_with_the_model(
        steps in prop::collection::vec(step(), 0..40),
        probes in prop::collection::vec((0u64..0x200, 0u32..7), 30),
    ) {
        let Pair { pmp, model } = apply(steps);
        for (offset, size) in probes {
            let (start, size) = (BASE - 0x40 + offset, 1 << size);
            for mode in MODES {
                for (access, permission) in ACCESSES {
                    prop_assert_eq!(
                        pmp.check(start, size, access, mode),
                        model.check(start, size, permission, mode),
                        "{:?} of {} bytes at {:#x} in {:?}", access, size, start, mode
                    );
                }
            }
        }
    }

    /// In a page that is said to be uniform one verdict holds for all of it.
    #[test]
    fn uniform_pages_are_uniform(steps in prop::collection::vec(step(), 0..12)) {
        let Pair { pmp, model } = &apply(steps);
        for page in [BASE - 0x1000, BASE, BASE + 0x1000] {
            let uniform = pmp.is_uniform(page, 0x1000);
            let entries = |byte| (0..ENTRIES).filter(move |&entry| model.matches(entry, byte));
            let first: Vec<_> = entries(page).collect();
            let same = (page..page + 0x1000)
                .step_by(4)
                .all(|byte| entries(byte).eq(first.iter().copied()));
            prop_assert_eq!(uniform, same, "page {:#x}", page);
        }
    }
}

fn allowed(pmp: &Pmp, start: u64, size: u64, access: Access, mode: Mode) -> bool {
    pmp.check(start, size, access, mode) == Verdict::Allowed
}

/// With no entry set, M-mode may do all and the others nothing (3.7.1.3).
#[test]
fn without_entries() {
    let pmp = Pmp::default();
    for (access, _) in ACCESSES {
        assert!(allowed(&pmp, BASE, 8, access, Mode::Machine));
        assert!(!allowed(&pmp, BASE, 8, access, Mode::Supervisor));
        assert!(!allowed(&pmp, BASE, 8, access, Mode::User));
    }
}

#[test]
fn open_all_opens_all() {
    let mut pmp = Pmp::default();
    pmp.open_all();
    for start in [0, BASE, (1 << 56) - 8] {
        for mode in MODES {
            for (access, _) in ACCESSES {
                assert!(
                    allowed(&pmp, start, 8, access, mode),
                    "{start:#x} in {mode:?}"
                );
            }
        }
    }
}

/// A locked entry binds M-mode, cannot be changed, and keeps its bottom (3.7.1.2).
#[test]
fn locks() {
    let mut pmp = Pmp::default();
    pmp.write_address(0, BASE >> 2);
    pmp.write_address(1, (BASE + 0x100) >> 2);
    let config = u64::from(R | TOR | L) << 8;
    pmp.write_config(0, config).unwrap();
    assert!(allowed(&pmp, BASE, 8, Access::Read, Mode::Machine));
    assert!(!allowed(&pmp, BASE, 8, Access::Write, Mode::Machine));
    assert!(!allowed(&pmp, BASE, 8, Access::Execute, Mode::User));
    // Neither its configuration, nor its top, nor its bottom.
    pmp.write_config(0, 0).unwrap();
    pmp.write_address(1, 0);
    pmp.write_address(0, 0);
    assert_eq!(pmp.read_config(0), Some(config));
    assert_eq!(pmp.read_address(1), (BASE + 0x100) >> 2);
    assert_eq!(pmp.read_address(0), BASE >> 2);
    // The bottom's own configuration is free.
    pmp.write_config(0, u64::from(R | NA4)).unwrap();
    assert_eq!(pmp.read_config(0), Some(config | u64::from(R | NA4)));
}

/// An access that an entry covers only in part fails whatever the entry or the mode allows.
#[test]
fn partial_matches_fail() {
    let mut pmp = Pmp::default();
    pmp.write_address(0, BASE >> 2);
    pmp.write_config(0, u64::from(R | W | X | NA4)).unwrap();
    pmp.open_all();
    for mode in MODES {
        assert!(allowed(&pmp, BASE, 4, Access::Read, mode));
        assert!(!allowed(&pmp, BASE, 8, Access::Read, mode), "{mode:?}");
        assert!(!allowed(&pmp, BASE - 4, 8, Access::Read, mode), "{mode:?}");
        assert!(!allowed(&pmp, BASE - 1, 2, Access::Read, mode), "{mode:?}");
        assert!(allowed(&pmp, BASE + 4, 8, Access::Read, mode));
    }
}

/// RV64 has only the even configuration registers, and sixteen entries exist here (3.7.1).
#[test]
fn registers_that_do_not_exist() {
    let mut pmp = Pmp::default();
    for register in 0..16 {
        let exists = register % 2 == 0;
        assert_eq!(pmp.read_config(register).is_some(), exists);
        assert_eq!(pmp.write_config(register, !0).is_some(), exists);
        let value = if register < 4 {
            0x9f9f_9f9f_9f9f_9f9f
        } else {
            0
        };
        if let Some(read) = pmp.read_config(register) {
            assert_eq!(read, value, "pmpcfg{register}");
        }
    }
    let mut pmp = Pmp::default();
    for entry in 0..64 {
        pmp.write_address(entry, !0);
        let value = if entry < ENTRIES { (1 << 54) - 1 } else { 0 };
        assert_eq!(pmp.read_address(entry), value, "pmpaddr{entry}");
    }
}
