//! What a PC starts from, built here.

use clade_engine::GuestRam;
use vm_memory::{Bytes, GuestAddress};

use super::*;

const MIB: u64 = 1 << 20;
const FREE: Range<u64> = MIB..64 * MIB;

/// A `bzImage` whose 64-bit part is `code`, that prefers to be at 16 MiB and works in 4 MiB.
fn bzimage(code: &[u8]) -> Vec<u8> {
    const SETUP: usize = 2 * 512;
    let mut file = vec![0; SETUP];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1f4, &(code.len() as u32 / 16).to_le_bytes());
    put(0x201, &[0x6a]);
    put(0x202, b"HdrS");
    put(0x206, &0x20f_u16.to_le_bytes());
    put(0x211, &[1]);
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(0x234, &[1]);
    put(0x236, &1_u16.to_le_bytes());
    put(0x238, &2047_u32.to_le_bytes());
    put(0x258, &(16 * MIB).to_le_bytes());
    put(0x260, &(4 * MIB as u32).to_le_bytes());
    file.extend(code);
    file
}

fn source(bytes: Vec<u8>) -> Source {
    Source::from_bytes("file", bytes).expect("a file")
}

fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), FREE.end as usize)]).expect("memory")
}

fn load_into(free: Range<u64>, kernel: Vec<u8>) -> Result<Placement, Problem> {
    let initrd = Some(source(vec![9; 5000]));
    load(Some(source(kernel)), initrd, &ram(), free).map_err(|error| error.problem)
}

fn refused(kernel: Vec<u8>) -> String {
    load_into(FREE, kernel).expect_err("refused").to_string()
}

fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = bzimage(&[0x90; 1024]);
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn a_bzimage_goes_where_it_prefers_to_be() {
    let ram = ram();
    let mut file = bzimage(&[0x90; 1024]);
    file.extend(b"a signature, which is no part of it");
    let initrd = Some(source(vec![9; 5000]));
    let placed = load(Some(source(file)), initrd, &ram, FREE).expect("loaded");
    assert_eq!(placed.entry, Entry::Linux(16 * MIB + 0x200));
    assert_eq!(placed.kernel.range, 16 * MIB..16 * MIB + 1024);
    assert_eq!(placed.command_line_max, 2047);
    let start = FREE.end - 8192;
    assert_eq!(placed.initrd, Some(start..start + 5000));
    let mut bytes = [0; 1025];
    ram.read_slice(&mut bytes, GuestAddress(16 * MIB))
        .expect("memory");
    assert_eq!(bytes[..1024], [0x90; 1024]);
    assert_eq!(bytes[1024], 0);

    let parameters = BootParameters::new(&placed);
    let page = parameters.bytes();
    assert_eq!(&page[0x202..0x206], b"HdrS");
    assert_eq!(page[0x210], 0xff);
    assert_eq!(page[0x218..0x21c], (start as u32).to_le_bytes());
    assert_eq!(page[0x21c..0x220], 5000_u32.to_le_bytes());
}

#[test]
fn a_small_machine_has_it_at_one_mebibyte() {
    let placed = load_into(MIB..10 * MIB, bzimage(&[0x90; 1024])).expect("loaded");
    assert_eq!(placed.entry, Entry::Linux(MIB + 0x200));
    let initrd = placed.initrd.expect("an initial RAM disk");
    assert!(initrd.start >= 5 * MIB, "not where the kernel works");
    let problem = load_into(MIB..4 * MIB, bzimage(&[0x90; 1024])).expect_err("no room");
    assert!(matches!(problem, Problem::TooLarge { .. }), "{problem}");
    // Some cannot be elsewhere.
    let mut fixed = bzimage(&[0x90; 1024]);
    fixed[0x234] = 0;
    assert!(load_into(MIB..10 * MIB, fixed).is_err());
}

#[test]
fn the_initial_ram_disk_is_where_the_kernel_reaches_it() {
    let kernel = changed(0x22c, &(32 * MIB as u32 - 1).to_le_bytes());
    let placed = load_into(FREE, kernel).expect("loaded");
    let initrd = placed.initrd.expect("an initial RAM disk");
    assert_eq!(initrd.start, 32 * MIB - 8192);
}

#[test]
fn what_is_cut_off_is_refused_wherever_it_ends() {
    let file = bzimage(&[0x90; 1024]);
    for length in [0x206, 0x207, 0x263, 0x264, 1024, 2000, file.len() - 1] {
        let said = refused(file[..length].to_vec());
        assert!(said.contains("cut off"), "{length}: {said}");
    }
}

#[test]
fn kernels_that_cannot_be_started_are_refused_with_the_reason() {
    for (kernel, words) in [
        (changed(0x206, &0x20b_u16.to_le_bytes()), "before Linux 3.8"),
        (changed(0x211, &[0]), "before Linux 3.8"),
        (changed(0x236, &[0, 0]), "32-bit"),
        (changed(0x1f4, &[0; 4]), "damaged"),
        (changed(0x260, &[0xff; 4]), "give the machine more memory"),
        (changed(0x258, &[0xff; 8])[..].to_vec(), ""),
        (vec![0; 4096], "neither a Linux `bzImage`"),
        (b"#!/bin/sh".to_vec(), "a script"),
    ] {
        match load_into(FREE, kernel) {
            Err(problem) => {
                let said = problem.to_string();
                assert!(!words.is_empty() && said.contains(words), "{words}: {said}");
            }
            // A relocatable one that prefers the impossible goes to 1 MiB.
            Ok(placed) => {
                assert!(words.is_empty() && placed.entry == Entry::Linux(MIB + 0x200));
            }
        }
    }
    assert!(load(None, None, &ram(), FREE).is_err());
}

#[test]
fn kernels_for_others_are_named() {
    let mut riscv = vec![0; 4096];
    riscv[0x38..0x3c].copy_from_slice(b"RSC\x05");
    let said = refused(riscv);
    assert!(said.contains("RISC-V") && said.contains("x86-64"), "{said}");
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[18] = 243;
    let said = refused(elf);
    assert!(said.contains("RISC-V") && said.contains("amd64"), "{said}");
}

#[test]
fn a_kernel_without_a_header_is_told_what_it_needs_to_know() {
    let placement = Placement {
        entry: Entry::Linux(MIB),
        kernel: Loaded {
            kind: super::super::Kind::Elf,
            entry: MIB,
            range: MIB..2 * MIB,
        },
        initrd: None,
        command_line_max: 2047,
        setup_header: Vec::new(),
    };
    let mut parameters = BootParameters::new(&placement);
    parameters.set_command_line(0x2_0000);
    parameters.set_acpi_root(0xe_0000);
    for _ in 0..200 {
        parameters.add_memory(MIB..3 * MIB, MemoryKind::Reserved);
    }
    let page = parameters.bytes();
    assert_eq!(&page[0x202..0x206], b"HdrS");
    assert_eq!(page[0x228..0x22c], 0x2_0000_u32.to_le_bytes());
    assert_eq!(page[0x70..0x78], 0xe_0000_u64.to_le_bytes());
    assert_eq!(page[0x1e8], 128);
    let last = &page[0x2d0 + 127 * 20..][..20];
    assert_eq!(last[..8], MIB.to_le_bytes());
    assert_eq!(last[8..16], (2 * MIB).to_le_bytes());
    assert_eq!(last[16..], [2, 0, 0, 0]);
    assert!(page[0xcd0..].iter().all(|byte| *byte == 0));
}

/// An ELF file of one segment at 1 MiB, of which all is part, and a note of PVH's with `desc`.
fn elf_with_note(desc: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 2 * 56;
    let note = [
        &4_u32.to_le_bytes()[..],
        &(desc.len() as u32).to_le_bytes(),
        &18_u32.to_le_bytes(),
        b"Xen\0",
        desc,
    ]
    .concat();
    let size = 0x1000_u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    let words = |file: &mut Vec<u8>, words: &[u64]| {
        words
            .iter()
            .for_each(|word| file.extend(word.to_le_bytes()));
    };
    words(&mut file, &[MIB, 64, 0]);
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    file.extend([1, 0, 0, 0, 7, 0, 0, 0]);
    words(&mut file, &[0, MIB, MIB, size, size, 0x1000]);
    file.extend([4, 0, 0, 0, 4, 0, 0, 0]);
    let length = note.len() as u64;
    words(&mut file, &[HEADERS, 0, 0, length, length, 4]);
    file.extend(note);
    file.resize(size as usize, 0x90);
    file
}

#[test]
fn a_kernel_with_a_note_is_entered_by_pvh() {
    let address = MIB + 0x800;
    for desc in [&(address as u32).to_le_bytes()[..], &address.to_le_bytes()] {
        let placed = load_into(FREE, elf_with_note(desc)).expect("loaded");
        assert_eq!(placed.entry, Entry::Pvh(address as u32));
        assert!(placed.initrd.is_some());
    }
    // Of another kind, of another's, and none.
    for (at, byte) in [(64 + 112 + 8, 17), (64 + 112 + 12, b'Y'), (64 + 56, 0)] {
        let mut file = elf_with_note(&(address as u32).to_le_bytes());
        file[at] = byte;
        let placed = load_into(FREE, file).expect("loaded");
        assert_eq!(placed.entry, Entry::Linux(MIB));
    }
}

#[test]
fn bad_notes_are_refused() {
    for address in [0, MIB - 1, MIB + 0x1000, 1 << 32 | MIB] {
        let said = refused(elf_with_note(&address.to_le_bytes()));
        assert!(said.contains("entry point"), "{said}");
    }
    for desc in [&[][..], &[1, 2, 3], &[0; 5], &[0; 9]] {
        let said = refused(elf_with_note(desc));
        assert!(said.contains("damaged (a bad ELF note)"), "{said}");
    }
    // Longer than its segment, and a segment that is longer than the file.
    for (at, bytes) in [(64 + 112 + 4, 0xffff_u32), (64 + 56 + 32, 0x10_0000)] {
        let mut file = elf_with_note(&(MIB as u32).to_le_bytes());
        file[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
        let said = refused(file);
        assert!(said.contains("damaged (a bad ELF note)"), "{said}");
    }
}

#[test]
fn pvh_tells_where_everything_is() {
    let memory = vec![
        (0..0x9_fc00, MemoryKind::Usable),
        (0xe_0000..MIB, MemoryKind::Reserved),
    ];
    let word =
        |bytes: &[u8], at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("a word"));
    let bytes = StartInfo::new(
        0x7000,
        Some(5 * MIB..6 * MIB),
        0x2_0000,
        0xe_0000,
        memory.clone(),
    )
    .bytes();
    let of = |at| word(&bytes, at);
    assert_eq!(of(0), 1 << 32 | 0x336e_c578);
    assert_eq!(of(8), 1 << 32, "one module");
    assert_eq!([of(16), of(24), of(32)], [0x7038, 0x2_0000, 0xe_0000]);
    assert_eq!([of(40), of(48)], [0x7058, 2]);
    assert_eq!([of(0x38), of(0x40), of(0x48)], [5 * MIB, MIB, 0]);
    assert_eq!([of(0x58), of(0x60), of(0x68)], [0, 0x9_fc00, 1]);
    assert_eq!([of(0x70), of(0x78), of(0x80)], [0xe_0000, 0x2_0000, 2]);
    assert_eq!(bytes.len(), 0x88);
    let bytes = StartInfo::new(0x7000, None, 0x2_0000, 0xe_0000, memory).bytes();
    assert_eq!([word(&bytes, 8), word(&bytes, 40)], [0, 0x7038]);
}
