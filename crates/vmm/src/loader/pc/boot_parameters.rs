//! Linux's `boot_params`, the "zero page" (Linux, `Documentation/arch/x86/zero-page.rst`).

use std::ops::Range;

use super::Placement;

/// Its size in bytes.
const SIZE: usize = 4096;

const ACPI_ROOT: usize = 0x70;
const MEMORY_ENTRIES: usize = 0x1e8;
const SETUP_HEADER: usize = 0x1f1;
/// The header and what is kept free behind it.
const SETUP_HEADER_END: usize = 0x290;
const BOOT_FLAG: usize = 0x1fe;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const LOADER: usize = 0x210;
const INITRD_ADDRESS: usize = 0x218;
const INITRD_SIZE: usize = 0x21c;
const COMMAND_LINE: usize = 0x228;
const MEMORY_MAP: usize = 0x2d0;

/// Bytes of an entry of the memory map, and how many there can be.
const ENTRY: usize = 20;
const ENTRIES_MAX: usize = 128;

/// A boot loader without a number of its own.
const UNKNOWN_LOADER: u8 = 0xff;

/// What a range of memory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MemoryKind {
    /// The operating system's.
    Usable = 1,
    /// Of no use to it, or something else than memory.
    Reserved = 2,
}

/// What the kernel is told in memory.
#[derive(Debug, Clone)]
pub struct BootParameters(Box<[u8; SIZE]>);

impl BootParameters {
    /// For a kernel that was loaded so: with its own setup header, or one that says as much as a kernel
    /// without needs to know.
    #[must_use]
    pub fn new(placement: &Placement) -> Self {
        let mut parameters = Self(Box::new([0; SIZE]));
        let header = &placement.setup_header;
        let header = &header[..header.len().min(SETUP_HEADER_END - SETUP_HEADER)];
        parameters.put(SETUP_HEADER, header);
        if header.is_empty() {
            parameters.put(BOOT_FLAG, &[0x55, 0xaa]);
            parameters.put(MAGIC, b"HdrS");
            parameters.put(VERSION, &0x20f_u16.to_le_bytes());
        }
        parameters.put(LOADER, &[UNKNOWN_LOADER]);
        if let Some(initrd) = &placement.initrd {
            // It ends where the kernel reaches it by 32 bits.
            let (start, size) = (initrd.start as u32, (initrd.end - initrd.start) as u32);
            parameters.put(INITRD_ADDRESS, &start.to_le_bytes());
            parameters.put(INITRD_SIZE, &size.to_le_bytes());
        }
        parameters
    }

    /// The command line, with a zero behind it, is at `address`.
    pub fn set_command_line(&mut self, address: u32) {
        self.put(COMMAND_LINE, &address.to_le_bytes());
    }

    /// The root of the ACPI tables is at `address`.
    pub fn set_acpi_root(&mut self, address: u64) {
        self.put(ACPI_ROOT, &address.to_le_bytes());
    }

    /// Adds to the memory map, which has room for 128 ranges; more are not told of.
    pub fn add_memory(&mut self, range: Range<u64>, kind: MemoryKind) {
        let count = usize::from(self.0[MEMORY_ENTRIES]);
        if count >= ENTRIES_MAX {
            return;
        }
        let at = MEMORY_MAP + count * ENTRY;
        self.put(at, &range.start.to_le_bytes());
        self.put(at + 8, &(range.end - range.start).to_le_bytes());
        self.put(at + 16, &(kind as u32).to_le_bytes());
        self.0[MEMORY_ENTRIES] += 1;
    }

    /// The page.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &*self.0
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
