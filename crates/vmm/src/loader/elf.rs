//! ELF executables: bare-metal programs, firmware, and Linux's own `vmlinux`.

use std::ops::Range;

use clade_engine::Arch;
use object::Endianness;
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use super::error::Problem;
use super::format::{Format, recognise};
use super::program::{Kind, Program, Segment};

const ENDIAN: Endianness = Endianness::Little;

/// Offsets of fields that are the same in ELF files of every class.
const CLASS: usize = 4;
const DATA: usize = 5;
const MACHINE: Range<usize> = 18..20;

/// Most segments; linkers make a handful.
const MAX_SEGMENTS: usize = 256;

/// Reads the headers of `file`, an ELF file, for a machine of architecture `arch` with RAM at `ram`. A program that runs
/// anywhere (position-independent firmware, Linux's `vmlinux`) and is linked to an address outside
/// RAM is moved to `home`.
pub(super) fn parse<'a>(
    file: &'a [u8],
    arch: Arch,
    ram: &Range<u64>,
    home: u64,
) -> Result<Program<'a>, Problem> {
    let have = file.len() as u64;
    check_machine(file, arch)?;
    let header = FileHeader64::<Endianness>::parse(file).map_err(|_| {
        match size_of::<FileHeader64<Endianness>>() as u64 {
            need if need > have => Problem::Truncated { need, have },
            _ => Problem::Damaged("a bad ELF header"),
        }
    })?;
    check_type(header)?;
    let headers = loadable(file, header)?;
    let mut segments = headers
        .iter()
        .map(|segment| {
            let bytes = contents(file, segment)?;
            Segment::new(segment.p_paddr(ENDIAN), segment.p_memsz(ENDIAN), bytes)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut entry = physical_entry(header.e_entry(ENDIAN), &headers)?;

    let lowest = segments.iter().min_by_key(|segment| segment.range.start);
    let lowest = lowest.ok_or(Problem::NoSegments)?;
    let movable =
        header.e_type(ENDIAN) == elf::ET_DYN || matches!(recognise(lowest.bytes), Format::Image);
    if movable && !ram.contains(&lowest.range.start) {
        let distance = home.wrapping_sub(lowest.range.start);
        for segment in &mut segments {
            *segment = segment.moved(distance)?;
        }
        entry = entry.wrapping_add(distance);
    }
    Ok(Program {
        kind: Kind::Elf,
        entry,
        segments,
    })
}

/// Checks class, byte order and machine, most telling first.
fn check_machine(file: &[u8], arch: Arch) -> Result<(), Problem> {
    let (need, have) = (MACHINE.end as u64, file.len() as u64);
    let machine = file.get(MACHINE).and_then(|bytes| bytes.first_chunk());
    let machine = *machine.ok_or(Problem::Truncated { need, have })?;
    let big_endian = file[DATA] == elf::ELFDATA2MSB.0;
    let machine = if big_endian {
        u16::from_be_bytes(machine)
    } else {
        u16::from_le_bytes(machine)
    };
    let wanted = match arch {
        Arch::Riscv64 => elf::EM_RISCV,
        Arch::X86_64 => elf::EM_X86_64,
    };
    if machine != wanted.0 {
        return Err(Problem::Architecture(machine_name(machine), arch));
    }
    if file[CLASS] == elf::ELFCLASS32.0 {
        return Err(Problem::Bits32(arch));
    }
    if big_endian {
        return Err(Problem::BigEndian);
    }
    Ok(())
}

fn machine_name(machine: u16) -> String {
    match elf::Machine(machine) {
        elf::EM_RISCV => "RISC-V".into(),
        elf::EM_X86_64 => "x86-64".into(),
        elf::EM_386 => "32-bit x86".into(),
        elf::EM_AARCH64 => "64-bit ARM".into(),
        elf::EM_ARM => "32-bit ARM".into(),
        elf::EM_PPC64 => "64-bit PowerPC".into(),
        elf::EM_S390 => "IBM S/390".into(),
        elf::EM_MIPS => "MIPS".into(),
        elf::EM_LOONGARCH => "LoongArch".into(),
        _ => format!("another processor (ELF machine {machine})"),
    }
}

fn check_type(header: &FileHeader64<Endianness>) -> Result<(), Problem> {
    match header.e_type(ENDIAN) {
        elf::ET_EXEC | elf::ET_DYN => Ok(()),
        elf::ET_REL => Err(Problem::NotExecutable("an object file")),
        elf::ET_CORE => Err(Problem::NotExecutable("a core dump")),
        _ => Err(Problem::NotExecutable("of an unknown type")),
    }
}

/// The headers of the segments that take memory.
fn loadable<'a>(
    file: &'a [u8],
    header: &FileHeader64<Endianness>,
) -> Result<Vec<&'a ProgramHeader64<Endianness>>, Problem> {
    let headers = header.program_headers(ENDIAN, file).map_err(|_| {
        let len = u64::from(header.e_phnum(ENDIAN)) * u64::from(header.e_phentsize(ENDIAN));
        let need = header.e_phoff(ENDIAN).saturating_add(len);
        let have = file.len() as u64;
        if need > have {
            Problem::Truncated { need, have }
        } else {
            Problem::Damaged("bad ELF program headers")
        }
    })?;
    if headers.iter().any(|h| h.p_type(ENDIAN) == elf::PT_INTERP) {
        return Err(Problem::NotAKernel {
            what: "a program for an operating system",
            remedy: "start a kernel, and put the program into its file system",
        });
    }
    let loadable: Vec<_> = headers
        .iter()
        .filter(|h| h.p_type(ENDIAN) == elf::PT_LOAD && h.p_memsz(ENDIAN) > 0)
        .collect();
    match loadable.len() {
        0 => Err(Problem::NoSegments),
        1..=MAX_SEGMENTS => Ok(loadable),
        _ => Err(Problem::Damaged("too many segments")),
    }
}

/// What the file has of `segment`.
fn contents<'a>(
    file: &'a [u8],
    segment: &ProgramHeader64<Endianness>,
) -> Result<&'a [u8], Problem> {
    segment.data(ENDIAN, file).map_err(|()| {
        let (offset, len) = segment.file_range(ENDIAN);
        Problem::Truncated {
            need: offset.saturating_add(len),
            have: file.len() as u64,
        }
    })
}

/// The physical address of `entry`, which ELF counts as virtual; some linker scripts give a
/// physical one.
fn physical_entry(entry: u64, headers: &[&ProgramHeader64<Endianness>]) -> Result<u64, Problem> {
    let offset_in = |start: u64, header: &ProgramHeader64<Endianness>| {
        let offset = entry.checked_sub(start)?;
        (offset < header.p_memsz(ENDIAN)).then_some(offset)
    };
    let virt = headers.iter().find_map(|header| {
        let offset = offset_in(header.p_vaddr(ENDIAN), header)?;
        header.p_paddr(ENDIAN).checked_add(offset)
    });
    let in_physical =
        |header: &&ProgramHeader64<Endianness>| offset_in(header.p_paddr(ENDIAN), header).is_some();
    match virt {
        Some(address) => Ok(address),
        None if headers.iter().any(in_physical) => Ok(entry),
        None => Err(Problem::EntryOutside(entry)),
    }
}
