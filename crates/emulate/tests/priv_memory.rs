//! Loads, stores and atomics through translation, protection and devices.

mod common;

use clade_riscv::csr::address::{MSTATUS, SATP, SSTATUS};
use clade_riscv::csr::{envcfg, status};
use clade_riscv::hart::Mode;
use clade_riscv::isa::Op;
use clade_riscv::trap::Exception;

use common::asm::*;
use common::machine::*;
use common::paging::*;

/// Two neighbouring virtual pages, whose frames are apart and in the other order. They share no
/// slot of a TLB of a usual size with the program or with [`ENTRY`].
const PAGE: u64 = 0x4020_0000;
const FIRST: u64 = RAM + 0x9000;
const SECOND: u64 = RAM + 0x8000;
const PATTERN: u64 = 0x8123_4567_89ab_cdef;

const STORES: [(Op, u64); 4] = [(Op::Sb, 1), (Op::Sh, 2), (Op::Sw, 4), (Op::Sd, 8)];
const LOADS: [(Op, u64, bool); 7] = [
    (Op::Lb, 1, true),
    (Op::Lh, 2, true),
    (Op::Lw, 4, true),
    (Op::Lbu, 1, false),
    (Op::Lhu, 2, false),
    (Op::Lwu, 4, false),
    (Op::Ld, 8, true),
];

fn map_both(machine: &Machine, tables: &mut Tables, first: u64, second: u64) {
    tables.map(machine, PAGE, FIRST, 0, first);
    tables.map(machine, PAGE + 0x1000, SECOND, 0, second);
}

/// The bytes of both pages in virtual order.
fn both_pages(machine: &Machine) -> Vec<u8> {
    [machine.read(FIRST, 4096), machine.read(SECOND, 4096)].concat()
}

/// Every alignment, in a page and across two, against an array of bytes.
#[test]
fn misaligned_loads_and_stores() {
    for offset in (0..8).chain(0xff8..0x1000) {
        for (op, size) in STORES {
            let (mut machine, mut tables) = translated(|a| {
                a.li(S0, PAGE + offset).li(A0, PATTERN);
                a.s(op, A0, S0, 0).finish();
            });
            map_both(&machine, &mut tables, RWX, RWX);
            let mut expected = both_pages(&machine);
            let at = offset as usize;
            expected[at..at + size as usize]
                .copy_from_slice(&PATTERN.to_le_bytes()[..size as usize]);
            assert_eq!(trap_of(&mut machine), None);
            assert_eq!(both_pages(&machine), expected, "{op:?} at {offset:#x}");
        }
        let (mut machine, mut tables) = translated(|a| {
            a.li(S0, PAGE + offset);
            for (register, (op, ..)) in (A0..).zip(LOADS) {
                a.i(op, register, S0, 0);
            }
            a.finish();
        });
        map_both(&machine, &mut tables, RWX, RWX);
        machine.write_u64(FIRST, PATTERN);
        machine.write_u64(FIRST + 8, !PATTERN);
        machine.write_u64(FIRST + 0xff8, PATTERN);
        machine.write_u64(SECOND, !PATTERN);
        let bytes = both_pages(&machine);
        assert_eq!(trap_of(&mut machine), None);
        for (register, (op, size, signed)) in (A0..).zip(LOADS) {
            let mut value = [0; 8];
            let at = offset as usize;
            value[..size as usize].copy_from_slice(&bytes[at..at + size as usize]);
            let value = u64::from_le_bytes(value);
            let unused = 64 - 8 * size;
            let expected = match signed {
                true => ((value << unused) as i64 >> unused) as u64,
                false => value,
            };
            assert_eq!(machine.x(register), expected, "{op:?} at {offset:#x}");
        }
    }
}

/// The fault names the page that is missing, and nothing of the access has happened.
#[test]
fn a_misaligned_access_that_faults_on_one_page_changes_nothing() {
    let read_only = V | R | A;
    for (flags, faulting) in [
        ((RWX, 0), PAGE + 0x1000),
        ((RWX, read_only), PAGE + 0x1000),
        ((0, RWX), PAGE + 0xffb),
        ((read_only, RWX), PAGE + 0xffb),
        ((0, 0), PAGE + 0xffb),
    ] {
        let (mut machine, mut tables) = translated(|a| {
            a.li(S0, PAGE + 0xffb).li(A0, !0).s(Op::Sd, A0, S0, 0);
            a.finish();
        });
        map_both(&machine, &mut tables, flags.0, flags.1);
        machine.write_u64(FIRST + 0xff8, PATTERN);
        machine.write_u64(SECOND, PATTERN);
        let before = both_pages(&machine);
        assert_eq!(
            trap_of(&mut machine),
            trap(Exception::StorePageFault, faulting)
        );
        assert!(both_pages(&machine) == before, "with {flags:?}");
    }
    let (mut machine, mut tables) = translated(|a| {
        a.li(S0, PAGE + 0xffd).li(A0, 7).i(Op::Lw, A0, S0, 0);
        a.finish();
    });
    map_both(&machine, &mut tables, RWX, 0);
    assert_eq!(
        trap_of(&mut machine),
        trap(Exception::LoadPageFault, PAGE + 0x1000)
    );
    assert_eq!(machine.x(A0), 7, "the destination is unchanged");
}

#[test]
fn accesses_across_the_end_of_memory() {
    for (op, cause) in [
        (Op::Sd, Exception::StoreAccessFault),
        (Op::Ld, Exception::LoadAccessFault),
    ] {
        let end = RAM + RAM_SIZE;
        let (mut machine, _) = translated(|a| {
            a.li(S0, end - 4).li(A0, !0);
            match op {
                Op::Sd => a.s(op, A0, S0, 0),
                _ => a.i(op, A0, S0, 0),
            };
            a.finish();
        });
        machine.set_hart(0, |hart| hart.csrs.satp = 0);
        assert_eq!(trap_of(&mut machine), trap(cause, end));
        assert_eq!(machine.read(end - 4, 4), [0; 4]);
    }
}

#[test]
fn misaligned_atomics_trap() {
    let stores = [
        (Op::ScW, 2),
        (Op::ScD, 4),
        (Op::AmoaddW, 1),
        (Op::AmoswapD, 4),
        (Op::AmocasW, 2),
        (Op::AmocasD, 1),
        (Op::AmocasQ, 8),
    ];
    for (op, offset) in stores {
        let (mut machine, mut tables) = translated(|a| {
            a.li(S0, PAGE + offset).r(op, A0, S0, A2).finish();
        });
        map_both(&machine, &mut tables, RWX, RWX);
        let expected = trap(Exception::StoreAddressMisaligned, PAGE + offset);
        assert_eq!(trap_of(&mut machine), expected, "{op:?}");
    }
    for (op, offset) in [(Op::LrW, 2), (Op::LrD, 4)] {
        let (mut machine, mut tables) = translated(|a| {
            a.li(S0, PAGE + offset).r(op, A0, S0, ZERO).finish();
        });
        map_both(&machine, &mut tables, RWX, RWX);
        let expected = trap(Exception::LoadAddressMisaligned, PAGE + offset);
        assert_eq!(trap_of(&mut machine), expected, "{op:?}");
    }
}

/// An AMO faults as a store even where it could read (unprivileged spec, "A").
#[test]
fn atomics_on_read_only_pages_fault_as_stores() {
    for (op, cause) in [
        (Op::AmoaddW, Some(Exception::StorePageFault)),
        (Op::AmocasD, Some(Exception::StorePageFault)),
        (Op::AmocasQ, Some(Exception::StorePageFault)),
        (Op::LrD, None),
    ] {
        let (mut machine, mut tables) = translated(|a| {
            a.li(S0, PAGE).r(op, A0, S0, ZERO).finish();
        });
        map_both(&machine, &mut tables, V | R | A, 0);
        let expected = cause.and_then(|cause| trap(cause, PAGE));
        assert_eq!(trap_of(&mut machine), expected, "{op:?}");
    }
}

#[test]
fn devices_see_aligned_accesses_of_every_size() {
    let (mut machine, _) = translated(|a| {
        a.li(S0, LOG).li(A0, PATTERN);
        for (index, (op, _)) in STORES.into_iter().enumerate() {
            a.s(op, A0, S0, 8 * index as i32);
        }
        for (register, (op, ..)) in (A1..).zip(LOADS) {
            a.i(op, register, S0, 0);
        }
        a.finish();
    });
    machine.set_hart(0, |hart| hart.csrs.satp = 0);
    assert_eq!(trap_of(&mut machine), None);
    let expected = [
        (0, 1, 0xef),
        (8, 2, 0xcdef),
        (16, 4, 0x89ab_cdef),
        (24, 8, PATTERN),
    ];
    assert_eq!(*machine.board.log.lock().unwrap(), expected);
    for (register, (op, size, signed)) in (A1..).zip(LOADS) {
        let value = 0xa5a5_a5a5_a5a5_a5a5 >> (64 - 8 * size);
        let sign = if signed && size < 8 {
            !0 << (8 * size)
        } else {
            0
        };
        assert_eq!(machine.x(register), value | sign, "{op:?}");
    }
}

#[test]
fn what_devices_do_not_support_is_an_access_fault() {
    let cases = [
        (Op::Ld, NOWHERE, Exception::LoadAccessFault),
        (Op::Lb, NOWHERE, Exception::LoadAccessFault),
        (Op::Sw, NOWHERE, Exception::StoreAccessFault),
        (Op::Lw, LOG + 1, Exception::LoadAccessFault),
        (Op::Sd, LOG + 4, Exception::StoreAccessFault),
        (Op::LrW, LOG, Exception::LoadAccessFault),
        (Op::ScD, LOG, Exception::StoreAccessFault),
        (Op::AmoaddW, LOG, Exception::StoreAccessFault),
        (Op::AmocasQ, LOG, Exception::StoreAccessFault),
        (Op::CboZero, LOG, Exception::StoreAccessFault),
        // Beyond the 56 bits of physical addresses.
        (Op::Ld, 1 << 60, Exception::LoadAccessFault),
        (Op::Sd, !7, Exception::StoreAccessFault),
    ];
    for (op, address, cause) in cases {
        let (mut machine, _) = translated(|a| {
            a.li(S0, address);
            match op {
                Op::Ld | Op::Lw | Op::Lb | Op::CboZero => a.i(op, 0, S0, 0),
                Op::Sd | Op::Sw => a.s(op, A0, S0, 0),
                _ => a.r(op, 0, S0, ZERO),
            };
            a.finish();
        });
        machine.set_hart(0, |hart| {
            hart.csrs.satp = 0;
            hart.csrs.menvcfg |= envcfg::CBZE;
        });
        assert_eq!(trap_of(&mut machine), trap(cause, address), "{op:?}");
        assert!(machine.board.log.lock().unwrap().is_empty());
    }
}

/// Where programs find the page-table entry that they change.
const ENTRY: u64 = 0x5000_7000;

/// Maps the page of `slot` at [`ENTRY`]'s page and returns the slot's virtual address.
fn expose(machine: &Machine, tables: &mut Tables, slot: u64) -> u64 {
    tables.map(machine, ENTRY, slot & !0xfff, 0, RWX);
    ENTRY | slot & 0xfff
}

/// A leaf of each size is replaced; after `sfence.vma` for one of its addresses every page that it
/// maps is the new one (privileged spec 12.2.1).
#[test]
fn sfence_vma_by_address_covers_the_whole_leaf() {
    const MEGA: u64 = 2 << 20;
    // Level, extra flags, the address of the fence and of another page of the leaf.
    let leaves = [
        (0, 0, PAGE, PAGE),
        (1, 0, PAGE + 0x5000, PAGE + 0x1f_e000),
        (1, 0, PAGE + 0x1f_f000, PAGE + 0x6000),
        // 64 KiB: one of the sixteen entries is enough for the walk that follows.
        (0, N, PAGE + 0x3000, PAGE + 0xf000),
    ];
    for op in [Op::SfenceVma, Op::SinvalVma] {
        for (level, extra, fenced, other) in leaves {
            let (mut machine, mut tables) = translated(|a| {
                a.li(S0, fenced).li(S1, other);
                a.i(Op::Ld, A0, S0, 0).i(Op::Ld, A1, S1, 0);
                // The new entry is in A7, and goes into A6 slots from T0 on.
                a.label("next").s(Op::Sd, A7, T0, 0).addi(T0, T0, 8);
                a.addi(A6, A6, -1).b(Op::Bne, A6, ZERO, "next");
                a.r(op, ZERO, S0, ZERO);
                a.i(Op::Ld, A2, S0, 0).i(Op::Ld, A3, S1, 0);
                a.finish();
            });
            let (old, new) = match level {
                0 => (RAM + 0x2_0000, RAM + 0x3_0000),
                _ => (RAM, RAM + MEGA),
            };
            // The NAPOT encoding of 64 KiB sets PPN[3].
            let napot = if extra == N { 8 << 12 } else { 0 };
            let slots = if extra == N { 16 } else { 1 };
            for page in 0..slots {
                tables.map(
                    &machine,
                    PAGE + 0x1000 * page,
                    old | napot,
                    level,
                    RWX | extra,
                );
            }
            let slot = tables.slot(&machine, PAGE, level);
            let exposed = expose(&machine, &mut tables, slot);
            let at = |base: u64, address: u64| base + (address - PAGE);
            for (frame, value) in [(old, 100), (new, 200)] {
                machine.write_u64(at(frame, fenced), value + 1);
                machine.write_u64(at(frame, other), value + 2);
            }
            machine.set_hart(0, |hart| {
                hart.x[usize::from(T0)] = exposed;
                hart.x[usize::from(A6)] = slots;
                hart.x[usize::from(A7)] = entry(new | napot, RWX | extra);
            });
            assert_eq!(trap_of(&mut machine), None);
            let first = if fenced == other { 102 } else { 101 };
            let seen = [A0, A1, A2, A3].map(|register| machine.x(register));
            assert_eq!(
                seen,
                [first, 102, first + 100, 202],
                "{op:?} {level} {extra:#x}"
            );
        }
    }
}

/// Fences for one address space, by the register's value and not by its number.
#[test]
fn sfence_vma_by_address_space() {
    for (asid, by_address) in [(0, false), (7, false), (7, true), (0xffff, true)] {
        let (mut machine, mut tables) = translated(|a| {
            a.li(S0, PAGE).li(S1, asid);
            a.i(Op::Ld, A0, S0, 0).s(Op::Sd, A7, T0, 0);
            a.r(Op::SfenceVma, ZERO, if by_address { S0 } else { ZERO }, S1);
            a.i(Op::Ld, A1, S0, 0).finish();
        });
        let slot = tables.map(&machine, PAGE, FIRST, 0, RWX);
        let exposed = expose(&machine, &mut tables, slot);
        machine.write_u64(FIRST, 1);
        machine.write_u64(SECOND, 2);
        let satp = tables.satp(asid);
        machine.set_hart(0, |hart| {
            hart.x[usize::from(T0)] = exposed;
            hart.x[usize::from(A7)] = entry(SECOND, RWX);
            hart.csrs.satp = satp;
        });
        assert_eq!(trap_of(&mut machine), None);
        assert_eq!(
            (machine.x(A0), machine.x(A1)),
            (1, 2),
            "{asid} {by_address}"
        );
    }
}

/// A change made while another address space was in use is seen on return after a fence for the
/// first one, made from the second.
#[test]
fn sfence_vma_for_another_address_space() {
    let (mut machine, mut tables) = translated(|a| {
        a.li(S0, PAGE).li(S1, 5);
        a.i(Op::Ld, A0, S0, 0).csrw(SATP, S3).s(Op::Sd, A7, T0, 0);
        a.r(Op::SfenceVma, ZERO, ZERO, S1).csrw(SATP, S2);
        a.i(Op::Ld, A1, S0, 0).finish();
    });
    let mut other = Tables::new(RAM + 0x11_0000);
    other.map(&machine, RAM, RAM, 0, RWX);
    let slot = tables.map(&machine, PAGE, FIRST, 0, RWX);
    other.map(&machine, ENTRY, slot & !0xfff, 0, RWX);
    machine.write_u64(FIRST, 1);
    machine.write_u64(SECOND, 2);
    let (first, second) = (tables.satp(5), other.satp(6));
    machine.set_hart(0, |hart| {
        hart.x[usize::from(T0)] = ENTRY | slot & 0xfff;
        hart.x[usize::from(A7)] = entry(SECOND, RWX);
        hart.x[usize::from(S2)] = first;
        hart.x[usize::from(S3)] = second;
        hart.csrs.satp = first;
    });
    assert_eq!(trap_of(&mut machine), None);
    assert_eq!((machine.x(A0), machine.x(A1)), (1, 2));
}

/// A load sets A, the first store D; after the kernel has cleared D and fenced, the next store
/// sets it again (Svadu).
#[test]
fn accessed_and_dirty_bits() {
    let (mut machine, mut tables) = translated(|a| {
        a.li(S0, PAGE);
        a.i(Op::Ld, ZERO, S0, 0).i(Op::Ld, A0, T0, 0);
        a.s(Op::Sd, ZERO, S0, 0).i(Op::Ld, A1, T0, 0);
        a.i(Op::Andi, T1, A1, !(D as i32)).s(Op::Sd, T1, T0, 0);
        a.r(Op::SfenceVma, ZERO, S0, ZERO);
        a.i(Op::Ld, ZERO, S0, 0).i(Op::Ld, A2, T0, 0);
        a.r(Op::AmoaddD, ZERO, S0, ZERO).i(Op::Ld, A3, T0, 0);
        a.finish();
    });
    let slot = tables.map(&machine, PAGE, FIRST, 0, V | R | W);
    let exposed = expose(&machine, &mut tables, slot);
    machine.set_hart(0, |hart| hart.x[usize::from(T0)] = exposed);
    assert_eq!(trap_of(&mut machine), None);
    let flags = [A0, A1, A2, A3].map(|register| machine.x(register) & 0xff);
    let leaf = V | R | W;
    assert_eq!(flags, [leaf | A, leaf | A | D, leaf | A, leaf | A | D]);
}

#[test]
fn without_hardware_updates_clear_bits_fault() {
    for (flags, op, cause) in [
        (V | R | W, Op::Ld, Some(Exception::LoadPageFault)),
        (V | R | W | A, Op::Ld, None),
        (V | R | W | A, Op::Sd, Some(Exception::StorePageFault)),
        (V | R | W | D, Op::Sd, Some(Exception::StorePageFault)),
        (V | R | W | A | D, Op::Sd, None),
    ] {
        let (mut machine, mut tables) = translated(|a| {
            a.li(S0, PAGE);
            match op {
                Op::Sd => a.s(op, ZERO, S0, 0),
                _ => a.i(op, A0, S0, 0),
            };
            a.finish();
        });
        let slot = tables.map(&machine, PAGE, FIRST, 0, flags);
        machine.set_hart(0, |hart| hart.csrs.menvcfg = 0);
        let expected = cause.and_then(|cause| trap(cause, PAGE));
        assert_eq!(trap_of(&mut machine), expected, "{flags:#x} {op:?}");
        assert_eq!(machine.read_u64(slot) & 0xff, flags);
    }
}

/// SUM and MXR take effect at once, without any fence.
#[test]
fn sum_and_mxr_act_at_once() {
    let user = V | R | W | U | A | D;
    let access = |bits: u64, flags: u64, prime: bool| {
        let (mut machine, mut tables) = translated(|a| {
            a.li(S0, PAGE).li(T0, bits).li(A0, 0);
            if prime {
                a.csr(Op::Csrrs, ZERO, SSTATUS, T0)
                    .i(Op::Ld, A0, S0, 0)
                    .csr(Op::Csrrc, ZERO, SSTATUS, T0);
            }
            a.i(Op::Ld, A1, S0, 0).finish();
        });
        tables.map(&machine, PAGE, FIRST, 0, flags);
        machine.write_u64(FIRST, 9);
        let trap = trap_of(&mut machine);
        (machine.x(A0), trap)
    };
    let fault = trap(Exception::LoadPageFault, PAGE);
    assert_eq!(access(status::SUM, user, false), (0, fault));
    assert_eq!(access(status::SUM, user, true), (9, fault));
    assert_eq!(access(status::MXR, V | X | A, false), (0, fault));
    assert_eq!(access(status::MXR, V | X | A, true), (9, fault));
}

/// With MPRV, M-mode's loads and stores follow MPP's rules, its fetches do not (3.1.6.3).
#[test]
fn modify_privilege() {
    for (mpp, flags, allowed) in [
        (Mode::User, V | R | U | A, true),
        (Mode::User, V | R | A, false),
        (Mode::Supervisor, V | R | A, true),
        (Mode::Supervisor, V | R | U | A, false),
    ] {
        let (mut machine, mut tables) = translated(|a| {
            a.li(S0, PAGE).li(T0, status::MPRV);
            a.csr(Op::Csrrs, ZERO, MSTATUS, T0).i(Op::Ld, A0, S0, 0);
            a.csr(Op::Csrrc, ZERO, MSTATUS, T0).finish();
        });
        tables.map(&machine, PAGE, FIRST, 0, flags);
        machine.write_u64(FIRST, 9);
        // The handler runs with MPRV still set.
        let finisher = RWX | if mpp == Mode::User { U } else { 0 };
        tables.map(&machine, FINISHER, FINISHER, 0, finisher);
        machine.set_hart(0, |hart| {
            hart.mode = Mode::Machine;
            hart.csrs.mstatus |= (mpp as u64) << status::MPP_SHIFT;
        });
        // A trap sets MPP to M, so the handler stores untranslated.
        let expected = (!allowed)
            .then(|| trap(Exception::LoadPageFault, PAGE))
            .flatten();
        assert_eq!(trap_of(&mut machine), expected);
        assert_eq!(machine.x(A0), if allowed { 9 } else { 0 });
    }
}

/// Protection finer than a page: what may be done is asked for each access.
#[test]
fn pmp_finer_than_a_page() {
    // Entry 0: eight bytes read-only at FIRST + 0x100, entry 1: the 256 bytes from FIRST + 0x200
    // not at all.
    let napot = |start: u64, size: u64| (start >> 2) | (size / 8 - 1);
    let cases = [
        (Op::Ld, 0x100, None),
        (Op::Sd, 0x100, Some((Exception::StoreAccessFault, 0x100))),
        (Op::Sd, 0x0f8, None),
        // Straddles the entry's start: no single entry covers it (3.7.1.3).
        (Op::Sd, 0x0fc, Some((Exception::StoreAccessFault, 0x0fc))),
        (Op::Ld, 0x0fc, Some((Exception::LoadAccessFault, 0x0fc))),
        (Op::Ld, 0x200, Some((Exception::LoadAccessFault, 0x200))),
        (Op::Ld, 0x300, None),
    ];
    for (op, offset, cause) in cases {
        let (mut machine, mut tables) = translated(|a| {
            // The neighbourhood first, so that nothing can be cached from it.
            a.li(S0, PAGE).s(Op::Sd, ZERO, S0, 0).i(Op::Ld, A1, S0, 0);
            a.li(S0, PAGE + offset);
            match op {
                Op::Sd => a.s(op, S0, S0, 0),
                _ => a.i(op, A0, S0, 0),
            };
            a.finish();
        });
        tables.map(&machine, PAGE, FIRST, 0, RWX);
        machine.set_hart(0, |hart| {
            let pmp = &mut hart.csrs.pmp;
            pmp.write_address(0, napot(FIRST + 0x100, 8));
            pmp.write_address(1, napot(FIRST + 0x200, 0x100));
            pmp.write_config(0, 0x18 << 8 | 0x19);
        });
        let expected = cause.and_then(|(cause, at)| trap(cause, PAGE + at));
        assert_eq!(trap_of(&mut machine), expected, "{op:?} {offset:#x}");
    }
}

/// Code in a page that protection divides: the page's first half may run.
#[test]
fn pmp_divides_a_page_of_code() {
    let (mut machine, mut tables) = translated(|a| {
        a.li(S0, PAGE + 0x7f8).i(Op::Jalr, RA, S0, 0).finish();
    });
    tables.map(&machine, PAGE, FIRST, 0, RWX);
    machine.assemble(FIRST + 0x7f8, |a| {
        // The last instruction straddles the border.
        a.addi(A0, A0, 1).half(1).addi(A0, A0, 16);
    });
    machine.set_hart(0, |hart| {
        // Top of range: [FIRST, FIRST + 0x800) by entry 1, then nothing until the page's end.
        let pmp = &mut hart.csrs.pmp;
        pmp.write_address(0, FIRST >> 2);
        pmp.write_address(1, (FIRST + 0x800) >> 2);
        pmp.write_address(2, (FIRST + 0x1000) >> 2);
        pmp.write_config(0, 0x08 << 16 | 0x0f << 8);
    });
    assert_eq!(
        trap_of(&mut machine),
        trap(Exception::InstructionAccessFault, PAGE + 0x800)
    );
    assert_eq!(machine.x(A0), 1);
    assert_eq!(machine.hart(0).csrs.mepc, PAGE + 0x7fe);
}

/// The tables themselves are read under PMP as S-mode reads; the fault is an access fault of the
/// original kind (12.3.2).
#[test]
fn page_tables_that_pmp_hides() {
    for (op, cause) in [
        (Op::Ld, Exception::LoadAccessFault),
        (Op::Sd, Exception::StoreAccessFault),
    ] {
        let (mut machine, mut tables) = translated(|a| {
            a.li(S0, PAGE);
            match op {
                Op::Sd => a.s(op, ZERO, S0, 0),
                _ => a.i(op, A0, S0, 0),
            };
            a.finish();
        });
        let slot = tables.map(&machine, PAGE, FIRST, 0, RWX);
        machine.set_hart(0, |hart| {
            // Four bytes of the entry are enough.
            hart.csrs.pmp.write_address(0, slot >> 2);
            hart.csrs.pmp.write_config(0, 0x10);
        });
        assert_eq!(trap_of(&mut machine), trap(cause, PAGE));
    }
}

const CBOS: [(Op, u64); 4] = [
    (Op::CboInval, envcfg::CBIE),
    (Op::CboClean, envcfg::CBCFE),
    (Op::CboFlush, envcfg::CBCFE),
    (Op::CboZero, envcfg::CBZE),
];

/// `menvcfg` gates S-mode, and both it and `senvcfg` gate U-mode (CMO spec 2.4).
#[test]
fn cache_blocks_are_gated() {
    let all = envcfg::CBIE | envcfg::CBCFE | envcfg::CBZE;
    for (op, bit) in CBOS {
        for (mode, menvcfg, senvcfg, allowed) in [
            (Mode::Machine, 0, 0, true),
            (Mode::Supervisor, all, 0, true),
            (Mode::Supervisor, all & !bit, all, false),
            (Mode::User, all, all, true),
            (Mode::User, all & !bit, all, false),
            (Mode::User, all, all & !bit, false),
        ] {
            let (mut machine, _) = translated(|a| {
                a.li(S0, SECOND + 0x47).i(op, 0, S0, 0).finish();
            });
            machine.write(SECOND, &[0xff; 256]);
            machine.set_hart(0, |hart| {
                hart.mode = mode;
                hart.csrs.satp = 0;
                hart.csrs.menvcfg = menvcfg;
                hart.csrs.senvcfg = senvcfg;
            });
            let word = immediate(op, 0, S0, 0);
            let expected = (!allowed)
                .then(|| trap(Exception::IllegalInstruction, u64::from(word)))
                .flatten();
            assert_eq!(trap_of(&mut machine), expected, "{op:?} {mode:?}");
            // The block of 64 bytes around the address, and only it.
            let zeroed = allowed && op == Op::CboZero;
            let mut bytes = [0xff; 256];
            bytes[0x40..0x80].fill(if zeroed { 0 } else { 0xff });
            assert_eq!(machine.read(SECOND, 256), bytes, "{op:?}");
        }
    }
}

/// Managing a block needs the right to read or to write it; both faults are a store's (CMO spec
/// 2.5.2). Zeroing needs the right to write.
#[test]
fn cache_blocks_need_permission() {
    for (op, _) in CBOS {
        for (flags, allowed) in [
            (0, false),
            (V | X | A, false),
            (V | R | A, op != Op::CboZero),
            (V | R | W | A | D, true),
        ] {
            let (mut machine, mut tables) = translated(|a| {
                a.li(S0, PAGE).i(op, 0, S0, 0).finish();
            });
            tables.map(&machine, PAGE, FIRST, 0, flags);
            machine.set_hart(0, |hart| {
                hart.csrs.menvcfg |= envcfg::CBIE | envcfg::CBCFE | envcfg::CBZE;
            });
            let expected = (!allowed)
                .then(|| trap(Exception::StorePageFault, PAGE))
                .flatten();
            assert_eq!(trap_of(&mut machine), expected, "{op:?} {flags:#x}");
        }
    }
}
