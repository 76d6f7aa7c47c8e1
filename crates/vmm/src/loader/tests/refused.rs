//! What is refused, and with which words.

use super::files::{Elf, HIGH_ELF, Segment, efi_image, gzip, image, zboot, zstd};
use super::*;

/// Asserts that a problem is of a kind and that its message contains words.
macro_rules! assert_problem {
    ($problem:expr, $kind:pat, $words:expr) => {
        let problem = $problem;
        assert!(matches!(problem, $kind), "{problem:?}");
        let text = problem.to_string();
        assert!(text.contains($words), "{text:?} does not say {:?}", $words);
    };
}

fn code(start: u64, memory: u64) -> Elf {
    Elf::new(start, &[Segment::new(start, b"code", memory)])
}

fn open(path: &str) -> Problem {
    Source::open(path.as_ref(), MIB).unwrap_err().problem
}

#[test]
fn things_that_are_not_files() {
    assert_problem!(open("/no/such/kernel"), Problem::Missing, "check its name");
    assert_problem!(open("/"), Problem::Directory, "directory");
    assert_problem!(open("/dev/null"), Problem::Empty, "empty");
    assert_problem!(open("/dev/zero"), Problem::TooLarge { .. }, "memory");
    assert_problem!(
        open("/dev/zero/x"),
        Problem::Unreadable(_),
        "cannot be read"
    );
    let error = Source::open("/no/such/kernel".as_ref(), MIB).unwrap_err();
    assert!(error.to_string().starts_with("/no/such/kernel: "));
}

#[test]
fn files_larger_than_memory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 40).unwrap();
    let error = Source::open(file.path(), 16 * MIB).unwrap_err();
    assert_problem!(
        error.problem,
        Problem::TooLarge { .. },
        "needs 1024 GiB of memory and the machine has 16 MiB"
    );
    assert_problem!(
        problem(vec![0; 17 * MIB as usize]),
        Problem::TooLarge { .. },
        "17 MiB"
    );
}

#[test]
fn file_that_shrinks_while_it_is_read() {
    for read_whole in [true, false] {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1000).unwrap();
        let shrinking = Source::open(file.path(), MIB).unwrap();
        file.as_file().set_len(10).unwrap();
        let files = if read_whole {
            BootFiles {
                kernel: Some(shrinking),
                ..BootFiles::default()
            }
        } else {
            BootFiles {
                initrd: Some(shrinking),
                ..kernel(image(100, 0, 0))
            }
        };
        let error = load(files, &ram(16 * MIB)).unwrap_err();
        assert_problem!(
            error.problem,
            Problem::Truncated {
                need: 1000,
                have: 10
            },
            "cut off"
        );
    }
}

#[test]
fn nothing_to_run() {
    let error = load(BootFiles::default(), &ram(MIB)).unwrap_err();
    assert_problem!(error.problem, Problem::NothingToRun, "give it a kernel");
    assert!(Source::from_bytes("file", vec![]).is_err());
}

#[test]
fn other_architectures_are_named() {
    let mut arm = image(100, 0, 0);
    arm[0x38..0x3c].copy_from_slice(b"ARM\x64");
    assert_problem!(problem(arm), Problem::Architecture(..), "64-bit ARM");

    let mut bzimage = vec![0; 0x400];
    bzimage[0x202..0x206].copy_from_slice(b"HdrS");
    assert_problem!(problem(bzimage), Problem::Architecture(..), "x86");

    let efi = |machine| problem(efi_image(0x2000, machine));
    assert_problem!(efi(0x8664), Problem::Architecture(..), "x86-64");
    assert_problem!(efi(0x5032), Problem::Bits32(_), "32-bit");

    let elf = |change: fn(&mut Elf)| {
        let mut elf = code(RAM_START, 16);
        change(&mut elf);
        problem(elf.build())
    };
    assert_problem!(
        elf(|elf| elf.machine = 62),
        Problem::Architecture(..),
        "x86-64"
    );
    assert_problem!(
        elf(|elf| (elf.machine, elf.data) = (22, 2)),
        Problem::Architecture(..),
        "S/390"
    );
    assert_problem!(
        elf(|elf| elf.machine = 9999),
        Problem::Architecture(..),
        "9999"
    );
    assert_problem!(elf(|elf| elf.class = 1), Problem::Bits32(_), "32-bit");
    assert_problem!(elf(|elf| elf.data = 2), Problem::BigEndian, "big-endian");
    assert_problem!(
        elf(|elf| elf.kind = 1),
        Problem::NotExecutable(_),
        "object file"
    );
    assert_problem!(
        elf(|elf| elf.kind = 4),
        Problem::NotExecutable(_),
        "core dump"
    );
    assert_problem!(
        elf(|elf| elf.segments[0].kind = 3),
        Problem::NotAKernel { .. },
        "operating system"
    );
    assert_problem!(
        elf(|elf| elf.segments[0].kind = 2),
        Problem::NoSegments,
        "no loadable"
    );

    let mut big_endian = image(100, 0, 0);
    big_endian[24] = 1;
    assert_problem!(problem(big_endian), Problem::BigEndian, "big-endian");
}

/// This very program is for the host, and it is an ELF file that we did not make.
#[cfg(target_arch = "x86_64")]
#[test]
fn programs_of_the_host() {
    let file = std::fs::read("/proc/self/exe").unwrap();
    let ram = GuestRam::from_ranges(&[(vm_memory::GuestAddress(RAM_START), 1 << 30)]).unwrap();
    let error = load(kernel(file), &ram).unwrap_err();
    assert_problem!(error.problem, Problem::Architecture(..), "x86-64");
}

#[test]
fn well_known_files_that_are_no_kernels() {
    for (start, words) in [
        (&b"\xfd7zXZ\0"[..], "`xz -d`"),
        (b"\x02\x21\x4c\x18", "lz4"),
        (b"BZh9", "bzip2"),
        (b"!<arch>\ndebian-binary", "package"),
        (b"QFI\xfb\0\0\0\x03", "qcow2"),
        (b"\xd0\x0d\xfe\xed", "device tree"),
        (b"070701", "initial RAM disk"),
        (b"#!/bin/sh\n", "script"),
        (b"plain text", "not recognised"),
    ] {
        let text = problem(start).to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn cut_off_files() {
    let efi = efi_image(0x3000, 0x5064);
    assert_problem!(
        problem(&efi[..0x2fff]),
        Problem::Truncated {
            need: 0x3000,
            have: 0x2fff
        },
        "cut off"
    );
    for len in [64, 0x60, 0x80] {
        let problem = problem(&efi[..len]);
        assert!(matches!(problem, Problem::Damaged(_)), "{problem:?}");
    }
    let flat = image(64, 0, 0);
    assert_problem!(
        problem(&flat[..60]),
        Problem::Truncated { need: 64, have: 60 },
        "64 bytes announced, 60 there"
    );
    for len in [19, 63, 100] {
        assert_problem!(
            problem(&HIGH_ELF[..len]),
            Problem::Truncated { .. },
            "cut off"
        );
    }
    let elf = code(RAM_START, 16).build();
    assert_problem!(
        problem(&elf[..elf.len() - 1]),
        Problem::Truncated { .. },
        "cut off"
    );
    let zipped = zboot(&gzip(&efi), b"gzip");
    assert_problem!(
        problem(&zipped[..zipped.len() - 1]),
        Problem::Truncated { .. },
        "cut off"
    );
}

#[test]
fn damaged_compression() {
    let image = efi_image(0x3000, 0x5064);
    for (packed, format) in [(gzip(&image), "gzip"), (zstd(&image), "zstd")] {
        assert_problem!(
            problem(&packed[..packed.len() / 2]),
            Problem::BadCompression { .. },
            format
        );
    }
    let mut checksum = gzip(&image);
    let at = checksum.len() - 8;
    checksum[at] ^= 1;
    assert_problem!(problem(checksum), Problem::BadCompression { .. }, "gzip");
    assert_problem!(
        problem(gzip(&gzip(&image))),
        Problem::Damaged(_),
        "more than once"
    );
    assert_problem!(problem(gzip(&[])), Problem::Empty, "empty");
    assert_problem!(
        problem(zboot(b"xx", b"lzma")),
        Problem::Compressed { .. },
        "zboot"
    );
}

#[test]
fn decompression_stops_at_the_size_of_memory() {
    let zeros = vec![0; 64 * MIB as usize];
    for bomb in [gzip(&zeros), zstd(&zeros), zboot(&gzip(&zeros), b"gzip")] {
        assert!(bomb.len() < MIB as usize);
        assert_problem!(problem(bomb), Problem::TooLarge { .. }, "memory");
    }
}

#[test]
fn programs_that_do_not_fit() {
    let too_large = image(100, 0x20_0000, 15 * MIB);
    assert_problem!(problem(too_large), Problem::TooLarge { .. }, "needs 17 MiB");
    assert_problem!(
        problem(image(100, u64::MAX - 50, 0)),
        Problem::Damaged(_),
        "address space"
    );
    let far = image(100, 1 << 40, 0);
    assert_problem!(
        problem(far),
        Problem::OutsideRam { .. },
        "0x80000000..0x81000000"
    );

    let outside = code(0x1_0000, 0x2000).build();
    assert_problem!(
        problem(outside),
        Problem::OutsideRam { .. },
        "0x10000..0x12000"
    );
    assert_problem!(
        problem(code(RAM_START, u64::MAX).build()),
        Problem::Damaged(_),
        "address space"
    );
    assert_problem!(
        problem(code(RAM_START, 1 << 40).build()),
        Problem::TooLarge { .. },
        "1024 GiB"
    );
    assert_problem!(
        problem(code(RAM_START, 2).build()),
        Problem::Damaged(_),
        "larger in the file"
    );
    assert_problem!(
        problem(code(GUARD_START, 16).build()),
        Problem::OutsideRam { .. },
        "0x90000000"
    );

    let mut elf = code(RAM_START, 16);
    elf.entry = RAM_START + 16;
    assert_problem!(problem(elf.build()), Problem::EntryOutside(_), "0x80000010");
    elf.segments.push(Segment::new(RAM_START + 15, b"data", 4));
    elf.entry = RAM_START;
    assert_problem!(
        problem(elf.build()),
        Problem::Overlap { .. },
        "0x8000000f..0x80000013"
    );
    elf.segments = vec![Segment::new(RAM_START, b"x", 1); 300];
    assert_problem!(problem(elf.build()), Problem::Damaged(_), "too many");
}

#[test]
fn files_that_do_not_fit_together() {
    let memory = ram(16 * MIB);
    let kernel_in_firmware = BootFiles {
        firmware: Some(source([0x13; 1000])),
        ..kernel(code(RAM_START + 0x1000, 16).build())
    };
    let error = load(kernel_in_firmware, &memory).unwrap_err();
    assert_problem!(error.problem, Problem::Overlap { .. }, "0x80001000");

    let big_initrd = BootFiles {
        initrd: Some(source(vec![0; 12 * MIB as usize])),
        ..kernel(image(100, 0x20_0000, MIB))
    };
    let error = load(big_initrd, &memory).unwrap_err();
    assert_problem!(
        error.problem,
        Problem::NoRoom { .. },
        "takes 12 MiB and only 11 MiB"
    );

    let no_space_for_tree = kernel(code(RAM_START, 16 * MIB).build());
    let error = load(no_space_for_tree, &memory).unwrap_err();
    assert!(
        error.to_string().starts_with("the device tree: "),
        "{error}"
    );
}
