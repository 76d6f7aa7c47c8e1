//! Tells file formats apart by their first bytes.

use clade_engine::Arch;

use super::error::Problem;

/// What a file is, as far as its first bytes say.
pub(super) enum Format {
    /// A Linux `Image` for RISC-V.
    Image,
    /// An ELF file of any kind.
    Elf,
    /// gzip, RFC 1952.
    Gzip,
    /// A Zstandard frame, RFC 8878.
    Zstd,
    /// An EFI program that unpacks the kernel in its payload (Linux, `zboot-header.S`).
    Zboot,
    /// Something known that no machine here can start from.
    Refused(Problem),
    /// None of these.
    Unknown,
}

/// Where bytes stand, the bytes, and what to tell a user whose file has them there.
type Signature = (usize, &'static [u8], fn() -> Problem);

const REFUSED: [Signature; 15] = [
    (0x38, b"ARM\x64", || architecture("64-bit ARM")),
    (0x38, b"\xcd\x23\x82\x81", || {
        architecture("another processor (an EFI kernel)")
    }),
    (0x202, b"HdrS", || architecture("x86 (a bzImage)")),
    (0, b"\xfd7zXZ\0", || compressed("xz", "xz -d")),
    (0, b"\x02\x21\x4c\x18", || compressed("lz4", "lz4 -d")),
    (0, b"\x04\x22\x4d\x18", || compressed("lz4", "lz4 -d")),
    (0, b"BZh", || compressed("bzip2", "bzip2 -d")),
    (0, b"\x5d\0\0", || compressed("lzma", "xz -d")),
    (0, b"\x89LZO\0", || compressed("lzop", "lzop -d")),
    (0, b"\x27\x05\x19\x56", || {
        not_a_kernel("a U-Boot image", "extract it with `dumpimage`")
    }),
    (0, b"\xd0\x0d\xfe\xed", || {
        not_a_kernel(
            "a device tree or U-Boot FIT image",
            "extract the kernel with `dumpimage`, or name the kernel",
        )
    }),
    (0, b"!<arch>\n", || {
        not_a_kernel("a package or library", "extract the kernel from it")
    }),
    (0, b"QFI\xfb", || {
        not_a_kernel("a qcow2 disk image", "name the kernel, not the disk")
    }),
    (0, b"070701", || {
        not_a_kernel("an initial RAM disk", "name the kernel, not its initrd")
    }),
    (0, b"#!", || not_a_kernel("a script", "name the kernel")),
];

/// Recognises `file` by its first bytes.
pub(super) fn recognise(file: &[u8]) -> Format {
    let has = |offset: usize, magic: &[u8]| {
        file.get(offset..)
            .is_some_and(|rest| rest.starts_with(magic))
    };
    if has(0, b"\x7fELF") {
        return Format::Elf;
    }
    if has(0x38, b"RSC\x05") {
        return Format::Image;
    }
    if has(0, b"\x1f\x8b") {
        return Format::Gzip;
    }
    if has(0, b"\x28\xb5\x2f\xfd") {
        return Format::Zstd;
    }
    if has(0, b"MZ") && has(4, b"zimg") {
        return Format::Zboot;
    }
    match REFUSED
        .iter()
        .find(|(offset, magic, _)| has(*offset, magic))
    {
        Some((_, _, problem)) => Format::Refused(problem()),
        None => Format::Unknown,
    }
}

fn architecture(name: &str) -> Problem {
    Problem::Architecture(name.to_owned(), Arch::Riscv64)
}

fn compressed(format: &'static str, tool: &'static str) -> Problem {
    Problem::Compressed { format, tool }
}

fn not_a_kernel(what: &'static str, remedy: &'static str) -> Problem {
    Problem::NotAKernel { what, remedy }
}
