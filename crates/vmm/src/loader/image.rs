//! The Linux `Image` of RISC-V: a flat binary behind a header of 64 bytes (Linux,
//! `Documentation/arch/riscv/boot-image-header.rst`).
//!
//! With an EFI stub it is a PE file as well, of which only the section table is of interest here:
//! it tells a file that was cut off. Debian's `vmlinux` for riscv64 is such a file.

use clade_engine::Arch;
use object::LittleEndian as LE;
use object::pe::{self, ImageNtHeaders64};
use object::read::pe::ImageNtHeaders as _;

use super::error::Problem;
use super::program::{Kind, Program, Segment};

/// Where a 64-bit kernel wants to be, from the start of RAM: at the first superpage behind the
/// firmware.
pub(super) const TEXT_OFFSET: u64 = 2 << 20;

/// Length of the header in bytes.
const HEADER_LEN: usize = 64;
/// Offsets of the header's little-endian 64-bit fields.
const TEXT_OFFSET_FIELD: usize = 8;
const IMAGE_SIZE_FIELD: usize = 16;
const FLAGS_FIELD: usize = 24;
/// Bit 0 of the flags: the kernel is big-endian.
const FLAG_BIG_ENDIAN: u64 = 1;

/// Reads the header of `file`, which starts with one, for a machine with RAM from `ram_start`.
pub(super) fn parse(file: &[u8], ram_start: u64) -> Result<Program<'_>, Problem> {
    let (need, have) = (HEADER_LEN as u64, file.len() as u64);
    let header: &[u8; HEADER_LEN] = file
        .first_chunk()
        .ok_or(Problem::Truncated { need, have })?;
    let field = |offset: usize| {
        let bytes = header[offset..].first_chunk().copied();
        bytes.map_or(0, u64::from_le_bytes)
    };
    if field(FLAGS_FIELD) & FLAG_BIG_ENDIAN != 0 {
        return Err(Problem::BigEndian);
    }
    if file.starts_with(b"MZ") {
        check_efi_program(file)?;
    }
    let start = ram_start
        .checked_add(field(TEXT_OFFSET_FIELD))
        .ok_or(Problem::Damaged("a text offset beyond the address space"))?;
    // `image_size` counts what the kernel uses behind the file (`.bss`); early kernels say 0.
    let size = field(IMAGE_SIZE_FIELD).max(have);
    Ok(Program {
        kind: Kind::Image,
        entry: start,
        segments: vec![Segment::new(start, size, file)?],
    })
}

/// Checks that `file`, a PE file, is for 64-bit RISC-V and not cut off.
pub(super) fn check_efi_program(file: &[u8]) -> Result<(), Problem> {
    let damaged = |_| Problem::Damaged("bad PE headers");
    let mut offset = pe::ImageDosHeader::parse(file)
        .map_err(damaged)?
        .nt_headers_offset()
        .into();
    // Signature and machine stand at the same place in 32-bit and 64-bit headers.
    let machine_at = usize::try_from(offset)
        .ok()
        .and_then(|at| at.checked_add(4));
    let machine: Option<[u8; 2]> = machine_at
        .and_then(|at| file.get(at..))
        .and_then(|rest| rest.first_chunk().copied());
    match machine.map(|bytes| pe::Machine(u16::from_le_bytes(bytes))) {
        Some(pe::IMAGE_FILE_MACHINE_RISCV64) => {}
        Some(pe::IMAGE_FILE_MACHINE_RISCV32) => return Err(Problem::Bits32(Arch::Riscv64)),
        Some(machine) => return Err(Problem::Architecture(machine_name(machine), Arch::Riscv64)),
        None => return Err(Problem::Damaged("bad PE headers")),
    }
    let (headers, _) = ImageNtHeaders64::parse(file, &mut offset).map_err(damaged)?;
    let sections = headers.sections(file, offset).map_err(damaged)?;
    let have = file.len() as u64;
    let end = |section: &pe::ImageSectionHeader| {
        u64::from(section.pointer_to_raw_data.get(LE)) + u64::from(section.size_of_raw_data.get(LE))
    };
    match sections.iter().map(end).max() {
        Some(need) if need > have => Err(Problem::Truncated { need, have }),
        _ => Ok(()),
    }
}

fn machine_name(machine: pe::Machine) -> String {
    match machine {
        pe::IMAGE_FILE_MACHINE_AMD64 => "x86-64".into(),
        pe::IMAGE_FILE_MACHINE_I386 => "32-bit x86".into(),
        pe::IMAGE_FILE_MACHINE_ARM64 => "64-bit ARM".into(),
        _ => format!("another processor (PE machine {:#x})", machine.0),
    }
}
