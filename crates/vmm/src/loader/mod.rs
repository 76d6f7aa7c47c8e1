//! Loads what a machine starts from into guest memory: firmware, a kernel and an initial RAM disk.
//!
//! Files are recognised by content, never by name, and are not trusted: the worst that one can do
//! is to make [`load`] fail.
//!
//! Placement, from the bottom of RAM: firmware at its first byte; a Linux `Image` at its own
//! `text_offset` (2 MiB on 64-bit RISC-V), an ELF file where it says; the initial RAM disk and the
//! device tree as high as possible below 3 GiB, as QEMU does, so that firmware and kernels that
//! are shy of high addresses find them.

mod elf;
mod error;
mod format;
mod image;
pub mod pc;
mod program;
mod source;
mod space;
mod unpack;

#[cfg(test)]
mod tests;

use std::ops::Range;

use clade_engine::GuestRam;

pub use error::{LoadError, Problem};
pub use program::Kind;
pub use source::Source;

use program::Program;
use space::Space;

/// What a machine starts from. There must be something to execute.
#[derive(Debug, Default)]
pub struct BootFiles {
    /// M-mode firmware: ELF, or a flat binary.
    pub firmware: Option<Source>,
    /// A Linux `Image` (flat or with an EFI stub, plain, gzip or zstd, or an EFI zboot image) or
    /// an ELF file.
    pub kernel: Option<Source>,
    /// An initial RAM disk, passed on as it is.
    pub initrd: Option<Source>,
    /// The first instruction of a program that is in the guest's memory already, in flash: it is
    /// what runs where there is no kernel.
    pub in_place: Option<u64>,
}

/// Where [`load`] put things, in guest physical addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Where the first hart starts: in the firmware when there is one, else in the kernel, else
    /// in flash.
    pub entry: u64,
    /// Where firmware is to go on, if there is both firmware and something for it to start.
    pub next: Option<u64>,
    /// The firmware.
    pub firmware: Option<Loaded>,
    /// The kernel.
    pub kernel: Option<Loaded>,
    /// The initial RAM disk.
    pub initrd: Option<Range<u64>>,
    /// Space for the device tree, see [`Placement::write_device_tree`].
    pub dtb: Range<u64>,
}

/// A program in guest memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What the file was.
    pub kind: Kind,
    /// Its first instruction.
    pub entry: u64,
    /// From its lowest to its highest byte, with the zeroed memory that it asked for.
    pub range: Range<u64>,
}

/// Loads `files` into `ram`, and finds a place for the device tree. Only the largest contiguous
/// range of `ram` is used.
///
/// Memory of a program that its file does not fill (`.bss`) is zeroed.
///
/// # Errors
/// When a file is not what it should be or does not fit; `ram` may then have been written to.
pub fn load(files: BootFiles, ram: &GuestRam) -> Result<Placement, LoadError> {
    let mut space = Space::of(ram);
    let firmware = files
        .firmware
        .map(|source| load_program(source, Role::Firmware, ram, &mut space))
        .transpose()?;
    if firmware.is_some() {
        space.keep_for_firmware();
    }
    let kernel = files
        .kernel
        .map(|source| load_program(source, Role::Kernel, ram, &mut space))
        .transpose()?;
    let second = kernel
        .as_ref()
        .map(|kernel| kernel.entry)
        .or(files.in_place);
    let first = firmware.as_ref().map(|firmware| firmware.entry);
    let entry = first
        .or(second)
        .ok_or_else(|| Problem::NothingToRun.of("the machine"))?;
    let dtb = space
        .take_for_device_tree()
        .map_err(|problem| problem.of("the device tree"))?;
    let initrd = files
        .initrd
        .map(|source| load_initrd(source, ram, &mut space))
        .transpose()?;
    Ok(Placement {
        entry,
        next: first.and(second),
        firmware,
        kernel,
        initrd,
        dtb,
    })
}

impl Placement {
    /// Writes the flattened device tree `dtb` to its place.
    ///
    /// # Errors
    /// [`Problem::NoRoom`] when it is larger than the space kept for it.
    pub fn write_device_tree(&self, ram: &GuestRam, dtb: &[u8]) -> Result<(), LoadError> {
        let need = dtb.len() as u64;
        let have = self.dtb.end - self.dtb.start;
        if need > have {
            return Err(Problem::NoRoom { need, have }.of("the device tree"));
        }
        space::write(ram, self.dtb.start, dtb).map_err(|problem| problem.of("the device tree"))
    }
}

/// What a program is loaded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Firmware,
    Kernel,
}

fn load_program(
    source: Source,
    role: Role,
    ram: &GuestRam,
    space: &mut Space,
) -> Result<Loaded, LoadError> {
    let (name, bytes) = source.read(space.ram_size())?;
    let mut place = || {
        let file = unpack::unpack(&bytes, space.ram_size())?;
        let program = Program::parse(&file, role, space.ram())?;
        space.take_for(&program)?;
        program.write(ram)?;
        Ok(program.loaded())
    };
    place().map_err(|problem: Problem| problem.of(name))
}

fn load_initrd(source: Source, ram: &GuestRam, space: &mut Space) -> Result<Range<u64>, LoadError> {
    let name = source.name().to_owned();
    let range = space
        .take_for_initrd(source.len())
        .map_err(|problem| problem.of(name))?;
    source.copy_to(ram, range.start)?;
    Ok(range)
}
