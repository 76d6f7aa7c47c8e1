//! Whatever the files are: no panic, nothing outside RAM, nothing on top of each other.

use proptest::prelude::*;

use super::super::Kind;
use super::files::{Elf, HIGH_ELF, LOW_ELF, Segment, efi_image, gzip, image, zboot, zstd};
use super::*;

fn well_formed() -> Vec<Vec<u8>> {
    let image = image(5000, 0x20_0000, 0x8000);
    let segments = [
        Segment::new(RAM_START, b"code", 100),
        Segment::new(RAM_START + 0x1000, b"data", 0x2000),
    ];
    vec![
        efi_image(5000, 0x5064),
        gzip(&image),
        zstd(&image),
        zboot(&gzip(&image), b"gzip"),
        zboot(&zstd(&image), b"zstd"),
        Elf::new(RAM_START, &segments).build(),
        LOW_ELF.to_vec(),
        HIGH_ELF.to_vec(),
        image,
    ]
}

/// A well-formed file with a few bytes of its headers changed, and perhaps its end cut off.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((0..256_usize, any::<u8>()), 0..6);
    let cut = prop_oneof![4 => Just(1.0), 1 => 0.0..1.0];
    (prop::sample::select(well_formed()), edits, cut).prop_map(|(mut file, edits, cut)| {
        for (at, byte) in edits {
            let at = at % file.len();
            file[at] = byte;
        }
        file.truncate(((file.len() as f64 * cut) as usize).max(1));
        file
    })
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        5 => mutated(),
        1 => prop::collection::vec(any::<u8>(), 1..2000),
    ]
}

/// Checks that everything in `placement` lies in `ram` of `size` bytes and nothing overlaps.
fn check(placement: &Placement, ram: &GuestRam, size: u64) -> Result<(), TestCaseError> {
    let mut ranges = vec![placement.dtb.clone()];
    ranges.extend(placement.initrd.clone());
    for loaded in [&placement.firmware, &placement.kernel]
        .into_iter()
        .flatten()
    {
        prop_assert!(loaded.range.contains(&loaded.entry));
        // Other things may lie between the segments of an ELF file.
        if loaded.kind != Kind::Elf {
            ranges.push(loaded.range.clone());
        }
        prop_assert!(loaded.range.start >= RAM_START && loaded.range.end <= RAM_START + size);
    }
    ranges.sort_by_key(|range| range.start);
    for range in &ranges {
        prop_assert!(range.start >= RAM_START && range.end <= RAM_START + size);
        prop_assert!(range.start < range.end);
    }
    for pair in ranges.windows(2) {
        prop_assert!(pair[0].end <= pair[1].start, "{ranges:x?}");
    }
    prop_assert_eq!(bytes_at(ram, GUARD_START, GUARD.len()), &GUARD);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn hostile_files_stay_in_ram(file in hostile(), as_firmware: bool) {
        let memory = ram(4 * MIB);
        let mut files = kernel(file);
        if as_firmware {
            files.firmware = files.kernel.take();
        }
        if let Ok(placement) = load(files, &memory) {
            check(&placement, &memory, 4 * MIB)?;
        }
        prop_assert_eq!(bytes_at(&memory, GUARD_START, GUARD.len()), &GUARD);
    }

    #[test]
    fn everything_has_a_place_of_its_own(
        pages in 1..2048_u64,
        kernel_size in 0..4 * MIB,
        text_offset in 0..3 * MIB,
        initrd_len in 1..MIB as usize,
        firmware in prop::option::of(1..100_000_usize),
    ) {
        let size = pages * 4096;
        let memory = ram(size);
        let files = BootFiles {
            firmware: firmware.map(|len| source(vec![0x13; len])),
            kernel: Some(source(image(5000, text_offset, kernel_size))),
            initrd: Some(source(vec![0x55; initrd_len])),
            ..BootFiles::default()
        };
        if let Ok(placement) = load(files, &memory) {
            check(&placement, &memory, size)?;
            let initrd = placement.initrd.unwrap();
            let copied = bytes_at(&memory, initrd.start, initrd_len);
            prop_assert!(copied.iter().all(|&byte| byte == 0x55));
            let head = bytes_at(&memory, RAM_START + text_offset + 0x38, 4);
            prop_assert_eq!(head, b"RSC\x05");
        } else {
            let needed = text_offset + kernel_size.max(5000) + initrd_len as u64 + 10 * MIB;
            prop_assert!(needed > size || text_offset < 2 * MIB, "there was room");
        }
    }
}
