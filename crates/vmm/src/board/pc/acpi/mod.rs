//! What the operating system is told of the board: ACPI tables. Section numbers are those of the ACPI
//! Specification 6.5.

mod fixed;
mod linked;
mod namespace;

#[cfg(test)]
mod tests;

use acpi_tables::rsdp::Rsdp;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, sdt::Sdt};

use super::map::Layout;

/// Who made the tables, as they say themselves.
const OEM: [u8; 6] = *b"CLADE ";
const TABLE: [u8; 8] = *b"CLADE PC";
const REVISION: u32 = 1;

pub(super) use linked::LinkedTables;

/// The tables of a board with `cpus` vCPUs, to be put at guest physical address `start`, where the root
/// pointer (5.2.5) is.
pub(super) fn tables(cpus: u32, layout: &Layout, start: u64) -> Vec<u8> {
    image(cpus, layout, start).bytes
}

fn image(cpus: u32, layout: &Layout, start: u64) -> Image {
    let mut image = Image {
        start,
        bytes: vec![0; Rsdp::len()],
        pointers: Vec::new(),
    };
    let namespace = image.add(&namespace::dsdt(layout));
    let fixed = image.add(&fixed::fadt(namespace));
    image.note_pointer(fixed, X_DSDT);
    let tables = [
        fixed,
        image.add(&fixed::madt(cpus)),
        image.add(&fixed::mcfg()),
    ];
    let mut root = XSDT::new(OEM, TABLE, REVISION);
    for table in tables {
        root.add_entry(table);
    }
    let root = image.add(&root);
    for number in 0..tables.len() {
        image.note_pointer(root, HEADER + 8 * number);
    }
    let pointer = bytes_of(&Rsdp::new(OEM, root));
    image.bytes[..pointer.len()].copy_from_slice(&pointer);
    image
}

/// Length of the header that all tables but the root pointer have.
const HEADER: usize = 36;
/// Where the FADT has the address of the namespace (5.2.9).
const X_DSDT: usize = 140;

/// A table that begins as all do (5.2.6), for AML to be appended.
fn header(signature: [u8; 4], revision: u8) -> Sdt {
    Sdt::new(signature, HEADER as u32, revision, OEM, TABLE, REVISION)
}

fn bytes_of(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// Memory that is filled with tables.
struct Image {
    start: u64,
    bytes: Vec<u8>,
    /// Which tables have addresses of others, and where.
    pointers: Vec<Pointer>,
}

/// Offsets in an image.
#[derive(Debug, Clone, Copy)]
struct Pointer {
    table: usize,
    at: usize,
}

impl Image {
    /// Adds a table; returns its address.
    fn add(&mut self, table: &dyn Aml) -> u64 {
        let offset = self.bytes.len().next_multiple_of(16);
        self.bytes.resize(offset, 0);
        self.bytes.extend(bytes_of(table));
        self.start + offset as u64
    }

    /// The table at address `table` has one of another at `offset`.
    fn note_pointer(&mut self, table: u64, offset: usize) {
        let table = (table - self.start) as usize;
        self.pointers.push(Pointer {
            table,
            at: table + offset,
        });
    }
}
