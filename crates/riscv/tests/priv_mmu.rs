//! Address translation against a second implementation, written from the steps of the specification's
//! algorithm (privileged spec 12.3.2; Svadu, Svnapot, Svpbmt).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use clade_riscv::csr::{Csrs, envcfg, satp, status};
use clade_riscv::hart::Mode;
use clade_riscv::mmu::{Access, PageTableMemory, Space, Translation, translate};
use clade_riscv::pmp::{Pmp, Verdict};
use clade_riscv::trap::{Exception, Trap};
use proptest::prelude::*;

const V: u64 = 1 << 0;
const R: u64 = 1 << 1;
const W: u64 = 1 << 2;
const X: u64 = 1 << 3;
const U: u64 = 1 << 4;
const G: u64 = 1 << 5;
const A: u64 = 1 << 6;
const D: u64 = 1 << 7;
const RSW: u64 = 3 << 8;
const N: u64 = 1 << 63;

/// Where page tables can be.
const MEMORY: std::ops::Range<u64> = 0x8000_0000..0x8010_0000;

/// Page tables by the address of the entry; what was never written is zero.
#[derive(Clone, Default)]
struct Tables {
    entries: RefCell<BTreeMap<u64, u64>>,
    /// Another hart changes an entry by this exclusive-or just before the first update.
    interference: Cell<Option<u64>>,
}

impl Tables {
    fn get(&self, address: u64) -> u64 {
        assert_eq!(address % 8, 0);
        self.entries.borrow().get(&address).copied().unwrap_or(0)
    }

    fn set(&self, address: u64, entry: u64) {
        self.entries.borrow_mut().insert(address, entry);
    }
}

impl PageTableMemory for Tables {
    fn load_entry(&self, address: u64) -> Option<u64> {
        MEMORY.contains(&address).then(|| self.get(address))
    }

    fn replace_entry(&self, address: u64, old: u64, new: u64) -> Option<bool> {
        if let Some(change) = self.interference.take() {
            self.set(address, self.get(address) ^ change);
        }
        let unchanged = self.get(address) == old;
        if unchanged {
            self.set(address, new);
        }
        MEMORY.contains(&address).then_some(unchanged)
    }
}

/// How an access fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Page,
    Access,
}

/// A field of a number, by its highest and lowest bit.
fn bits(value: u64, high: u32, low: u32) -> u64 {
    value >> low & (u64::MAX >> (63 - (high - low)))
}

/// The algorithm of 12.3.2, step by step, for one access. Updates A and D in `tables`.
fn model(csrs: &Csrs, mode: Mode, tables: &Tables, va: u64, access: Access) -> Result<u64, Fault> {
    const PAGESIZE: u64 = 4096;
    const PTESIZE: u64 = 8;
    let levels: i32 = match bits(csrs.satp, 63, 60) {
        _ if mode == Mode::Machine => return Ok(va),
        0 => return Ok(va),
        8 => 3,
        9 => 4,
        10 => 5,
        _ => unreachable!("not a legal satp"),
    };
    // 12.4.1, 12.5.1, 12.6.1: the upper bits are all equal to the highest one that is translated.
    let top = 12 + 9 * levels as u32 - 1;
    let upper = va >> top;
    if upper != 0 && upper != u64::MAX >> top {
        return Err(Fault::Page);
    }
    let vpn = |i: i32| bits(va, 12 + 9 * i as u32 + 8, 12 + 9 * i as u32);
    let protect = |at: u64, access| match csrs.pmp.check(at, PTESIZE, access, Mode::Supervisor) {
        Verdict::Allowed => Ok(()),
        Verdict::Denied => Err(Fault::Access),
    };
    // Step 1.
    let mut a = bits(csrs.satp, 43, 0) * PAGESIZE;
    let mut i = levels - 1;
    let (pte, at) = loop {
        // Step 2.
        let at = a + vpn(i) * PTESIZE;
        protect(at, Access::Read)?;
        let pte = tables.load_entry(at).ok_or(Fault::Access)?;
        // Step 3, with the reserved bits and encodings.
        if pte & V == 0 || pte & R == 0 && pte & W != 0 || bits(pte, 60, 54) != 0 {
            return Err(Fault::Page);
        }
        let pbmt = bits(pte, 62, 61);
        if pbmt == 3 || pbmt != 0 && csrs.menvcfg & envcfg::PBMTE == 0 {
            return Err(Fault::Page);
        }
        // Step 4.
        if pte & R != 0 || pte & X != 0 {
            break (pte, at);
        }
        // In pointers D, A and U are reserved, and so are N and PBMT.
        if pte & (D | A | U) != 0 || pbmt != 0 || pte & N != 0 {
            return Err(Fault::Page);
        }
        i -= 1;
        if i < 0 {
            return Err(Fault::Page);
        }
        a = bits(pte, 53, 10) * PAGESIZE;
    };
    // Svnapot: only for 64 KiB, only in the last level.
    if pte & N != 0 && (i != 0 || bits(pte, 13, 10) != 8) {
        return Err(Fault::Page);
    }
    // The permission steps.
    let (mxr, sum) = (
        csrs.mstatus & status::MXR != 0,
        csrs.mstatus & status::SUM != 0,
    );
    let user_page = pte & U != 0;
    let reachable = match (mode, access) {
        (Mode::User, _) => user_page,
        (_, Access::Execute) => !user_page,
        _ => !user_page || sum,
    };
    let granted = match access {
        Access::Read => pte & R != 0 || mxr && pte & X != 0,
        Access::Write => pte & W != 0,
        Access::Execute => pte & X != 0,
    };
    if !reachable || !granted {
        return Err(Fault::Page);
    }
    // A misaligned superpage.
    if (0..i).any(|lower| bits(pte, 18 + 9 * lower as u32, 10 + 9 * lower as u32) != 0) {
        return Err(Fault::Page);
    }
    // A and D.
    if pte & A == 0 || access == Access::Write && pte & D == 0 {
        if csrs.menvcfg & envcfg::ADUE == 0 {
            return Err(Fault::Page);
        }
        protect(at, Access::Write)?;
        tables.set(at, pte | A | if access == Access::Write { D } else { 0 });
    }
    // The physical address.
    let mut pa = bits(va, 11, 0) | bits(pte, 53, 10) << 12;
    for lower in 0..i {
        pa |= vpn(lower) << (12 + 9 * lower);
    }
    if pte & N != 0 {
        pa = pa & !0xf000 | va & 0xf000;
    }
    Ok(pa)
}

fn trap(fault: Fault, access: Access, address: u64) -> Trap {
    let cause = match (fault, access) {
        (Fault::Page, Access::Read) => Exception::LoadPageFault,
        (Fault::Page, Access::Write) => Exception::StorePageFault,
        (Fault::Page, Access::Execute) => Exception::InstructionPageFault,
        (Fault::Access, Access::Read) => Exception::LoadAccessFault,
        (Fault::Access, Access::Write) => Exception::StoreAccessFault,
        (Fault::Access, Access::Execute) => Exception::InstructionAccessFault,
    };
    Trap::new(cause, address)
}

const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Execute];

/// What a test translates.
#[derive(Clone)]
struct Case {
    csrs: Csrs,
    mode: Mode,
    tables: Tables,
    va: u64,
}

impl Case {
    fn translate(&self, access: Access) -> Result<Translation, Trap> {
        let space = Space {
            mode: self.mode,
            csrs: &self.csrs,
        };
        translate(space, &self.tables, self.va, access)
    }

    fn model(&self, access: Access) -> Result<u64, Trap> {
        model(&self.csrs, self.mode, &self.tables, self.va, access)
            .map_err(|fault| trap(fault, access, self.va))
    }

    /// Whether the model allows an access without changing a thing.
    fn allowed_already(&self, access: Access) -> bool {
        let mut still = self.clone();
        still.csrs.menvcfg &= !envcfg::ADUE;
        still.model(access).is_ok()
    }
}

/// Flags of a leaf: mostly sensible ones.
fn leaf_flags() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => (0u64..0x400).prop_map(|low| low | V),
        4 => (0u64..0x400).prop_map(|low| low | V | R | A | D),
        6 => (0u64..0x10).prop_map(|high| high << 4 | V | R | W | X),
    ]
}

/// An unusual change to an entry, as a mask to be set.
fn oddity() -> impl Strategy<Value = u64> {
    prop_oneof![
        50 => Just(0),
        1 => (54u32..64).prop_map(|bit| 1 << bit),
        1 => prop::sample::select(vec![A, D, U, G, RSW, W, R, X]),
        1 => Just(3 << 61),
        2 => Just(N),
    ]
}

#[derive(Debug, Clone)]
struct Shape {
    translation: u64,
    mode: Mode,
    mstatus: u64,
    menvcfg: u64,
    asid: u64,
    /// Nine bits for each level, from the last.
    indices: [u64; 5],
    offset: u64,
    /// Levels that point on before the leaf.
    depth: usize,
    oddities: [u64; 5],
    leaf: u64,
    frame: u64,
    /// 0 the frame is aligned for its level, 1 for 64 KiB with PPN[3] set, 2 not at all.
    alignment: u8,
    high_bits: u64,
    pmp: Option<(u64, u8)>,
}

fn shape() -> impl Strategy<Value = Shape> {
    let space = (
        prop_oneof![
            9 => prop::sample::select(vec![satp::SV39, satp::SV48, satp::SV57]),
            1 => Just(satp::BARE),
        ],
        prop_oneof![
            9 => prop::sample::select(vec![Mode::User, Mode::Supervisor]),
            1 => Just(Mode::Machine),
        ],
        any::<(bool, bool)>(),
        any::<(bool, bool)>(),
        0u64..1 << 16,
    );
    let address = (
        prop::array::uniform5(0u64..512),
        0u64..4096,
        // Mostly canonical.
        prop_oneof![8 => Just(0), 1 => any::<u64>()],
    );
    let entries = (
        0usize..6,
        prop::array::uniform5(oddity()),
        leaf_flags(),
        any::<u64>(),
        0u8..4,
        // A table page that PMP protects, and how.
        prop_oneof![6 => Just(None), 1 => (0u64..6, 0u8..2).prop_map(Some)],
    );
    (space, address, entries).prop_map(|(space, address, entries)| {
        let (translation, mode, (sum, mxr), (adue, pbmte), asid) = space;
        let (indices, offset, high_bits) = address;
        let (depth, oddities, leaf, frame, alignment, pmp) = entries;
        let on = |condition, bit| if condition { bit } else { 0 };
        Shape {
            translation,
            mode,
            mstatus: on(sum, status::SUM) | on(mxr, status::MXR),
            menvcfg: on(adue, envcfg::ADUE) | on(pbmte, envcfg::PBMTE),
            asid,
            indices,
            offset,
            depth,
            oddities,
            leaf,
            frame,
            alignment,
            high_bits,
            pmp,
        }
    })
}

fn build(shape: &Shape) -> Case {
    let levels = match shape.translation {
        satp::SV48 => 4,
        satp::SV57 => 5,
        _ => 3,
    };
    let mut csrs = Csrs::new(0);
    csrs.pmp.open_all();
    csrs.mstatus |= shape.mstatus;
    csrs.menvcfg = shape.menvcfg;
    csrs.satp = shape.translation << 60 | shape.asid << 44 | MEMORY.start >> 12;
    let tables = Tables::default();
    let mut va = shape.offset;
    for (level, index) in shape.indices.iter().take(levels).enumerate() {
        va |= index << (12 + 9 * level);
    }
    let unused = 64 - (12 + 9 * levels as u32);
    va = ((va << unused) as i64 >> unused) as u64;
    va ^= shape.high_bits & !(u64::MAX >> unused);

    // The last pointer of a walk that is too deep leads outside the levels.
    let depth = shape.depth.min(levels);
    let mut table = MEMORY.start;
    for step in 0..=depth.min(levels - 1) {
        let level = levels - 1 - step;
        let slot = table + shape.indices[level] * 8;
        let next = table + 0x1000;
        let entry = if step < depth {
            next >> 12 << 10 | V
        } else {
            let misaligned = match shape.alignment {
                0 | 3 => (1 << (9 * level)) - 1,
                1 => 0xf,
                _ => 0,
            };
            let napot = if shape.alignment == 1 { 8 } else { 0 };
            let ppn = (shape.frame & !misaligned | napot) & ((1 << 44) - 1);
            ppn << 10 | shape.leaf | if shape.alignment == 1 { N } else { 0 }
        };
        let entry = entry | shape.oddities[step];
        // 64 KiB are mapped by sixteen entries that are all the same (Svnapot).
        let repeated = if entry & N != 0 && level == 0 && step == depth {
            (slot & !0x7f..).step_by(8).take(16)
        } else {
            (slot..).step_by(8).take(1)
        };
        repeated.for_each(|slot| tables.set(slot, entry));
        table = next;
    }
    if let Some((page, permissions)) = shape.pmp {
        // A page of tables: nothing allowed, or reading only.
        let start = MEMORY.start + 0x1000 * page;
        csrs.pmp.write_address(0, start >> 2 | 0x1ff);
        csrs.pmp.write_config(0, u64::from(0x18 | permissions));
    }
    Case {
        csrs,
        mode: shape.mode,
        tables,
        va,
    }
}

/// Both implementations on copies of the same case: the address or the fault, and the tables
/// afterwards; then what the translation says of other accesses and addresses.
fn compare(case: &Case, access: Access) -> Result<(), TestCaseError> {
    let (ours, theirs) = (case.clone(), case.clone());
    let translation = ours.translate(access);
    let expected = theirs.model(access);
    prop_assert_eq!(
        translation.map(|translation| translation.physical),
        expected
    );
    prop_assert_eq!(&ours.tables.entries, &theirs.tables.entries);
    let Ok(translation) = translation else {
        return Ok(());
    };
    for (other, claimed) in [
        (Access::Write, translation.writable),
        (Access::Execute, translation.executable),
        (Access::Read, translation.readable),
    ] {
        prop_assert_eq!(claimed, theirs.allowed_already(other), "{:?}", other);
    }
    // The first and the last byte of what the leaf maps are where they should be.
    prop_assert!(translation.page_size.is_power_of_two());
    for offset in [0, translation.page_size - 1] {
        let mut other = theirs.clone();
        other.va = case.va & !(translation.page_size - 1) | offset;
        let physical = translation.physical & !(translation.page_size - 1) | offset;
        prop_assert_eq!(other.model(access), Ok(physical));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn agrees_with_the_model(shape in shape()) {
        let case = build(&shape);
        for access in ACCESSES {
            compare(&case, access)?;
        }
    }

    /// Another hart changes the entry between the walk's load and its update: the walk begins anew
    /// and ends as if the change had come first.
    #[test]
    fn agrees_when_an_entry_changes_meanwhile(
        shape in shape(),
        change in prop::sample::select(vec![V, R, W, X, U, A, D, 1 << 8, 1 << 12, 1 << 60]),
    ) {
        let mut case = build(&shape);
        case.csrs.menvcfg |= envcfg::ADUE;
        for access in ACCESSES {
            let before = case.clone();
            before.tables.interference.set(Some(change));
            let result = before.translate(access).map(|translation| translation.physical);
            if before.tables.interference.take().is_some() {
                // Nothing was to be updated.
                prop_assert_eq!(result, case.clone().model(access));
                continue;
            }
            // The entry that would have been updated is the one that the other hart changed.
            let after = case.clone();
            let updated = case.clone();
            prop_assert!(updated.model(access).is_ok());
            let slot = updated.tables.entries.borrow().iter()
                .find(|&(at, entry)| case.tables.get(*at) != *entry)
                .map(|(at, _)| *at)
                .expect("an update");
            after.tables.set(slot, case.tables.get(slot) ^ change);
            prop_assert_eq!(result, after.model(access));
            prop_assert_eq!(&before.tables.entries, &after.tables.entries);
        }
    }
}

/// The generator reaches what it is meant to reach: translations of all sizes and all faults.
#[test]
fn shapes_are_varied() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut sizes = BTreeMap::new();
    let (mut page_faults, mut access_faults, mut updates) = (0, 0, 0);
    for _ in 0..6000 {
        let case = build(&shape().new_tree(&mut runner).unwrap().current());
        let before = case.tables.clone();
        match case.translate(Access::Read) {
            Ok(translation) => *sizes.entry(translation.page_size).or_insert(0) += 1,
            Err(trap) if trap.cause == Exception::LoadPageFault => page_faults += 1,
            Err(_) => access_faults += 1,
        }
        if before.entries != case.tables.entries {
            updates += 1;
        }
    }
    for size in [12, 16, 21, 30, 39, 48] {
        let count = sizes.get(&(1u64 << size)).copied().unwrap_or(0);
        assert!(count > 5, "{count} pages of 2^{size} bytes");
    }
    let counts = (page_faults, access_faults, updates);
    assert!(
        page_faults > 500 && access_faults > 20 && updates > 100,
        "{counts:?}"
    );
}

/// One leaf for every combination of its low bits, mode and status: nothing is left to chance where
/// everything can be tried.
#[test]
fn every_combination_of_permissions() {
    for flags in 0..256u64 {
        for mode in [Mode::User, Mode::Supervisor] {
            for bits in 0..8 {
                let shape = Shape {
                    translation: satp::SV39,
                    mode,
                    mstatus: ((bits & 1) * status::SUM) | ((bits >> 1 & 1) * status::MXR),
                    menvcfg: (bits >> 2) * envcfg::ADUE,
                    asid: 0,
                    indices: [1, 2, 3, 0, 0],
                    offset: 0x123,
                    depth: 2,
                    oddities: [0; 5],
                    leaf: flags,
                    frame: 0x8_1234,
                    alignment: 0,
                    high_bits: 0,
                    pmp: None,
                };
                let case = build(&shape);
                for access in ACCESSES {
                    compare(&case, access).unwrap();
                }
            }
        }
    }
}

fn sv39(va: u64) -> Case {
    let mut csrs = Csrs::new(0);
    csrs.pmp.open_all();
    csrs.satp = satp::SV39 << 60 | MEMORY.start >> 12;
    Case {
        csrs,
        mode: Mode::Supervisor,
        tables: Tables::default(),
        va,
    }
}

/// The borders of the address spaces.
#[test]
fn canonical_addresses() {
    for (mode, width) in [(satp::SV39, 39), (satp::SV48, 48), (satp::SV57, 57)] {
        let mut case = sv39(0);
        case.csrs.satp = mode << 60 | MEMORY.start >> 12;
        // Superpages that map all: every root entry is a leaf.
        for index in 0..512 {
            case.tables
                .set(MEMORY.start + 8 * index, V | R | W | X | A | D);
        }
        let half = 1u64 << (width - 1);
        for (va, canonical) in [
            (0, true),
            (half - 1, true),
            (half, false),
            (1 << 63, false),
            (u64::MAX - half, false),
            (half.wrapping_neg(), true),
            (u64::MAX, true),
        ] {
            case.va = va;
            for access in ACCESSES {
                let result = case.translate(access);
                let expected = trap(Fault::Page, access, va);
                assert_eq!(
                    result.err(),
                    (!canonical).then_some(expected),
                    "{va:#x} in {mode}"
                );
            }
        }
    }
}

/// Without translation an address is itself, in M-mode whatever `satp` says.
#[test]
fn untranslated() {
    for (mode, translation) in [
        (Mode::Machine, satp::SV57),
        (Mode::Supervisor, satp::BARE),
        (Mode::User, satp::BARE),
    ] {
        let mut case = sv39(0xffff_0000_1234_5678);
        case.mode = mode;
        case.csrs.satp = translation << 60 | 0x123;
        for access in ACCESSES {
            assert_eq!(case.translate(access).unwrap().physical, case.va);
        }
    }
}

/// A root beyond memory is an access fault of the original kind.
#[test]
fn tables_that_are_not_memory() {
    for access in ACCESSES {
        let mut case = sv39(0x1000);
        case.csrs.satp = satp::SV39 << 60 | satp::PPN;
        let expected = trap(Fault::Access, access, 0x1000);
        assert_eq!(case.translate(access), Err(expected));
    }
}

/// PMP on the tables counts as S-mode's, even where M-mode accesses by MPRV; an update needs the right
/// to write.
#[test]
fn updates_need_writable_tables() {
    let case = |permissions: u8| {
        let mut case = sv39(0x4000_0123);
        let slot = MEMORY.start + 8;
        case.tables.set(slot, 0x8000_0000 >> 2 | V | R | W);
        case.csrs.pmp = Pmp::default();
        case.csrs.pmp.open_all();
        case.csrs.pmp.write_address(0, slot >> 2 | 1);
        case.csrs.pmp.write_config(0, u64::from(0x18 | permissions));
        case
    };
    let fault = trap(Fault::Access, Access::Read, 0x4000_0123);
    assert_eq!(case(0).translate(Access::Read), Err(fault));
    assert_eq!(case(1).translate(Access::Read), Err(fault));
    assert!(case(3).translate(Access::Read).is_ok());
}
