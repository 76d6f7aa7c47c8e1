//! PVH, the way in that kernels share with Xen: the note that asks for it, and what is told in memory (Xen,
//! `docs/misc/pvh.pandoc`, `xen/include/public/arch-x86/hvm/start_info.h`).

use std::ops::Range;

use object::Endianness;
use object::elf::{FileHeader64, NoteType};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use super::MemoryKind;
use crate::loader::error::Problem;
use crate::loader::program::Program;

const ENDIAN: Endianness = Endianness::Little;

/// Whose note it is, and which (Xen, `xen/include/public/elfnote.h`).
const OWNER: &[u8] = b"Xen";
const PHYS32_ENTRY: NoteType = NoteType(18);

const BAD_NOTE: Problem = Problem::Damaged("a bad ELF note");

/// Where `file`, an ELF file that was read as `program`, wants to be entered by PVH, if it does.
pub(super) fn entry(file: &[u8], program: &Program<'_>) -> Result<Option<u32>, Problem> {
    let Some(address) = noted_entry(file)? else {
        return Ok(None);
    };
    let holds = |range: &Range<u64>| range.contains(&address);
    match u32::try_from(address) {
        Ok(entry) if program.segments.iter().any(|part| holds(&part.range)) => Ok(Some(entry)),
        _ => Err(Problem::EntryOutside(address)),
    }
}

/// What the file's note says.
fn noted_entry(file: &[u8]) -> Result<Option<u64>, Problem> {
    let damaged = |_| BAD_NOTE;
    let header = FileHeader64::<Endianness>::parse(file).map_err(damaged)?;
    for segment in header.program_headers(ENDIAN, file).map_err(damaged)? {
        let notes = segment.notes(ENDIAN, file).map_err(damaged)?;
        let mut notes = notes.into_iter().flatten();
        while let Some(note) = notes.next().transpose().map_err(damaged)? {
            if note.name() == OWNER && note.n_type(ENDIAN) == PHYS32_ENTRY {
                return address(note.desc()).map(Some);
            }
        }
    }
    Ok(None)
}

/// An address of 32 bits, which some linkers give 64.
fn address(bytes: &[u8]) -> Result<u64, Problem> {
    match *bytes {
        [a, b, c, d] => Ok(u32::from_le_bytes([a, b, c, d]).into()),
        _ => bytes
            .try_into()
            .map(u64::from_le_bytes)
            .map_err(|_| BAD_NOTE),
    }
}

/// `hvm_start_info` version 1, with the tables that it leads to behind it.
#[derive(Debug)]
pub struct StartInfo {
    base: u64,
    initrd: Option<Range<u64>>,
    command_line: u64,
    acpi_root: u64,
    memory: Vec<(Range<u64>, MemoryKind)>,
}

const MAGIC: u32 = 0x336e_c578;
const VERSION: u32 = 1;
/// Sizes of the structure and of a module's, in bytes.
const SIZE: u64 = 56;
const MODULE: u64 = 32;

impl StartInfo {
    /// To be put at guest physical address `base`: tells of the initial RAM disk, of the command line (with a
    /// zero behind it) and the root of the ACPI tables, both by address, and of what is where.
    #[must_use]
    pub fn new(
        base: u64,
        initrd: Option<Range<u64>>,
        command_line: u64,
        acpi_root: u64,
        memory: Vec<(Range<u64>, MemoryKind)>,
    ) -> Self {
        Self {
            base,
            initrd,
            command_line,
            acpi_root,
            memory,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let modules = self.base + SIZE;
        let module_count = u32::from(self.initrd.is_some());
        let map = modules + MODULE * u64::from(module_count);
        let mut bytes = Vec::new();
        let words = |bytes: &mut Vec<u8>, words: &[u64]| {
            words
                .iter()
                .for_each(|word| bytes.extend(word.to_le_bytes()));
        };
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        words(
            &mut bytes,
            &[
                pair(MAGIC, VERSION),
                // No flags.
                pair(0, module_count),
                modules,
                self.command_line,
                self.acpi_root,
                map,
                self.memory.len() as u64,
            ],
        );
        if let Some(initrd) = &self.initrd {
            words(&mut bytes, &[initrd.start, initrd.end - initrd.start, 0, 0]);
        }
        for (range, kind) in &self.memory {
            words(
                &mut bytes,
                &[range.start, range.end - range.start, *kind as u64],
            );
        }
        bytes
    }
}
