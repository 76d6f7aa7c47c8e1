use super::*;

const ALL: Rights = Rights {
    read: true,
    write: true,
    execute: true,
};
const HOST: HostAddress = HostAddress(0x7000_0000_0000);

fn found(tlb: &Tlb, address: u64) -> bool {
    let member = tlb.member(Context::User);
    tlb.read(member, address, 1).is_some()
        || tlb.write(member, address, 1).is_some()
        || tlb.execute(member, address).is_some()
}

fn insert(tlb: &mut Tlb, address: u64) {
    let member = tlb.member(Context::User);
    tlb.insert(member, address, HOST, (PAGE_SIZE, false), ALL);
}

#[test]
fn page_0_is_found_only_when_it_was_inserted() {
    for size in [2, 64, 4096] {
        let mut tlb = Tlb::new(size, size);
        let forget: [fn(&mut Tlb); 3] = [
            Tlb::flush,
            |tlb| tlb.flush_page(0, None),
            |tlb| tlb.flush_asid(0),
        ];
        for forget in forget {
            assert!(!found(&tlb, 0));
            insert(&mut tlb, 0);
            assert!(found(&tlb, 0));
            forget(&mut tlb);
        }
        assert!(!found(&tlb, 0));
    }
}

/// Generated code takes the entry of an access's first byte and compares the page of its last.
#[test]
fn no_entry_of_the_last_page_is_found_for_page_0() {
    for size in [2, 64, 4096] {
        let mut tlb = Tlb::new(size, size);
        let last = u64::MAX << PAGE_SHIFT;
        let entry = |tlb: &Tlb| *tlb.entry(tlb.member(Context::User), last);
        assert!(entry(&tlb).read != 0 && entry(&tlb).write != 0);
        for forget in [Tlb::flush, |tlb: &mut Tlb| tlb.flush_page(u64::MAX, None)] {
            insert(&mut tlb, last);
            assert!(found(&tlb, last));
            forget(&mut tlb);
            assert!(!found(&tlb, last));
            assert!(entry(&tlb).read != 0 && entry(&tlb).write != 0);
        }
    }
}

#[test]
fn writes_are_revoked_and_nothing_else() {
    let mut tlb = Tlb::new(4096, 4096);
    let pages: Vec<u64> = (0..5000).map(|page| page << PAGE_SHIFT).collect();
    pages.iter().for_each(|&page| insert(&mut tlb, page));
    tlb.revoke_writes();
    let member = tlb.member(Context::User);
    for page in pages {
        assert!(tlb.write(member, page, 1).is_none());
        let latest = page >> PAGE_SHIFT >= 5000 - 4096;
        assert_eq!(tlb.read(member, page, 1).is_some(), latest);
    }
}

#[test]
fn address_spaces_are_kept_until_there_are_too_many() {
    let mut tlb = Tlb::new(64, 64);
    let spaces: Vec<u64> = (1..=SPACES as u64).collect();
    for &space in &spaces {
        tlb.choose(space);
        insert(&mut tlb, space << PAGE_SHIFT);
    }
    for &space in &spaces {
        tlb.choose(space);
        assert!(found(&tlb, space << PAGE_SHIFT));
        assert!(!found(&tlb, (space + 1) << PAGE_SHIFT));
    }
    tlb.choose(100);
    assert!((0..100).all(|page| !found(&tlb, page << PAGE_SHIFT)));
    tlb.choose(1);
    assert!(!found(&tlb, 1 << PAGE_SHIFT));
    tlb.choose(3);
    assert!(found(&tlb, 3 << PAGE_SHIFT));
}

#[test]
fn a_shrunk_tlb_has_nothing_and_is_in_the_same_address_space() {
    let mut tlb = Tlb::new(64, 64);
    for satp in [1, 2, 1] {
        tlb.choose(satp);
        insert(&mut tlb, 0x5000);
        tlb.insert_jump(Context::User, 0x5002, 7);
    }
    let changes = tlb.changes();
    tlb.shrink();
    assert_ne!(tlb.changes(), changes);
    assert!(!found(&tlb, 0x5000));
    insert(&mut tlb, 0x5000);
    tlb.choose(1);
    assert!(found(&tlb, 0x5000), "it was there all the time");
    tlb.choose(2);
    assert!(!found(&tlb, 0x5000));
}

#[test]
fn flushed_jumps_are_gone_in_every_part() {
    for size in [2, 64, 4096] {
        let mut tlb = Tlb::new(size, size);
        let jump = |tlb: &Tlb, pc: u64| {
            let jumps = &tlb.members[tlb.index(Context::User)].jumps;
            let jump = jumps[jump_slot(pc, size)];
            (jump.pc == pc).then_some(jump.code)
        };
        for forget in [Tlb::flush, Tlb::flush_jumps] {
            for pc in [0, 2, 126, 4096, 8190] {
                tlb.insert_jump(Context::User, pc, 7);
                assert_eq!(jump(&tlb, pc), Some(7));
            }
            forget(&mut tlb);
            for pc in [0, 2, 126, 4096, 8190] {
                assert_eq!(jump(&tlb, pc), None, "{pc} of {size}");
            }
        }
    }
}
