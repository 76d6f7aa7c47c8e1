//! The tables for firmware, which puts them where it likes and tells the operating system of them: as two files
//! that it finds by the firmware configuration device (QEMU, `hw/acpi/bios-linker-loader.c`).

use super::{Image, image};
use crate::board::pc::map::Layout;

/// The files.
#[derive(Debug)]
pub(in crate::board::pc) struct LinkedTables {
    /// The tables, with offsets in place of addresses.
    pub(in crate::board::pc) tables: Vec<u8>,
    /// What firmware is to do with them.
    pub(in crate::board::pc) script: Vec<u8>,
}

impl LinkedTables {
    /// Names of the files.
    pub(in crate::board::pc) const TABLES: &str = "etc/acpi/tables";
    pub(in crate::board::pc) const SCRIPT: &str = "etc/table-loader";

    /// Those of a board with `cpus` vCPUs.
    pub(in crate::board::pc) fn new(cpus: u32, layout: &Layout) -> Self {
        let Image {
            mut bytes,
            pointers,
            ..
        } = image(cpus, layout, 0);
        let mut script = Command::Allocate.bytes();
        for pointer in &pointers {
            script.extend(Command::AddPointer(pointer.at).bytes());
        }
        let mut tables: Vec<usize> = pointers.iter().map(|pointer| pointer.table).collect();
        tables.dedup();
        for table in tables {
            // Firmware adds it up again, with this byte as it is.
            bytes[table + CHECKSUM] = 0;
            let length = bytes[table + LENGTH..].first_chunk();
            let length = length.map_or(0, |length| u32::from_le_bytes(*length));
            script.extend(Command::AddChecksum { table, length }.bytes());
        }
        Self {
            tables: bytes,
            script,
        }
    }
}

/// Where all tables have their length and their checksum (5.2.6).
const LENGTH: usize = 4;
const CHECKSUM: usize = 9;

/// What firmware is told to do; all of it with the one file.
enum Command {
    /// Put it into memory.
    Allocate,
    /// Add its address to the 8 bytes at this offset.
    AddPointer(usize),
    /// Set the checksum of the table of `length` bytes at this offset.
    AddChecksum { table: usize, length: u32 },
}

impl Command {
    /// Bytes of each command, and of a name in it.
    const SIZE: usize = 128;
    const NAME: usize = 56;

    fn bytes(&self) -> Vec<u8> {
        const BELOW_4_GIB: u8 = 1;
        const ALIGNMENT: u32 = 64;
        let mut bytes = self.number().to_le_bytes().to_vec();
        let mut add = |more: &[u8]| bytes.extend(more);
        let mut name = LinkedTables::TABLES.as_bytes().to_vec();
        name.resize(Self::NAME, 0);
        add(&name);
        match *self {
            Self::Allocate => {
                add(&ALIGNMENT.to_le_bytes());
                add(&[BELOW_4_GIB]);
            }
            Self::AddPointer(at) => {
                add(&name);
                add(&(at as u32).to_le_bytes());
                add(&[8]);
            }
            Self::AddChecksum { table, length } => {
                add(&((table + CHECKSUM) as u32).to_le_bytes());
                add(&(table as u32).to_le_bytes());
                add(&length.to_le_bytes());
            }
        }
        bytes.resize(Self::SIZE, 0);
        bytes
    }

    fn number(&self) -> u32 {
        match self {
            Self::Allocate => 1,
            Self::AddPointer(_) => 2,
            Self::AddChecksum { .. } => 3,
        }
    }
}
