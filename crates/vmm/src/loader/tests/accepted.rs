//! What can be loaded, and where it goes.

use vm_memory::{Bytes, GuestAddress};

use super::super::Kind;
use super::files::{Elf, HIGH_ELF, LOW_ELF, Segment, efi_image, gzip, image, zboot, zstd};
use super::*;

const KERNEL_START: u64 = RAM_START + 2 * MIB;

#[test]
fn flat_image_goes_to_its_text_offset() {
    let file = image(10_000, 0x40_0000, MIB);
    let (placement, ram) = load_kernel(file.clone()).unwrap();
    let start = RAM_START + 4 * MIB;
    let loaded = placement.kernel.unwrap();
    assert_eq!(loaded.kind, Kind::Image);
    assert_eq!((placement.entry, loaded.entry), (start, start));
    assert_eq!(loaded.range, start..start + MIB);
    assert_eq!(bytes_at(&ram, start, file.len()), file);
}

#[test]
fn image_without_a_size_takes_what_the_file_takes() {
    let (placement, _) = load_kernel(image(10_000, 0x20_0000, 0)).unwrap();
    assert_eq!(
        placement.kernel.unwrap().range,
        KERNEL_START..KERNEL_START + 10_000
    );
}

#[test]
fn every_packing_of_an_image_loads_the_same() {
    let file = efi_image(20_000, 0x5064);
    for packed in [
        file.clone(),
        gzip(&file),
        zstd(&file),
        zboot(&gzip(&file), b"gzip"),
        zboot(&zstd(&file), b"zstd22"),
    ] {
        let (placement, ram) = load_kernel(packed).unwrap();
        assert_eq!(placement.entry, KERNEL_START);
        assert_eq!(bytes_at(&ram, KERNEL_START, file.len()), file);
    }
}

/// `printf 'hello, hello, hello\n'`, packed by GNU gzip 1.12 and zstd 1.5.4: our compressors are
/// the same crates as our decompressors, these are not.
#[test]
fn other_peoples_compressors() {
    const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\xd7\x51\xc8\x40\xa2\xb8\x00\xe7\x42\x6e\x52\x14\x00\x00\x00";
    const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x24\x14\x75\x00\x00\x40\x68\x65\x6c\x6c\x6f\x2c\x20\x0a\x01\x00\xe2\x8a\x11\x21\x69\x9d\x87";
    for packed in [GZIP, ZSTD] {
        let unpacked = super::super::unpack::unpack(packed, 100).unwrap();
        assert_eq!(unpacked.as_ref(), b"hello, hello, hello\n");
    }
}

#[test]
fn linkers_elf_is_loaded_where_it_says_and_its_bss_is_zeroed() {
    for (file, start) in [(LOW_ELF, RAM_START), (HIGH_ELF, RAM_START + 4 * MIB)] {
        let ram = ram(16 * MIB);
        let bss = start + 0x1000;
        ram.write_slice(&[0xff; 0x1100], GuestAddress(bss)).unwrap();
        let placement = load(kernel(file), &ram).unwrap();
        let loaded = placement.kernel.unwrap();
        assert_eq!(loaded.kind, Kind::Elf);
        assert_eq!(placement.entry, start);
        assert_eq!(loaded.range, start..start + 0x2000);
        // The program's text as `readelf` shows it: from 0xb0, 0x48 bytes.
        assert_eq!(bytes_at(&ram, start, 0x48), file[0xb0..0xf8]);
        assert_eq!(
            bytes_at(&ram, bss, 0x1001),
            [vec![0; 0x1000], vec![0xff]].concat()
        );
    }
}

#[test]
fn entry_may_be_physical_although_addresses_are_virtual() {
    let mut segment = Segment::new(RAM_START, b"code", 16);
    segment.virt = 0xffff_0000_0000_0000;
    let entry = RAM_START + 4;
    let (placement, _) = load_kernel(Elf::new(entry, &[segment]).build()).unwrap();
    assert_eq!(placement.entry, entry);
}

#[test]
fn linux_vmlinux_linked_to_zero_goes_where_its_image_would() {
    const VIRTUAL: u64 = 0xffff_ffff_8000_0000;
    let mut head = Segment::new(0, &image(4096, 0x20_0000, 0), 8192);
    head.virt = VIRTUAL;
    let mut data = Segment::new(0x20_0000, b"data", 4096);
    data.virt = VIRTUAL + 0x20_0000;
    let (placement, ram) = load_kernel(Elf::new(VIRTUAL, &[head, data]).build()).unwrap();
    assert_eq!(placement.entry, KERNEL_START);
    assert_eq!(bytes_at(&ram, KERNEL_START + 0x20_0000, 5), b"data\0");
}

#[test]
fn position_independent_firmware_is_moved_to_ram() {
    let mut elf = Elf::new(8, &[Segment::new(0, b"firmware", 4096)]);
    elf.kind = 3;
    let ram = ram(16 * MIB);
    let files = BootFiles {
        firmware: Some(source(elf.build())),
        ..BootFiles::default()
    };
    let placement = load(files, &ram).unwrap();
    assert_eq!(placement.entry, RAM_START + 8);
    assert_eq!(bytes_at(&ram, RAM_START, 8), b"firmware");
}

#[test]
fn firmware_starts_first_and_the_kernel_follows() {
    let ram = ram(16 * MIB);
    let files = BootFiles {
        firmware: Some(source([0x13; 1000])),
        kernel: Some(source(image(5000, 0x20_0000, 0))),
        ..BootFiles::default()
    };
    let placement = load(files, &ram).unwrap();
    assert_eq!(placement.entry, RAM_START);
    let firmware = placement.firmware.unwrap();
    assert_eq!(
        (firmware.kind, firmware.range),
        (Kind::Flat, RAM_START..RAM_START + 1000)
    );
    assert_eq!(placement.kernel.unwrap().entry, KERNEL_START);
}

#[test]
fn initrd_and_device_tree_end_below_three_gib() {
    let ranges = [(GuestAddress(RAM_START), 4 << 30)];
    let ram = GuestRam::from_ranges(&ranges).unwrap();
    let initrd: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 253) as u8).collect();
    let files = BootFiles {
        initrd: Some(source(initrd.clone())),
        ..kernel(image(5000, 0x20_0000, 0))
    };
    let placement = load(files, &ram).unwrap();
    assert_eq!(placement.dtb, (3 << 30) - 2 * MIB..3 << 30);
    let range = placement.initrd.clone().unwrap();
    assert_eq!(range.end - range.start, 3_000_000);
    assert!(range.start.is_multiple_of(4096) && placement.dtb.start - range.end < 4096);
    assert_eq!(bytes_at(&ram, range.start, initrd.len()), initrd);

    placement.write_device_tree(&ram, b"tree").unwrap();
    assert_eq!(bytes_at(&ram, placement.dtb.start, 4), b"tree");
    let error = placement.write_device_tree(&ram, &vec![0; 2 * MIB as usize + 1]);
    assert!(matches!(error.unwrap_err().problem, Problem::NoRoom { .. }));
}

#[test]
fn kernel_high_in_memory_leaves_the_rest_to_the_others() {
    let start = RAM_START + 12 * MIB;
    let elf = Elf::new(start, &[Segment::new(start, b"code", 4 * MIB)]);
    let files = BootFiles {
        initrd: Some(source([1; 9 * MIB as usize])),
        ..kernel(elf.build())
    };
    let ram = ram(16 * MIB);
    let placement = load(files, &ram).unwrap();
    let initrd = placement.initrd.unwrap();
    assert!(placement.dtb.end <= start && initrd.end <= placement.dtb.start);
}

#[test]
fn tiny_machine_has_room_for_a_program_and_its_device_tree() {
    let ram = ram(128 << 10);
    let placement = load(kernel(LOW_ELF), &ram).unwrap();
    assert_eq!(placement.entry, RAM_START);
    assert_eq!(
        placement.dtb,
        RAM_START + (112 << 10)..RAM_START + (128 << 10)
    );
}

#[test]
fn files_and_pipes_are_read_from_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel");
    std::fs::write(&path, image(5000, 0x20_0000, 0)).unwrap();
    let ram = ram(16 * MIB);
    let files = BootFiles {
        kernel: Some(Source::open(&path, 16 * MIB).unwrap()),
        initrd: Some(Source::open(&path, 16 * MIB).unwrap()),
        firmware: None,
        ..BootFiles::default()
    };
    let placement = load(files, &ram).unwrap();
    let initrd = placement.initrd.unwrap().start;
    assert_eq!(
        bytes_at(&ram, initrd, 5000),
        bytes_at(&ram, KERNEL_START, 5000)
    );

    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, LOW_ELF).unwrap();
    drop(writer);
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&reader);
    let path = format!("/proc/self/fd/{descriptor}");
    let piped = Source::open(path.as_ref(), 16 * MIB).unwrap();
    assert_eq!(piped.len(), LOW_ELF.len() as u64);
}
