//! The Linux `bzImage` of x86 (Linux, `Documentation/arch/x86/boot.rst`).

use std::ops::Range;

use clade_engine::Arch;

use crate::loader::error::Problem;
use crate::loader::program::{Kind, Program, Segment};

/// Offsets of the setup header's fields in the file.
const SETUP_SECTORS: usize = 0x1f1;
const SIZE: usize = 0x1f4;
/// The lower byte of a jump over the header tells where this ends.
const JUMP_DISTANCE: usize = 0x201;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const LOAD_FLAGS: usize = 0x211;
const INITRD_ADDRESS_MAX: usize = 0x22c;
const RELOCATABLE: usize = 0x234;
const EXTENDED_LOAD_FLAGS: usize = 0x236;
const COMMAND_LINE_SIZE: usize = 0x238;
const PREFERRED_ADDRESS: usize = 0x258;
const INIT_SIZE: usize = 0x260;

/// The header of all versions from [`OLDEST`] on reaches as far.
const HEADER_END: usize = INIT_SIZE + 4;
/// The 64-bit entry is described since version 2.12.
const OLDEST: u16 = 0x20c;

const LOADED_HIGH: u8 = 1;
const KERNEL_64: u16 = 1;

/// A sector, and how far the 64-bit entry is from the beginning.
const SECTOR: usize = 512;
const ENTRY_64: u64 = 0x200;
/// Where a kernel goes that cannot go where it would like to.
const DEFAULT_ADDRESS: u64 = 0x10_0000;

/// A `bzImage`.
pub(super) struct BzImage<'a> {
    /// What goes into memory: all but the code for real mode.
    pub(super) program: Program<'a>,
    /// What memory it needs until it has unpacked itself; contains the program.
    pub(super) working_space: Range<u64>,
    /// The setup header.
    pub(super) header: Vec<u8>,
    /// The longest command line that it takes, in bytes.
    pub(super) command_line_max: u64,
    /// Where the initial RAM disk must end.
    pub(super) initrd_end_max: u64,
}

impl<'a> BzImage<'a> {
    pub(super) fn is(file: &[u8]) -> bool {
        file.get(MAGIC..)
            .is_some_and(|rest| rest.starts_with(b"HdrS"))
    }

    /// Reads the header of `file`, which has one, for a machine with memory at `ram`.
    pub(super) fn parse(file: &'a [u8], ram: &Range<u64>) -> Result<Self, Problem> {
        let have = file.len() as u64;
        let truncated = |need: usize| {
            let need = need as u64;
            Problem::Truncated { need, have }
        };
        let header = file.get(..HEADER_END).ok_or(truncated(HEADER_END))?;
        let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 2)) << 16;
        if word(VERSION) < OLDEST || header[LOAD_FLAGS] & LOADED_HIGH == 0 {
            return Err(Problem::OldKernel);
        }
        if word(EXTENDED_LOAD_FLAGS) & KERNEL_64 == 0 {
            return Err(Problem::Bits32(Arch::X86_64));
        }
        // Section "Details of header fields": 0 means 4.
        let sectors = match header[SETUP_SECTORS] {
            0 => 4,
            sectors => usize::from(sectors),
        };
        let start = (sectors + 1) * SECTOR;
        // Counted in paragraphs of 16 bytes.
        let end = start + long(SIZE) as usize * 16;
        let code = file.get(start..end).ok_or(truncated(end))?;
        if (code.len() as u64) <= ENTRY_64 {
            return Err(Problem::Damaged("a kernel without its 64-bit part"));
        }
        let preferred = long(PREFERRED_ADDRESS) | long(PREFERRED_ADDRESS + 4) << 32;
        let size = long(INIT_SIZE).max(code.len() as u64);
        let fits = |address: u64| {
            address >= ram.start && address.checked_add(size).is_some_and(|end| end <= ram.end)
        };
        let address = match header[RELOCATABLE] != 0 && !fits(preferred) {
            true => DEFAULT_ADDRESS,
            false => preferred,
        };
        if !fits(address) {
            let need = size.saturating_add(address);
            return Err(Problem::TooLarge {
                need,
                have: ram.end,
            });
        }
        let header_end = MAGIC + usize::from(header[JUMP_DISTANCE]);
        Ok(Self {
            program: Program {
                kind: Kind::BzImage,
                entry: address + ENTRY_64,
                segments: vec![Segment::new(address, code.len() as u64, code)?],
            },
            working_space: address..address + size,
            header: file[SETUP_SECTORS..header_end.max(HEADER_END)].to_vec(),
            command_line_max: long(COMMAND_LINE_SIZE),
            initrd_end_max: long(INITRD_ADDRESS_MAX) + 1,
        })
    }
}
