//! Writes a program as an ELF file that Spike loads: one segment, and the symbols that it looks for.

use super::layout::{BASE, SIGNATURE, SIGNATURE_END, TO_HOST};

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SYMBOLS: [(&str, u64); 4] = [
    ("tohost", TO_HOST),
    ("fromhost", TO_HOST + 8),
    ("begin_signature", SIGNATURE),
    ("end_signature", SIGNATURE_END),
];

/// The ELF file of an executable with `image` at [`BASE`], its entry point.
pub(crate) fn executable(image: &[u8]) -> Vec<u8> {
    let mut names = vec![0];
    let mut symbols = vec![0; 24];
    for (name, value) in SYMBOLS {
        const GLOBAL: u8 = 1 << 4;
        const ABSOLUTE: u16 = 0xfff1;
        symbols.extend((names.len() as u32).to_le_bytes());
        symbols.extend([GLOBAL, 0]);
        symbols.extend(ABSOLUTE.to_le_bytes());
        symbols.extend(value.to_le_bytes());
        symbols.extend(0u64.to_le_bytes());
        names.extend(name.bytes().chain([0]));
    }
    const SECTION_NAMES: &[u8] = b"\0.symtab\0.strtab\0.shstrtab\0";

    let image_at = HEADER + PROGRAM_HEADER;
    let symbols_at = (image_at + image.len()).next_multiple_of(8);
    let names_at = symbols_at + symbols.len();
    let section_names_at = names_at + names.len();
    let sections_at = (section_names_at + SECTION_NAMES.len()).next_multiple_of(8);

    let mut file = header(sections_at);
    file.extend(program_header(image_at, image.len()));
    file.extend(image);
    file.resize(symbols_at, 0);
    file.extend(&symbols);
    file.extend(&names);
    file.extend(SECTION_NAMES);
    file.resize(sections_at, 0);
    file.extend([0; 64]);
    let (strings, symbol_table) = (3, 2);
    file.extend(section(
        1,
        symbol_table,
        symbols_at,
        symbols.len(),
        (2, 1, 24),
    ));
    file.extend(section(9, strings, names_at, names.len(), (0, 0, 0)));
    let length = SECTION_NAMES.len();
    file.extend(section(17, strings, section_names_at, length, (0, 0, 0)));
    file
}

fn header(sections_at: usize) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    const EXECUTABLE: u16 = 2;
    const RISCV: u16 = 243;
    bytes.extend(EXECUTABLE.to_le_bytes());
    bytes.extend(RISCV.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(BASE.to_le_bytes());
    bytes.extend((HEADER as u64).to_le_bytes());
    bytes.extend((sections_at as u64).to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    for half in [HEADER as u16, PROGRAM_HEADER as u16, 1, 64, 4, 3] {
        bytes.extend(half.to_le_bytes());
    }
    bytes
}

fn program_header(offset: usize, size: usize) -> Vec<u8> {
    const LOAD: u32 = 1;
    const READ_WRITE_EXECUTE: u32 = 7;
    let mut bytes = Vec::new();
    bytes.extend(LOAD.to_le_bytes());
    bytes.extend(READ_WRITE_EXECUTE.to_le_bytes());
    for double in [offset as u64, BASE, BASE, size as u64, size as u64, 8] {
        bytes.extend(double.to_le_bytes());
    }
    bytes
}

/// A section header; `(link, info, entry)` are the fields of a symbol table.
fn section(
    name: u32,
    kind: u32,
    offset: usize,
    size: usize,
    (link, info, entry): (u32, u32, u64),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(name.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    for double in [0, 0, offset as u64, size as u64] {
        bytes.extend(double.to_le_bytes());
    }
    bytes.extend(link.to_le_bytes());
    bytes.extend(info.to_le_bytes());
    for double in [1u64, entry] {
        bytes.extend(double.to_le_bytes());
    }
    bytes
}
