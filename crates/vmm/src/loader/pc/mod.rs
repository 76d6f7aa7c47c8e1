//! Loads what a PC starts from: a Linux `bzImage` or an ELF file, and an initial RAM disk.
//!
//! A `bzImage` goes where it prefers to be, an ELF file where it says, and the initial RAM disk as high
//! as the kernel can reach it. An ELF file with a note for PVH is entered so, all else by Linux's 64-bit
//! boot protocol.

mod boot_parameters;
mod bzimage;
mod pvh;

#[cfg(test)]
mod tests;

use std::ops::Range;

use clade_engine::{Arch, GuestRam};

use super::error::{LoadError, Problem};
use super::format::{Format, recognise};
use super::program::Program;
use super::space::Space;
use super::{Loaded, Source, elf, unpack};

pub use boot_parameters::{BootParameters, MemoryKind};
pub use pvh::StartInfo;

use bzimage::BzImage;

/// What every kernel takes of a command line and an initial RAM disk, if it does not say (Linux,
/// `Documentation/arch/x86/boot.rst`).
const COMMAND_LINE_MAX: u64 = 2047;
const INITRD_END_MAX: u64 = 0x3800_0000;

/// Where the first instruction is, and what the kernel expects there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// 64-bit mode and [`BootParameters`], by Linux's 64-bit boot protocol.
    Linux(u64),
    /// 32-bit mode and [`StartInfo`], by PVH.
    Pvh(u32),
}

/// Where [`load`] put things, in guest physical addresses, and what the kernel says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The first instruction.
    pub entry: Entry,
    /// The kernel.
    pub kernel: Loaded,
    /// The initial RAM disk.
    pub initrd: Option<Range<u64>>,
    /// The longest command line that the kernel takes, in bytes.
    pub command_line_max: u64,
    /// The kernel's setup header, as `boot_params` begins with it; empty if it has none.
    setup_header: Vec<u8>,
}

/// Loads `kernel` and `initrd` into `ram`, within the range `free`, of which nothing else is used.
///
/// # Errors
/// When there is no kernel, or a file is not what it should be or does not fit; `ram` may then have been
/// written to.
pub fn load(
    kernel: Option<Source>,
    initrd: Option<Source>,
    ram: &GuestRam,
    free: Range<u64>,
) -> Result<Placement, LoadError> {
    let kernel = kernel.ok_or_else(|| Problem::NothingToRun.of("the machine"))?;
    let mut space = Space::within(free);
    let (name, bytes) = kernel.read(space.ram_size())?;
    let mut placed = place(&bytes, ram, &mut space).map_err(|problem| problem.of(name))?;
    if let Some(source) = initrd {
        let name = source.name().to_owned();
        let range = space
            .take_for_initrd_below(placed.initrd_end_max, source.len())
            .map_err(|problem| problem.of(name))?;
        source.copy_to(ram, range.start)?;
        placed.placement.initrd = Some(range);
    }
    Ok(placed.placement)
}

/// A kernel in memory.
struct Placed {
    placement: Placement,
    initrd_end_max: u64,
}

fn place(file: &[u8], ram: &GuestRam, space: &mut Space) -> Result<Placed, Problem> {
    if BzImage::is(file) {
        return place_bzimage(&BzImage::parse(file, space.ram())?, ram, space);
    }
    let file = unpack::unpack(file, space.ram_size())?;
    let foreign = |what: &str| Err(Problem::Architecture(what.to_owned(), Arch::X86_64));
    match recognise(&file) {
        Format::Elf => place_elf(&file, ram, space),
        Format::Image => foreign("64-bit RISC-V"),
        Format::Zboot => foreign("another processor (an EFI kernel)"),
        Format::Refused(Problem::Architecture(what, _)) => {
            Err(Problem::Architecture(what, Arch::X86_64))
        }
        Format::Refused(problem) => Err(problem),
        Format::Gzip | Format::Zstd => Err(Problem::Damaged("compressed more than once")),
        Format::Unknown => Err(Problem::UnrecognisedOnPc),
    }
}

fn place_bzimage(
    image: &BzImage<'_>,
    ram: &GuestRam,
    space: &mut Space,
) -> Result<Placed, Problem> {
    space.take_range(image.working_space.clone())?;
    image.program.write(ram)?;
    let kernel = image.program.loaded();
    Ok(Placed {
        placement: Placement {
            entry: Entry::Linux(kernel.entry),
            kernel,
            initrd: None,
            command_line_max: image.command_line_max,
            setup_header: image.header.clone(),
        },
        initrd_end_max: image.initrd_end_max,
    })
}

fn place_elf(file: &[u8], ram: &GuestRam, space: &mut Space) -> Result<Placed, Problem> {
    let program: Program<'_> = elf::parse(file, Arch::X86_64, space.ram(), space.ram().start)?;
    let pvh = pvh::entry(file, &program)?;
    space.take_for(&program)?;
    program.write(ram)?;
    let kernel = program.loaded();
    Ok(Placed {
        placement: Placement {
            entry: pvh.map_or(Entry::Linux(kernel.entry), Entry::Pvh),
            kernel,
            initrd: None,
            command_line_max: COMMAND_LINE_MAX,
            setup_header: Vec::new(),
        },
        initrd_end_max: INITRD_END_MAX,
    })
}
