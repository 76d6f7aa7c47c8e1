//! How the guest starts: by Linux's 64-bit boot protocol (Linux, `Documentation/arch/x86/boot.rst`) or by PVH,
//! with what a boot loader and firmware would have left in memory.

use std::ops::Range;

use clade_engine::GuestRam;
use clade_kvm::{Gdt, Start};
use vm_memory::{Bytes, GuestAddress};

use super::map::{self, Layout};
use super::{acpi, memory};
use crate::board::{BoardError, Window};
use crate::loader::pc::{self, BootParameters, Entry, MemoryKind, Placement, StartInfo};
use crate::loader::{LoadError, Problem, Source};
use crate::spec::MachineConfig;

/// All the firmware there is: it resets the machine by the keyboard controller. Linux enters a PC's firmware to
/// restart where ACPI is hardware-reduced and there is no UEFI (`arch/x86/kernel/reboot.c`).
const FIRMWARE: [u8; 7] = [
    0xb0, 0xfe, // mov al, 0xfe
    0xe6, 0x64, // out 0x64, al
    0xf4, // again: hlt
    0xeb, 0xfd, // jmp again
];

/// Loads the guest's files, and all that tells it of the board.
pub(super) fn load(config: &MachineConfig, ram: &GuestRam) -> Result<Start, BoardError> {
    let open = |path: &std::path::PathBuf| Source::open(path, config.memory);
    let placement = pc::load(
        config.kernel.as_ref().map(open).transpose()?,
        config.initrd.as_ref().map(open).transpose()?,
        ram,
        map::FREE..low_end(config.memory),
    )?;
    let tables = acpi::tables(config.cpus, &Layout::DIRECT, map::ACPI_TABLES.base);
    write(ram, map::ACPI_TABLES, &tables)?;
    write_command_line(ram, &placement, &config.cmdline)?;
    write(ram, map::FIRMWARE_ENTRY, &FIRMWARE)?;
    match placement.entry {
        Entry::Linux(entry) => begin_linux(config, &placement, entry, ram),
        Entry::Pvh(entry) => begin_pvh(config, &placement, entry, ram),
    }
}

fn begin_linux(
    config: &MachineConfig,
    placement: &Placement,
    entry: u64,
    ram: &GuestRam,
) -> Result<Start, BoardError> {
    let parameters = boot_parameters(config, placement);
    write(ram, map::BOOT_PARAMETERS, parameters.bytes())?;
    write(ram, map::PAGE_TABLES, &words(&identity_map()))?;
    Ok(Start::Long {
        entry,
        rsi: map::BOOT_PARAMETERS.base,
        rsp: map::STACK.end(),
        page_table: map::PAGE_TABLES.base,
        gdt: put_segments(ram, &Gdt::LONG)?,
    })
}

fn begin_pvh(
    config: &MachineConfig,
    placement: &Placement,
    entry: u32,
    ram: &GuestRam,
) -> Result<Start, BoardError> {
    let information = StartInfo::new(
        map::BOOT_PARAMETERS.base,
        placement.initrd.clone(),
        map::COMMAND_LINE.base,
        map::ACPI_TABLES.base,
        memory_map(config.memory),
    );
    write(ram, map::BOOT_PARAMETERS, &information.bytes())?;
    Ok(Start::Protected {
        entry,
        ebx: map::BOOT_PARAMETERS.base as u32,
        gdt: put_segments(ram, &Gdt::PROTECTED)?,
    })
}

fn put_segments(ram: &GuestRam, table: &[u64; 4]) -> Result<Gdt, BoardError> {
    write(ram, map::SEGMENTS, &words(table))?;
    Ok(Gdt {
        base: map::SEGMENTS.base,
        limit: (size_of_val(table) - 1) as u16,
    })
}

fn low_end(size: u64) -> u64 {
    size.min(map::LOW_RAM_END)
}

fn write_command_line(ram: &GuestRam, placement: &Placement, text: &str) -> Result<(), BoardError> {
    // The terminating zero counts, too.
    let (need, have) = (text.len() as u64, placement.command_line_max);
    let have = have.min(map::COMMAND_LINE.size - 1);
    if need > have {
        return Err(problem(Problem::CommandLine { need, have }).into());
    }
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    write(ram, map::COMMAND_LINE, &bytes)
}

fn boot_parameters(config: &MachineConfig, placement: &Placement) -> BootParameters {
    let mut parameters = BootParameters::new(placement);
    parameters.set_command_line(map::COMMAND_LINE.base as u32);
    parameters.set_acpi_root(map::ACPI_TABLES.base);
    for (range, kind) in memory_map(config.memory) {
        parameters.add_memory(range, kind);
    }
    parameters
}

/// What is where in a machine with `size` bytes of memory, in ascending order.
fn memory_map(size: u64) -> Vec<(Range<u64>, MemoryKind)> {
    let mut map = vec![
        (0..map::BIOS_DATA, MemoryKind::Usable),
        (map::BIOS_DATA..0xa_0000, MemoryKind::Reserved),
        (
            map::ACPI_TABLES.base..map::FIRMWARE_ENTRY.end(),
            MemoryKind::Reserved,
        ),
        (map::FREE..low_end(size), MemoryKind::Usable),
        (map::PCI_CONFIGURATION.range(), MemoryKind::Reserved),
    ];
    let high = memory(size, None).into_iter().skip(1);
    map.extend(high.map(|window| (window.range(), MemoryKind::Usable)));
    map
}

/// Page tables that map the lowest 4 GiB to themselves, by pages of 2 MiB (Intel SDM volume 3, 4.5).
fn identity_map() -> Vec<u64> {
    const ENTRIES: usize = 512;
    const GIBIBYTES: usize = 4;
    const PRESENT_WRITABLE: u64 = 0b11;
    const LARGE: u64 = 1 << 7;
    let table = |index: usize| map::PAGE_TABLES.base + (index * 4096) as u64;
    let mut words = vec![0; (2 + GIBIBYTES) * ENTRIES];
    words[0] = table(1) | PRESENT_WRITABLE;
    for gibibyte in 0..GIBIBYTES {
        words[ENTRIES + gibibyte] = table(2 + gibibyte) | PRESENT_WRITABLE;
    }
    for (page, word) in (0..).zip(&mut words[2 * ENTRIES..]) {
        *word = page << 21 | LARGE | PRESENT_WRITABLE;
    }
    words
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Writes `bytes` to where they belong.
fn write(ram: &GuestRam, window: Window, bytes: &[u8]) -> Result<(), BoardError> {
    let (need, have) = (bytes.len() as u64, window.size);
    if need > have {
        return Err(problem(Problem::NoRoom { need, have }).into());
    }
    ram.write_slice(bytes, GuestAddress(window.base))
        .map_err(|error| BoardError::Wiring(error.to_string()))
}

fn problem(problem: Problem) -> LoadError {
    problem.of("the machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_of_in_order_and_all_of_it() {
        for size in [64 << 20, 3 << 30, 5 << 30] {
            let map = memory_map(size);
            let mut end = 0;
            let mut usable = 0;
            for (range, kind) in &map {
                assert!(end <= range.start && range.start < range.end, "{map:x?}");
                end = range.end;
                if *kind == MemoryKind::Usable {
                    usable += range.end - range.start;
                }
            }
            assert_eq!(usable, size - (map::FREE - map::BIOS_DATA), "{map:x?}");
        }
    }

    #[test]
    fn what_is_mapped_is_where_it_seems_to_be() {
        let words = identity_map();
        let at = |address: u64| words[((address - map::PAGE_TABLES.base) / 8) as usize];
        for address in [0u64, 0x10_0000, 0x7fff_ffff, 0xffff_ffff] {
            let mut table = map::PAGE_TABLES.base;
            for shift in [39, 30] {
                let entry = at(table + (address >> shift & 511) * 8);
                assert_eq!(entry & 0xfff, 3);
                table = entry & !0xfff;
            }
            let entry = at(table + (address >> 21 & 511) * 8);
            assert_eq!(entry, address >> 21 << 21 | 0x83);
        }
    }
}
